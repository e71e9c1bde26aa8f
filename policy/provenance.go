package policy

// Source is one rule of a document with the place that it comes from.
type Source struct {
	Policy    string   `json:"policy"`
	Rule      string   `json:"rule"` // an endpoint, or what it allows or denies
	At        Position `json:"at"`
	Withdrawn bool     `json:"withdrawn,omitempty"` // a layer below restated the network policy: it denies, and grants nothing
}

// Rules lists every rule of the document, of layers the merged one, in its order.
func (doc *Document) Rules() []Source {
	var list []Source
	for i := range doc.Networks {
		n := &doc.Networks[i]
		for j := range n.Endpoints {
			e := &n.Endpoints[j]
			add := func(text string, at Position) {
				list = append(list, Source{Policy: n.Key, Rule: text, At: at, Withdrawn: e.Withdrawn})
			}
			add(endpointRow(e), e.At)
			for _, r := range e.Allow {
				add("allow "+ruleText(r), r.At)
			}
			for _, r := range e.Deny {
				add("deny "+ruleText(r), r.At)
			}
		}
	}
	return list
}

// endpointRow names an endpoint with how its traffic is read.
func endpointRow(e *Endpoint) string {
	text := endpointText(e)
	if e.Path != "" && e.Path != "**" {
		text += " path " + e.Path
	}
	if e.Protocol != L4 {
		text += ", protocol " + string(e.Protocol)
	}
	if e.Registry != "" {
		text += " " + string(e.Registry)
	}
	if e.Access != "" {
		text += ", access " + e.Access
	}
	return text
}
