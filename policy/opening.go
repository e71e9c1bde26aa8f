package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/creel-run/creel/policy/glob"
)

// opening is what one layer lets those below it loosen.
type opening struct {
	file string
	open []openKey
	// hasOpen: the file says itself what is open; it is no wider than what is
	// open to it.
	hasOpen bool
}

// openKey is one entry of open: a section, or a glob over the keys in it.
type openKey struct {
	text    string // as written
	section string
	keys    glob.Glob
	all     bool
}

func (k openKey) takes(section, key string) bool {
	return k.section == section && (k.all || k.keys.Match(key))
}

// readOpenKey splits an entry of open; which words it may name, the decoder knows.
func readOpenKey(text string) (openKey, error) {
	section, rest, dotted := strings.Cut(text, ".")
	k := openKey{text: text, section: section, all: !dotted}
	var err error
	if dotted {
		k.keys, err = glob.Compile(rest, '.')
	}
	return k, err
}

// closing are those of the layers that keep a key closed to all below them: the
// first has to open it, and none that says what is open may leave it out.
func closing(above []opening, section, key string) []opening {
	var list []opening
	for i, l := range above {
		if i > 0 && !l.hasOpen {
			continue
		}
		if !slices.ContainsFunc(l.open, func(k openKey) bool { return k.takes(section, key) }) {
			list = append(list, l)
		}
	}
	return list
}

// openTo reports whether a layer below all of these may loosen a key.
func openTo(above []opening, section, key string) bool {
	return len(above) > 0 && len(closing(above, section, key)) == 0
}

// layer gives what a Document keeps of an opening.
func (o opening) layer() Layer {
	l := Layer{File: o.file}
	if o.hasOpen {
		l.Open = []string{}
	}
	for _, k := range o.open {
		l.Open = append(l.Open, k.text)
	}
	return l
}

// openings of the layers of a document, the top one first.
func openings(layers []Layer) ([]opening, error) {
	var list []opening
	for _, l := range layers {
		o := opening{file: l.File, hasOpen: l.Open != nil}
		for _, text := range l.Open {
			k, err := readOpenKey(text)
			if err != nil {
				return nil, fmt.Errorf("open %s: %w", show(text), err)
			}
			o.open = append(o.open, k)
		}
		list = append(list, o)
	}
	return list, nil
}

// above are the layers that a file of the policy may loosen nothing of. A name
// that is none of them is the last one's.
func (e *Engine) above(file string) []opening {
	if e == nil || len(e.layers) < 2 {
		return nil
	}
	for i, l := range e.layers {
		if l.file == file {
			return e.layers[:i]
		}
	}
	return e.layers[:len(e.layers)-1]
}

// openName is base made into a name for a network policy that the last layer may
// add: itself where it may have any, or one that an entry of open takes.
func (e *Engine) openName(base string) string {
	const section = "network_policies"
	above := e.above("")
	if len(above) == 0 || openTo(above, section, base) {
		return base
	}
	for i := len(above) - 1; i >= 0; i-- {
		for _, k := range above[i].open {
			pattern, ok := strings.CutPrefix(k.text, section+".")
			if !ok {
				continue
			}
			before, after, starred := strings.Cut(pattern, "*")
			after = strings.TrimPrefix(after, "*")
			if name := before + base + after; starred && !strings.ContainsAny(before+after, globSigns) && openTo(above, section, name) {
				return name
			}
		}
	}
	return base
}

// Closed says in one line which layers above a file would have to open a network
// policy before the file may allow more under that name, and how; or "". Without
// a file it is about the last layer.
func (e *Engine) Closed(file, key string) string {
	const section = "network_policies"
	if list := closing(e.above(file), section, key); len(list) > 0 {
		return mayOnlyTighten(list, pathKey(section, key))
	}
	return ""
}

// mayOnlyTighten says which layers would have to open what.
func mayOnlyTighten(layers []opening, name string) string {
	var files []string
	for _, l := range layers {
		files = append(files, oneLine(l.file))
	}
	return fmt.Sprintf("a layer may only tighten: %s would have to say open: [%s]", strings.Join(files, " and "), name)
}

// oneLine quotes a name of a file that would break a comment line.
func oneLine(s string) string {
	if q := strconv.QuoteToASCII(s); q[1:len(q)-1] != s {
		return q
	}
	return s
}
