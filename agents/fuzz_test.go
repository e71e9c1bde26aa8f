package agents

import "testing"

// FuzzDecode: no bytes of a manifest bring the decoder down, and what it takes
// is filled in without rest.
func FuzzDecode(f *testing.F) {
	for _, name := range Names() {
		data, err := builtin.ReadFile(name + "/agent.yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("env: {A: &x [*x]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, _, err := decode("f", data)
		if err != nil {
			return
		}
		if !nameForm().MatchString(m.Name) || m.Program.Command == "" {
			t.Errorf("taken: %+v", m)
		}
	})
}
