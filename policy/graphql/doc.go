// Package graphql says what a GraphQL request asks for, as plain data that
// package policy judges: its operations with their types, names and root
// fields, or the registered operation that it names.
//
// It is a leaf that imports nothing of Creel. The zero Request asks for
// nothing and is denied.
//
// Source: the GraphQL specification (October 2021).
package graphql
