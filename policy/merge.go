package policy

import (
	"cmp"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// merger puts one layer below what is merged so far. A layer tightens freely;
// what it loosens has to be open, or is a fault of the layer. What a layer does
// not write it leaves as it is.
type merger struct {
	d     *decoder // of the layer: its faults, and what it wrote
	l     *layer
	above []opening // the top one first
}

func (m *merger) wrote(path string) bool { _, ok := m.d.written[path]; return ok }

// may reports whether the layer may loosen a key, and makes it a fault if not:
// at a place of its own, or where the key stands.
func (m *merger) may(at Position, section, key, what string) bool {
	if openTo(m.above, section, key) {
		return true
	}
	name := section
	if key != "" {
		name = pathKey(section, key)
	}
	if own, ok := m.d.written[name]; ok && at.Line == 0 {
		at = own
	}
	m.d.faultAt(at, name, Conflict, what+" is wider than what the layer above allows", "",
		mayOnlyTighten(closing(m.above, section, key), name))
	return false
}

func (m *merger) merge(up *Document) *Document {
	low := m.l.doc
	doc := *up
	doc.Filesystem = m.filesystem(&up.Filesystem, &low.Filesystem)
	if m.wrote("landlock.compatibility") && (low.Landlock.Compatibility == up.Landlock.Compatibility || low.Landlock.Compatibility == HardRequirement ||
		m.may(Position{}, "landlock", "compatibility", "best_effort")) {
		doc.Landlock = low.Landlock
	}
	for _, id := range []struct {
		key     string
		up, low string
		to      *string
	}{
		{"run_as_user", up.Process.RunAsUser, low.Process.RunAsUser, &doc.Process.RunAsUser},
		{"run_as_group", up.Process.RunAsGroup, low.Process.RunAsGroup, &doc.Process.RunAsGroup},
	} {
		if id.low == "" || id.low == id.up {
			continue
		}
		if id.up == "" && id.low == "sandbox" || m.may(Position{}, "process", id.key, id.key+" "+id.low) {
			*id.to, doc.Process.At = id.low, low.Process.At
		}
	}
	doc.Syscalls = m.syscalls(&up.Syscalls, &low.Syscalls)
	doc.Resources = m.resources(&up.Resources, &low.Resources)
	doc.DNS = m.dns(&up.DNS, &low.DNS)
	doc.Inference = m.inference(up.Inference, low.Inference)
	if m.wrote("unmatched") && (low.Unmatched != Ask || up.Unmatched == Ask || m.may(Position{}, "unmatched", "", "unmatched: ask")) {
		doc.Unmatched = low.Unmatched
	}
	doc.Limits = m.limits(up.Limits, low.Limits)
	doc.Networks = m.networks(up.Networks, low.Networks)
	m.unmerged(low)
	return &doc
}

// unmerged refuses what a layer says and no rule merges.
func (m *merger) unmerged(low *Document) {
	known := []string{"File", "Files", "Version", "Filesystem", "Landlock", "Process", "Syscalls", "Resources", "DNS", "Networks", "Unmatched", "Inference", "Limits"}
	v := reflect.ValueOf(*low)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; !v.Field(i).IsZero() && !slices.Contains(known, name) {
			m.d.faultAt(Position{m.l.file, 1, 1}, "", Conflict, "the section behind "+name+" in a file that extends others", "", "only the top layer can hold it")
		}
	}
}

func (m *merger) filesystem(up, low *Filesystem) Filesystem {
	fs := *up
	if !m.wrote("filesystem_policy") {
		return fs
	}
	const section = "filesystem_policy"
	fs.At = low.At
	if m.wrote("filesystem_policy.include_workdir") && (!low.IncludeWorkdir || up.IncludeWorkdir || m.may(Position{}, section, "include_workdir", "include_workdir: true")) {
		fs.IncludeWorkdir = low.IncludeWorkdir
	}
	list := func(key string, to *[]Path, low []Path, within ...[]Path) {
		if !m.wrote("filesystem_policy." + key) {
			return
		}
		for _, p := range low {
			if !slices.ContainsFunc(within, func(l []Path) bool { return shown(l, p.Path) }) && !m.may(p.At, section, key, show(p.Path)) {
				return
			}
		}
		*to = low
	}
	list("read_only", &fs.ReadOnly, low.ReadOnly, up.ReadOnly, up.ReadWrite)
	list("read_write", &fs.ReadWrite, low.ReadWrite, up.ReadWrite)
	fs.Hidden = bothPaths(up.Hidden, low.Hidden)
	fs.NoExec = bothPaths(up.NoExec, low.NoExec)
	if w := low.Workspace; w.Mode != WorkspaceUnset && (w.Mode >= up.Workspace.Mode || m.may(Position{}, section, "workspace", "workspace: "+w.Mode.String())) {
		fs.Workspace.Mode, fs.Workspace.At = w.Mode, w.At
	}
	if m.wrote("filesystem_policy.workspace.writable_protected") {
		ok := subset(low.Workspace.WritableProtected, up.Workspace.WritableProtected)
		if ok || m.may(Position{}, section, "workspace", "writable_protected") {
			fs.Workspace.WritableProtected, fs.Workspace.At = low.Workspace.WritableProtected, low.Workspace.At
		}
	}
	return fs
}

