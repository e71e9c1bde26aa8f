package selftest

// State is how far a layer held.
type State string

// States, from best to worst.
const (
	Enforced State = "enforced"
	Degraded State = "degraded" // weaker than asked, or accepted as missing
	Absent   State = "absent"
	Broken   State = "broken" // something got through
)

// Verdict is what was found of one layer.
type Verdict struct {
	Layer    string   `json:"layer"`
	State    State    `json:"state"`
	Attempts int      `json:"attempts"` // made against it
	Evidence []string `json:"evidence"` // what was seen
	Fix      string   `json:"fix,omitempty"`
}

// Report is the outcome of one self-test.
type Report struct {
	OK      bool      `json:"ok"` // every layer is enforced
	Policy  string    `json:"policy"`
	User    string    `json:"user"`
	Millis  int64     `json:"ms"`
	Layers  []Verdict `json:"layers"`
	Version int       `json:"version"` // of this form
}

// verdicts collects by layer, in the order of first mention.
type verdicts struct{ list []*Verdict }

func (v *verdicts) of(layer string) *Verdict {
	for _, x := range v.list {
		if x.Layer == layer {
			return x
		}
	}
	x := &Verdict{Layer: layer, State: Enforced}
	v.list = append(v.list, x)
	return x
}

var worse = map[State]int{Enforced: 0, Degraded: 1, Absent: 2, Broken: 3}

// add notes one finding: a layer is as good as its worst.
func (x *Verdict) add(s State, evidence string) {
	if worse[s] > worse[x.State] {
		x.State = s
	}
	if evidence == "" {
		return
	}
	if s != Enforced { // what is wrong is read first
		x.Evidence = append([]string{evidence}, x.Evidence...)
		return
	}
	x.Evidence = append(x.Evidence, evidence)
}
