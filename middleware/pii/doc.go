// Package pii finds what belongs to persons in texts: addresses, numbers of
// phones, cards, accounts and identity papers, each by its form and, where it
// has one, its check digits.
//
// It reads every layer of a text (middleware/layers) once, in linear time,
// without expressions. It finds forms, not persons: names and birthdays have
// none, and an identifier that happens to fit a form is found as well. Kinds that
// are no more than some digits are therefore left out, or have to be written as
// people write them.
//
// It may import middleware and middleware/layers. Findings name kinds and
// places. It has no state.
package pii
