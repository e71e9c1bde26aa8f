package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/glob"
)

// LintOptions is what Lint cannot know from a document.
type LintOptions struct {
	// ModelHosts are hosts of model services, beside the ones that Parse warns about.
	ModelHosts []string
	// Claimed reports whether an inference route answers a host and port before
	// the policy is asked. nil: there is no route.
	Claimed func(netname.Host, uint16) bool
	// Workspace reports whether a path is the workspace of a run. nil: none is.
	Workspace func(path string) bool
}

// Lint looks for what is valid and dangerous, or without effect, beyond what
// Parse warns about; parsed are the warnings of Parse, which are part of the
// result. Each has its place, the reason and the fix. It claims that a rule has
// no effect only where the text alone shows it: there may be more.
func Lint(doc *Document, parsed Warnings, o LintOptions) Warnings {
	if doc == nil {
		return parsed
	}
	d := &decoder{file: doc.File, version: doc.Version, warns: slices.Clone(parsed)}
	l := linter{decoder: d, doc: doc, o: o, left: maxLintWork}
	l.workspace()
	for i := range doc.Networks {
		n := &doc.Networks[i]
		at := pathKey("network_policies", n.Key)
		for j := range n.Endpoints {
			l.sites = append(l.sites, site{n, &n.Endpoints[j], pathIndex(at+".endpoints", j), len(l.sites)})
		}
		l.programs(n, at)
	}
	for _, s := range l.sites {
		l.auditOnly(s)
		l.anyWrites(s)
		l.echoes(s)
		l.rented(s)
		l.models(s)
		l.rules(s)
	}
	l.pairs()
	if l.left <= 0 {
		// Put in by hand: there may be more findings than warnAt keeps.
		d.warns = append(d.warns, Warning{At: Position{File: doc.File, Line: 1, Column: 1}, Kind: TooMuch,
			Text: "so many rules overlap that not all were compared with each other", Hint: "fewer rules for the same hosts"})
	}
	return sortWarnings(d.warns)
}

// maxLintWork bounds the comparisons of Lint, in steps of some globs' lengths.
const maxLintWork = 1 << 20

type linter struct {
	*decoder
	doc   *Document
	o     LintOptions
	sites []site
	left  int
}

// site is one endpoint with its place.
type site struct {
	n     *Network
	e     *Endpoint
	path  string
	order int
}

// inspects: requests are judged one by one.
func (e *Endpoint) inspects() bool { return e.Protocol == REST }

// opaque: the connection alone is judged, so everything on it passes.
func (e *Endpoint) opaque() bool {
	return e.Protocol == L4 || e.Protocol == TCP || e.Protocol == "sql" // whose commands nothing reads
}

// all are the allow rules of an endpoint, those of its preset included.
func (e *Endpoint) all() []RequestRule { return append(preset(e), e.Allow...) }

// workspace looks for what a run in the workspace refuses, or in version 1 tells.
func (l *linter) workspace() {
	if l.o.Workspace == nil {
		return
	}
	if p, ok := l.doc.Filesystem.Contradicted(l.doc.Filesystem.Workspace.Mode, l.o.Workspace); ok {
		text, hint := l.doc.Contradiction()
		l.find(OwnWorkspace, p.At, "filesystem_policy.read_only", Conflict, text, hint)
	}
}

// auditOnly: the decoder warns as well, and knows whether the word is written.
func (l *linter) auditOnly(s site) {
	if s.e.opaque() || s.e.Enforcement != Audit {
		return
	}
	for i := range l.warns {
		if w := &l.warns[i]; w.At == s.e.At && w.Path == s.path && strings.HasPrefix(w.Text, "enforcement") {
			w.Check = AuditOnly
			return
		}
	}
	l.find(AuditOnly, s.e.At, s.path, Weak, "enforcement: audit forwards requests that no rule allows", "write enforcement: enforce when the rules are right")
}

// writing is what of an endpoint lets data out in bodies; "" : nothing.
func writing(e *Endpoint) string {
	if e.opaque() {
		return "everything, because requests are not inspected"
	}
	var methods []string
	for _, r := range e.all() {
		switch m := r.Method; m {
		case "GET", "HEAD", "OPTIONS", "":
		case "*":
			return "every method"
		default:
			if !slices.Contains(methods, m) {
				methods = append(methods, m)
			}
		}
	}
	return strings.Join(methods, ", ")
}

func (l *linter) anyWrites(s site) {
	if !s.n.AnyBinary {
		return
	}
	if w := writing(s.e); w != "" {
		l.find(AnyWrites, s.e.At, s.path, Weak, fmt.Sprintf("binaries: any lets every program, one that the agent has just written too, send there (%s)", w),
			"name the programs under binaries, or allow reading alone")
	}
}

// programs looks for shells and interpreters, named or taken by a glob.
func (l *linter) programs(n *Network, at string) {
	if len(n.Endpoints) == 0 {
		return
	}
	for i, b := range n.Binaries {
		name := ""
		if strings.Contains(b.Path, "*") {
			name = takenInterpreter(b.Path)
		} else if Interpreter(b.Path) {
			name = b.Path
		}
		if name == "" {
			continue
		}
		text := show(b.Path) + " runs any code that it is given"
		if name != b.Path {
			text = show(b.Path) + " also takes " + name + ", which runs any code that it is given"
		}
		l.find(RunsAnything, b.At, pathIndex(at+".binaries", i), Weak, text+": the rule is for whatever the agent writes",
			"name the program that needs the access, or keep what the rule allows so small that any code may have it")
	}
}

