package policy

import (
	"cmp"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Parse decodes and checks one policy document. name stands in positions. The
// error is nil or a Faults with everything that is wrong; the Document is nil
// then. Warnings are given in both cases.
func Parse(name string, data []byte) (*Document, Warnings, error) {
	return ParseLayers(name, data, nil)
}

// ParseLayers is Parse for a document that may extend others, which read gives.
// The Document is the merged one.
func ParseLayers(name string, data []byte, read Resolver) (*Document, Warnings, error) {
	c := chain{read: read}
	doc, d := c.parse(name, data)
	if len(d.faults) == 0 {
		d.lint(doc)
		d.ambiguity(doc)
	}
	if len(d.faults) == 0 {
		// Whatever the checks above may have missed, a Document that was
		// parsed can be compiled.
		if _, err := Compile(doc); err != nil {
			d.faultAt(Position{name, 1, 1}, "", BadValue, plainError(err), "", "")
		}
	}
	warns := sortWarnings(d.warns)
	if len(d.faults) > 0 {
		return nil, warns, sortFaults(d.faults)
	}
	return doc, warns, nil
}

func (d *decoder) document(root value, doc *Document) {
	// The version is read first: it decides which words the rest may hold.
	doc.Version = d.findVersion(root)
	switch {
	case root.n.Kind != yaml.MappingNode:
	case doc.Version == 0:
		d.unversioned(root)
	default:
		d.version = doc.Version
		d.sections(root, doc)
	}
}

// unversioned reads the rest of a document whose version is wrong or absent in
// both languages: what is a fault in each of them does not follow from that.
func (d *decoder) unversioned(root value) {
	one, two := *d, *d
	for i, each := range []*decoder{&one, &two} {
		each.faults, each.written = nil, make(map[string]Position)
		each.version = i + 1
		each.sections(root, new(Document))
	}
	for _, f := range two.faults {
		if slices.ContainsFunc(one.faults, func(o Fault) bool { return o.At == f.At && o.Path == f.Path && o.Kind == f.Kind && o.Found == f.Found }) {
			d.faults = append(d.faults, f)
		}
	}
}

// sections decodes all but the version.
func (d *decoder) sections(root value, doc *Document) {
	s, ok := d.section(root, "the policy", documentWords)
	if !ok {
		return
	}
	if v, ok := s.get("landlock"); ok {
		doc.Landlock = d.landlock(v)
	} else if d.version == 1 {
		doc.Landlock = Landlock{Compatibility: BestEffort}
		d.warnDefaultLandlock(value{n: root.n})
	}
	doc.Filesystem = Filesystem{IncludeWorkdir: true}
	if v, ok := s.get("filesystem_policy"); ok {
		doc.Filesystem = d.filesystem(v, doc.Landlock.Compatibility)
	}
	if v, ok := s.get("process"); ok {
		doc.Process = d.process(v)
	}
	if v, ok := s.get("syscalls"); ok {
		doc.Syscalls = d.syscalls(v)
	}
	if v, ok := s.get("resources"); ok {
		doc.Resources = d.resources(v)
	}
	if v, ok := s.get("dns"); ok {
		doc.DNS = d.dns(v)
	}
	d.decodeLayers(s)
	doc.Limits = d.limits(s)
	doc.Unmatched = d.unmatchedWord(s, Deny)
	d.unmatched = doc.Unmatched
	if v, ok := s.get("network_policies"); ok {
		doc.Networks = d.networks(v)
	}
	if v, ok := s.get("network_middlewares"); ok {
		doc.Middlewares = d.middlewares(v, doc.Networks)
	}
	if v, ok := s.get("inference"); ok {
		doc.Inference = d.inference(v)
	}
	slices.SortFunc(doc.Networks, func(a, b Network) int { return cmp.Compare(a.Key, b.Key) })
}