// shown: the path is one of the list, or lies below one.
func shown(list []Path, p string) bool {
	return slices.ContainsFunc(list, func(u Path) bool {
		return u.Path == p || u.Path == "/" || strings.HasPrefix(path.Clean(p), u.Path+"/")
	})
}

func bothPaths(up, low []Path) []Path {
	all := slices.Clone(up)
	for _, p := range low {
		i := slices.IndexFunc(all, func(u Path) bool { return u.Path == p.Path })
		if i < 0 {
			all = append(all, p)
		} else if all[i].Optional && !p.Optional {
			all[i] = p // the stricter one
		}
	}
	return all
}

func (m *merger) syscalls(up, low *Syscalls) Syscalls {
	y := Syscalls{Open: slices.Clone(up.Open), Closed: slices.Clone(up.Closed), At: up.At}
	for _, w := range syscallWords {
		if !m.wrote("syscalls." + w.name) {
			continue
		}
		y.At = low.At
		byDefault := slices.Contains(openByDefault, w.name)
		wants := byDefault && !slices.Contains(low.Closed, w.name) || slices.Contains(low.Open, w.name)
		has := byDefault && !slices.Contains(up.Closed, w.name) || slices.Contains(up.Open, w.name)
		if wants == has || wants && !m.may(Position{}, "syscalls", w.name, w.name+": true") {
			continue
		}
		list, put := &y.Open, wants
		if byDefault {
			list, put = &y.Closed, !wants
		}
		if put {
			*list = append(*list, w.name)
		} else {
			*list = slices.DeleteFunc(*list, func(s string) bool { return s == w.name })
		}
	}
	slices.Sort(y.Open)
	return y
}

func (m *merger) resources(up, low *Resources) Resources {
	r := *up
	for _, f := range []struct {
		key     string
		up, low int64
		to      *int64
		text    func(int64) string
	}{
		{"memory", up.Memory, low.Memory, &r.Memory, SizeText},
		{"cpu", up.CPU, low.CPU, &r.CPU, CPUText},
		{"pids", up.PIDs, low.PIDs, &r.PIDs, countText},
		{"disk", up.Disk, low.Disk, &r.Disk, SizeText},
		{"open_files", up.OpenFiles, low.OpenFiles, &r.OpenFiles, countText},
	} {
		if f.low == 0 || f.up > 0 && f.low > f.up && !m.may(Position{}, "resources", f.key, f.key+" of "+f.text(f.low)+" instead of "+f.text(f.up)) {
			continue
		}
		*f.to, r.At = f.low, low.At
	}
	if m.wrote("resources.compatibility") && (low.Compatibility != BestEffort || up.Compatibility == BestEffort ||
		m.may(Position{}, "resources", "compatibility", "best_effort")) {
		r.Compatibility, r.At = low.Compatibility, low.At
	}
	return r
}

func countText(n int64) string { return strconv.FormatInt(n, 10) }

// limits of the documents; those of rules hold side by side.
func (m *merger) limits(up, low *Limits) *Limits {
	switch {
	case low == nil:
		return up
	case up == nil:
		return low
	}
	l := *up
	quantity := func(key string, to *Quantity, low Quantity, text func(Quantity) string) {
		if low.Count == 0 {
			return
		}
		if to.Count == 0 || low.Count <= to.Count && (low.Per == 0 || to.Per > 0 && low.Per >= to.Per) ||
			m.may(Position{}, "limits", key, key+" of "+text(low)+" instead of "+text(*to)) {
			*to = low
		}
	}
	quantity("requests", &l.Requests, low.Requests, Quantity.String)
	quantity("bytes_out", &l.BytesOut, low.BytesOut, Quantity.bytes)
	quantity("bytes_in", &l.BytesIn, low.BytesIn, Quantity.bytes)
	if n := low.Connections; n > 0 && (l.Connections == 0 || n <= l.Connections || m.may(Position{}, "limits", "connections", fmt.Sprintf("connections of %d instead of %d", n, l.Connections))) {
		l.Connections = n
	}
	if t := low.ResponseTypes; t != nil && (l.ResponseTypes == nil || !slices.ContainsFunc(t, func(t string) bool {
		class, _, _ := strings.Cut(t, "/")
		return !slices.Contains(l.ResponseTypes, t) && !slices.Contains(l.ResponseTypes, class+"/*")
	}) || m.may(Position{}, "limits", "response_types", "response_types")) {
		l.ResponseTypes = t
	}
	return &l
}

