// Package glob matches strings against the glob language of policies, with one
// separator byte: "/" for paths and binaries, "." for host names and for the
// values of queries. Matching takes linear time in pattern × text, and does not
// allocate.
//
// The language:
//
//   - any run of bytes but the separator, possibly empty
//     ?        one byte that is not the separator
//     [a-z]    one byte of the class; [!a] or [^a] one byte outside of it
//     {a,b}    one of the alternatives, which may be globs and may nest
//     \x       the byte x
//     **       as a whole component: any run of bytes, separators included
//
// With "/" a leading `**/` and an inner `/**/` stand for zero or more components,
// a trailing `/**` for everything below (the slash is required), and a class may
// match the separator if it says so, as [!0] does. With any other separator,
// `**` as a component is any run between its neighbours, both separators stay
// required, and no class matches the separator. `**` that is glued to other text
// acts as `*`. These are the semantics of version 1 policies (openshell-v1.md
// §1.5 and §7.2, and the vectors path_match and query_match). A byte is a byte:
// `?` does not match a letter of two bytes, and a class holds ASCII only.
//
// It imports nothing of the project, does no I/O, and its values are immutable.
// A pattern that is not well formed is a *SyntaxError; the zero Glob matches
// nothing. Nodes gives the parsed form, from which the analyser builds exact
// automata.
package glob
