// Command secretrules writes the table of rules of middleware/secrets, from the
// rules that the gitleaks project keeps as data in its Go module. Run it by
// `make secret-rules`.
//
// The module itself is not linked: what it needs is many times the size of
// creel. The file of rules is compared with a checksum, so that a rule that
// changes is a change in this tree.
//
// For every expression it works out what a scanner may rely on without running
// it: texts of which each match holds one, how far a match reaches around such
// a text, how long it is at least. Rules that need a file's name are left out:
// traffic has none.
package main
