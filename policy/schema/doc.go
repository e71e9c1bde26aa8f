// Package schema writes the policy language down for others: as a JSON Schema
// for editors (JSON) and as the reference for people (Reference). Both follow
// from policy.Language, the table that the decoder reads as well; nothing
// about a single word stands here.
//
// The schema takes every document that policy.Parse takes, and refuses unknown
// keys, types and words. It knows less than Parse: what a path, a pattern or a
// combination of keys has to be is left to `creel policy check`.
//
// It imports policy alone and may be imported by cli and by the generator of
// docs/policy/reference.md (internal/policydoc). It fails for a version that
// does not exist, and holds no state.
//
// Sources: JSON Schema draft 2020-12.
package schema
