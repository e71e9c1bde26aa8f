package policy

import _ "embed"

//go:embed default.yaml
var defaultText string

// Default is the text of the built-in policy: the system's programs can be
// run, the workspace can be written, and nothing can be reached. Its comments
// teach the language. Its absent paths are excused one by one ({path: …,
// optional: true}), so that landlock can stay a hard requirement everywhere.
func Default() string { return defaultText }