// takenInterpreter is one that a glob takes in the usual folders, or "".
func takenInterpreter(pattern string) string {
	g, err := glob.Compile(pattern, '/')
	if err != nil {
		return ""
	}
	for _, dir := range []string{"/usr/bin/", "/bin/", "/usr/local/bin/"} {
		for _, name := range []string{"sh", "bash", "python3", "node", "perl"} {
			if g.Match(dir + name) {
				return dir + name
			}
		}
	}
	return ""
}

// reads: a GET, or anything at all, passes.
func reads(e *Endpoint) bool {
	return e.opaque() || slices.ContainsFunc(e.all(), func(r RequestRule) bool {
		return (r.Method == "GET" || r.Method == "HEAD" || r.Method == "*") && r.Path != ""
	})
}

func (l *linter) echoes(s site) {
	if s.e.Host == "" || !reads(s.e) {
		return
	}
	where, ok := "", false
	if s.e.Pattern.Literal() {
		where, ok = Echoes(s.e.Pattern.Host())
	} else {
		where, ok = l.below(s.e.Pattern, echoSuffixes)
	}
	if ok {
		l.find(EchoHost, s.e.At, s.path+".host", Weak, where+" hands on what is sent to it, the address of a request included: reading there is enough to carry data out",
			"remove the rule, or allow single paths whose text the agent cannot choose")
	}
}

// below finds a suffix below which all hosts of a pattern are, or a host of the
// list that it takes.
func (l *linter) below(p netname.Pattern, suffixes []string) (string, bool) {
	if h, err := netname.ParseHost(literalSuffix(p.String())); err == nil {
		if s, ok := below(h, suffixes); ok {
			return s, true
		}
	}
	for _, s := range suffixes {
		if h, err := netname.ParseHost(s); err == nil && p.Match(h) {
			return s, true
		}
	}
	return "", false
}

// rented adds to what Parse finds: hosts in the regions of a service.
func (l *linter) rented(s site) {
	if s.e.Host == "" || s.e.Pattern.Literal() {
		return
	}
	const regional = ".amazonaws.com"
	if suffix := literalSuffix(s.e.Pattern.String()); strings.HasSuffix(suffix, regional) && !slices.Contains(sharedSuffixes, suffix) {
		l.find(RentedHosts, s.e.At, s.path+".host", Weak, fmt.Sprintf("%s covers hosts that anybody can rent below %s", show(s.e.Host), suffix), "name the hosts")
	}
}

func (l *linter) models(s site) {
	e := s.e
	if e.Host == "" {
		return
	}
	claimed := func(h netname.Host) bool {
		return l.o.Claimed != nil && !slices.ContainsFunc(e.Ports, func(p uint16) bool { return !l.o.Claimed(h, p) })
	}
	if e.Pattern.Literal() && e.Host != inferenceHost && claimed(e.Pattern.Host()) {
		l.find(Unused, e.At, s.path+".host", NoOperation, show(e.Host)+" is answered by the inference route, so the rule never decides", "remove it")
	}
	if slices.ContainsFunc(l.warns, func(w Warning) bool { return w.Check == DirectModel && w.At == e.At && w.Path == s.path+".host" }) {
		return
	}
	for _, m := range l.o.ModelHosts {
		if p, err := netname.ParsePattern(m); err == nil && p.Literal() && e.Pattern.Match(p.Host()) && !claimed(p.Host()) {
			if !e.Models {
				text, hint := directModel(l.doc, e, m)
				l.find(DirectModel, e.At, s.path+".host", Weak, text, hint)
			}
			return
		}
	}
}

// rules compares the rules of one endpoint with each other.
func (l *linter) rules(s site) {
	e := s.e
	if !e.inspects() {
		return
	}
	inside := func(list []RequestRule, i int) *RequestRule {
		for j := range list {
			if i != j && l.pay(list[i].Path, list[j].Path) && ruleWithin(&list[j], &list[i]) && (j < i || !ruleWithin(&list[i], &list[j])) {
				return &list[j]
			}
		}
		return nil
	}
	for i := range e.Allow {
		r := &e.Allow[i]
		at := pathIndex(s.path+".rules", i)
		if r.Method == "" || r.Path == "" || !plain(r) {
			continue // version 1: Parse says that it allows nothing
		}
		if !pathsOverlap(e.Path, r.Path) {
			l.find(Unused, r.At, at, NeverFires, fmt.Sprintf("the endpoint takes %s alone, where %s never is", show(e.Path), show(r.Path)), "write paths below that of the endpoint, or remove the rule")
			continue
		}
		if k := slices.IndexFunc(e.Deny, func(deny RequestRule) bool {
			return l.pay(deny.Path, r.Path) && len(deny.Query) == 0 && ruleWithin(&deny, r)
		}); k >= 0 {
			l.find(Unused, r.At, at, NeverFires, fmt.Sprintf("the deny rule on line %d takes all of it, and a deny rule always wins", e.Deny[k].At.Line), "remove one of the two")
			continue
		}
		if o := inside(e.Allow, i); o != nil {
			l.find(Shadowed, r.At, at, NoOperation, fmt.Sprintf("%s on line %d allows all of it", ruleText(*o), o.At.Line), "remove it, or narrow the other one")
		}
	}
	for i := range e.Deny {
		if o := inside(e.Deny, i); o != nil {
			l.find(Shadowed, e.Deny[i].At, pathIndex(s.path+".deny_rules", i), NoOperation, fmt.Sprintf("%s on line %d denies all of it", ruleText(*o), o.At.Line), "remove it")
		}
	}
}

// pay counts the work of comparing two globs, and says whether there is any left.
func (l *linter) pay(a, b string) bool {
	l.left -= 1 + len(a)*len(b)/256
	return l.left > 0
}