// inference: where requests for models go is the upper layer's, but for what
// takes something away.
func (m *merger) inference(up, low *Inference) *Inference {
	if low == nil {
		return up
	}
	var i Inference
	if up != nil {
		i = *up
	}
	i.At = low.At
	for _, w := range inferenceWords {
		if !m.wrote("inference." + w.name) {
			continue
		}
		ok, set := i.tighter(w.name, low)
		if ok || m.may(Position{}, "inference", w.name, "inference."+w.name) {
			set()
		}
	}
	return &i
}

// tighter reports whether a key of low allows no more than that of i, and gives
// what takes it over.
func (i *Inference) tighter(key string, low *Inference) (ok bool, set func()) {
	switch key {
	case "backend":
		return i.Backend == low.Backend, func() { i.Backend = low.Backend }
	case "key":
		return i.Key == low.Key, func() { i.Key = low.Key }
	case "model":
		return i.Model == low.Model, func() { i.Model = low.Model }
	case "models":
		return false, func() { i.Models = low.Models }
	case "hosts":
		return i.Hosts != nil && slices.Equal(i.Hosts, low.Hosts), func() { i.Hosts = low.Hosts }
	case "add_hosts":
		return slices.Equal(i.AddHosts, low.AddHosts), func() { i.AddHosts = low.AddHosts }
	case "remove_hosts":
		return slices.Equal(i.RemoveHosts, low.RemoveHosts), func() { i.RemoveHosts = low.RemoveHosts }
	case "server_tools":
		return subset(low.ServerTools, i.ServerTools), func() { i.ServerTools = low.ServerTools }
	case "remote_inputs":
		return !low.RemoteInputs || i.RemoteInputs, func() { i.RemoteInputs = low.RemoteInputs }
	}
	return false, func() {}
}

// networks: a network policy that the layer restates takes the place of the one
// above, which stays with its deny rules and grants nothing.
func (m *merger) networks(up, low []Network) []Network {
	all := slices.Clone(up)
	for i := range low {
		n := &low[i]
		open := openTo(m.above, "network_policies", n.Key)
		if !open && !m.covered(up, n) {
			continue
		}
		if open {
			all = slices.DeleteFunc(all, func(u Network) bool { return u.Key == n.Key })
		}
		for j := range all {
			if all[j].Key == n.Key {
				all[j].Endpoints = slices.Clone(all[j].Endpoints)
				for k := range all[j].Endpoints {
					e := &all[j].Endpoints[k]
					// Nobody is asked about what was taken back.
					e.Withdrawn, e.Unmatched = true, Deny
					if e.Enforcement == AskFirst {
						e.Enforcement = Enforce
					}
				}
			}
		}
		all = append(all, *n)
	}
	slices.SortStableFunc(all, func(a, b Network) int { return cmp.Compare(a.Key, b.Key) })
	return all
}

// covered: every endpoint of n allows no more than one above it.
func (m *merger) covered(up []Network, n *Network) bool {
	good := true
	for i := range n.Endpoints {
		e := &n.Endpoints[i]
		if why := m.uncovered(up, n, e); why != "" {
			good = false
			m.d.faultAt(e.At, pathIndex(pathKey("network_policies", n.Key)+".endpoints", i), Conflict, why, "",
				mayOnlyTighten(closing(m.above, "network_policies", n.Key), pathKey("network_policies", n.Key)))
		}
	}
	return good
}

// judgedAbove: what an uninspected endpoint allows, it allows only where no other
// one above has the requests judged; and what the requests of one protocol may,
// only where they are not judged as another's.
func judgedAbove(up []Network, ue, e *Endpoint) string {
	if !inspected(e) || inspected(ue) && e.Path == ue.Path {
		return ""
	}
	for i := range up {
		for j := range up[i].Endpoints {
			other := &up[i].Endpoints[j]
			if inspected(other) && (!inspected(ue) || other.Protocol != e.Protocol && pathsOverlap(other.Path, e.Path)) && hostsOverlap(other, e) && slices.ContainsFunc(e.Ports, func(p uint16) bool { return slices.Contains(other.Ports, p) }) {
				return "its requests are judged by " + other.At.String()
			}
		}
	}
	return ""
}

func inspected(e *Endpoint) bool { return e.Protocol != L4 && e.Protocol != TCP }

// uncovered says how an endpoint is wider than all above it, or "".
func (m *merger) uncovered(up []Network, n *Network, e *Endpoint) string {
	text := endpointText(e) + " is allowed by no layer above"
	for i := range up {
		for j := range up[i].Endpoints {
			un, ue := &up[i], &up[i].Endpoints[j]
			why := covers(un, ue, n, e)
			if why == "" {
				if why = judgedAbove(up, ue, e); why == "" {
					return ""
				}
			}
			if hostCovered(ue, e) && !ue.Withdrawn && subset(e.Ports, ue.Ports) {
				text = fmt.Sprintf("%s is wider than what %s allows (%s): %s", endpointText(e), show(un.Key), ue.At, why)
			}
		}
	}
	return text
}
