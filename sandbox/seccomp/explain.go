package seccomp

// Line is what the tables say about one call.
type Line struct {
	Name    string
	Number  uint32
	Action  Action // without a check
	Checked bool   // its arguments decide
	Why     string

	check *check
}

// Explain says what becomes of a call, for the posture and for doctor. A number
// in no table is absent; an unknown architecture is killed.
func Explain(s Spec, number uint32) Line {
	switch {
	case s.Arch != "amd64" && s.Arch != "arm64":
		return Line{Number: number, Action: Kill, Why: "an architecture without a table"}
	case s.Arch == "amd64" && number&x32Bit != 0:
		return Line{Number: number, Action: Kill, Why: "a call of the x32 ABI"}
	}
	for _, table := range tables() {
		for _, g := range table {
			for i := range g.calls {
				if c := &g.calls[i]; int64(c.number(s.Arch)) == int64(number) {
					action, check := s.decide(&g, c)
					l := Line{Name: c.name, Number: number, Action: action, Checked: check != nil, Why: g.why, check: check}
					if l.Checked {
						l.Action = 0
					}
					return l
				}
			}
		}
	}
	return Line{Number: number, Action: absent, Why: "a call that no table names"}
}
