package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds of a chain of layers: organisation, team and sandbox are three.
const (
	maxLayers     = 16
	maxLayerDepth = 8
)

// Resolver gives the text of a policy file that another one extends: from is
// the file that names it, name what it says, and file the name that positions
// show and by which a file is known again.
type Resolver func(from, name string) (file string, data []byte, err error)

// layer is one file of a chain.
type layer struct {
	opening
	d   *decoder
	doc *Document
}

// extension is one entry of extends.
type extension struct {
	at   value
	name string
}

// chain reads a document and all that it extends, the top layer first.
type chain struct {
	read   Resolver
	layers []*layer
	stack  []string
	faults Faults
	warns  Warnings
}

// add decodes one file behind all that it extends.
func (c *chain) add(file string, data []byte) {
	d := &decoder{file: file, version: 1, written: make(map[string]Position)}
	l := &layer{opening: opening{file: file}, d: d, doc: &Document{File: file}}
	if root, ok := d.read(data); ok {
		d.document(root, l.doc)
	}
	l.open = d.open
	_, l.hasOpen = d.written["open"]
	c.stack = append(c.stack, file)
	for _, x := range d.extends {
		c.extend(d, file, x)
	}
	c.stack = c.stack[:len(c.stack)-1]
	c.layers = append(c.layers, l)
	c.faults = append(c.faults, d.faults...)
	c.warns = append(c.warns, d.warns...)
	d.faults, d.warns = nil, nil
}

func (c *chain) extend(d *decoder, from string, x extension) {
	if c.read == nil {
		d.fault(x.at, Conflict, "extends where no other layer is read", "", "a policy from a pipe has none beside it: name its file")
		return
	}
	if len(c.stack) > maxLayerDepth || len(c.layers)+len(c.stack) > maxLayers {
		d.fault(x.at, TooMuch, "more layers", fmt.Sprintf("at most %d files, %d deep", maxLayers, maxLayerDepth), "")
		return
	}
	file, data, err := c.read(from, x.name)
	if err != nil {
		d.fault(x.at, BadValue, show(x.name)+" ("+err.Error()+")", "a policy file", "")
		return
	}
	if i := slices.Index(c.stack, file); i >= 0 {
		d.fault(x.at, Conflict, show(x.name)+" extends itself: "+strings.Join(append(slices.Clone(c.stack[i:]), file), " → "), "", "remove one of them")
		return
	}
	if slices.ContainsFunc(c.layers, func(l *layer) bool { return l.file == file }) {
		return // it stands above already
	}
	c.add(file, data)
}

// decodeLayers decodes extends and open.
func (d *decoder) decodeLayers(s section) {
	if v, ok := s.get("extends"); ok {
		d.list(v, "policy files", func(_ int, item value) {
			name, ok := d.text(item, "the name of a policy file")
			switch {
			case !ok:
			case name == "":
				d.fault(item, BadValue, show(name), "the name of a policy file", "")
			default:
				d.extends = append(d.extends, extension{item, name})
			}
		})
	}
	if v, ok := s.get("open"); ok {
		d.list(v, "keys that layers below may loosen", func(_ int, item value) {
			if k, ok := d.openKey(item); ok {
				d.open = append(d.open, k)
			}
		})
	}
}

// openable are the words that open can name, with those inside of them.
func openable() map[string][]word {
	return map[string][]word{
		"filesystem_policy": filesystemWords, "landlock": landlockWords, "process": processWords, "syscalls": syscallWords,
		"resources": resourceWords, "dns": dnsWords, "inference": inferenceWords, "unmatched": nil, "limits": limitWords, "network_policies": nil,
	}
}

func (d *decoder) openKey(v value) (openKey, bool) {
	const want = "a section (network_policies), or keys in one (network_policies.team_*, resources.memory)"
	text, ok := d.text(v, want)
	if !ok {
		return openKey{}, false
	}
	sections := openable()
	name, rest, dotted := strings.Cut(text, ".")
	words, known := sections[name]
	if !known {
		var names []string
		for n := range sections {
			names = append(names, n)
		}
		slices.Sort(names)
		d.fault(v, BadValue, show(text), want, didYouMean(name, names...))
		return openKey{}, false
	}
	if dotted && (len(words) > 0 && literalText(rest) && !slices.ContainsFunc(words, func(w word) bool { return w.name == rest }) || words == nil && name != "network_policies") {
		var names []string
		for _, w := range words {
			names = append(names, w.name)
		}
		d.fault(v, BadValue, show(text), want, didYouMean(rest, names...))
		return openKey{}, false
	}
	if dotted && d.globFault(v, rest, '.') {
		return openKey{}, false
	}
	k, err := readOpenKey(text)
	return k, err == nil
}

// parse decodes a chain and merges it. The decoder is where faults of the whole
// are kept.
func (c *chain) parse(name string, data []byte) (*Document, *decoder) {
	c.add(name, data)
	last := c.layers[len(c.layers)-1]
	whole := &decoder{file: name, version: last.d.version, faults: c.faults, warns: c.warns, left: maxValues}
	if len(c.faults) > 0 || len(c.layers) == 1 {
		return last.doc, whole
	}
	doc := c.layers[0].doc
	var above []opening
	for i, l := range c.layers[1:] {
		if c.layers[0].doc.Version < 2 || l.doc.Version < 2 {
			for _, l := range c.layers {
				if l.doc.Version < 2 {
					whole.faultAt(Position{l.file, 1, 1}, "version", Conflict, "a layer of version 1", "version: 2 in all layers", "creel policy migrate "+l.file)
				}
			}
			return last.doc, whole
		}
		above = append(above, c.layers[i].opening)
		m := merger{d: l.d, l: l, above: above}
		doc = m.merge(doc)
		whole.faults = append(whole.faults, l.d.faults...)
	}
	doc.File, doc.Version = name, last.doc.Version
	for _, l := range c.layers {
		doc.Files = append(doc.Files, l.layer())
	}
	return doc, whole
}
