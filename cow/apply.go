package cow

// Options say what of a layer is applied.
type Options struct {
	Paths     []string // as Change.Path, with what is below; none: everything
	Protected bool     // protected paths too, though not named
	Force     bool     // over what was changed in the workspace meanwhile
}

// Result is what became of one change. Every text in it is hostile.
type Result struct {
	Path    string `json:"path"`
	Kind    Kind   `json:"kind"`
	Applied bool   `json:"applied"`
	Why     string `json:"why,omitempty"`  // it was not
	Hint    string `json:"hint,omitempty"` // a flag that would
}

// refusal says why a change is not to be applied, and by which flag it would be.
func (o Options) refusal(c Change) (why, hint string) {
	switch {
	case c.Refused != "":
		return c.Refused, ""
	case c.Protected != "" && !o.Protected && !o.named(c):
		return c.Protected, "--protected"
	case c.Conflict != "" && !o.Force:
		return c.Conflict, "--force"
	}
	return "", ""
}

// named: the very path was named, or a folder that is protected as a whole.
func (o Options) named(c Change) bool {
	for _, p := range o.Paths {
		if p == c.Path || namesProtected(p) && c.Below([]string{p}) {
			return true
		}
	}
	return false
}
