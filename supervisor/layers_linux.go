package supervisor

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"syscall"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
)

// layerFile is a policy file that the source extends, as it was read.
type layerFile struct {
	path    string // absolute and without symbolic links
	data    []byte
	info    os.FileInfo
	exposed bool
}

// collect reads what the policy extends, before it is trusted or compiled: what
// is compiled later is what was looked at here. Faults are left to compile.
func (s *source) collect() {
	s.layers = nil
	if s.path == "" || !bytes.Contains(s.data, []byte("extends")) {
		return
	}
	_, _, _ = policy.ParseLayers(s.path, s.data, policy.Beside(func(path string) ([]byte, error) {
		data, info, err := readRegular(path)
		if err == nil {
			s.layers = append(s.layers, layerFile{path: path, data: data, info: info})
		}
		return data, err
	}))
}

// layer is the Resolver's reader of what was collected.
func (s *source) layer(path string) ([]byte, error) {
	i := slices.IndexFunc(s.layers, func(l layerFile) bool { return l.path == path })
	if i < 0 {
		return nil, errors.New("it appeared while the policy was read")
	}
	return s.layers[i].data, nil
}

// text is all that the policy is made of: the file, and what it extends.
func (s *source) text() []byte {
	if len(s.layers) == 0 {
		return s.data
	}
	all := slices.Clone(s.data)
	for _, l := range s.layers {
		all = append(append(append(all, 0), l.path...), 0)
		all = append(all, l.data...)
	}
	return all
}

// files are the paths that are watched.
func (s *source) files() []string {
	if s.path == "" {
		return nil
	}
	list := []string{s.path}
	for _, l := range s.layers {
		if !slices.Contains(list, l.path) {
			list = append(list, l.path)
		}
	}
	return list
}

// exposedFiles are those that lie where the agent can write.
func (s *source) exposedFiles() []string {
	var list []string
	if s.exposed {
		list = append(list, s.path)
	}
	for _, l := range s.layers {
		if l.exposed {
			list = append(list, l.path)
		}
	}
	return list
}

func (s *source) exposeLayers(a areas) error {
	for i := range s.layers {
		l := &s.layers[i]
		l.exposed = a.holding(l.path) != ""
		if st, ok := l.info.Sys().(*syscall.Stat_t); l.exposed && ok && st.Nlink > 1 {
			return fault.UsageError("load policy", l.path+" has other names (hard links), and the agent could write through one of them",
				"copy it: cp "+l.path+" "+l.path+".new && mv "+l.path+".new "+l.path)
		}
	}
	return nil
}

// sameLayers refuses exposed layers that were not there at the start: nothing
// is mounted over them.
func (s *source) sameLayers(old *source) error {
	for _, l := range s.layers {
		if !l.exposed || slices.ContainsFunc(old.layers, func(o layerFile) bool { return o.path == l.path && o.exposed && os.SameFile(o.info, l.info) }) {
			continue
		}
		return fault.UsageError("load policy",
			l.path+", which the policy extends, was replaced or is new and lies where the agent can write; the policy in force stays",
			"keep it outside of the workspace, or save it in place")
	}
	return nil
}
