// Package format writes policies in their canonical form: two spaces of
// indentation, the keys of the language in its order, one empty line at most,
// quotes where a text needs them. What the writer chose stays: names and their
// order, comments, short lists on one line, single empty lines.
//
// File is the only function. It fails with policy.Faults for what is no
// policy, and refuses (ErrMeaning, ErrComments) rather than writing something that
// means another thing or has lost a comment: it reads its own result again.
//
// It imports policy, whose table of words gives the order, and a YAML library
// for trees that keep comments. cli and presets may import it. It reads no
// files and holds no state.
package format
