// Package ca is the certificate authority of one sandbox. Its key lives only in
// this process and dies with it; leaf certificates are minted per name and kept
// in a cache with a bound.
//
// It imports nothing of the project. An Authority is safe for concurrent use.
// Leaves share one key per authority: a leaf key never leaves the process
// either, so a key per name would cost time and protect nothing.
//
// Sources: RFC 5280 §4.2 (extensions), RFC 6125 §6.4 (names in the SAN only).
package ca
