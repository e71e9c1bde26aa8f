package expect

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// Case is one expectation.
type Case struct {
	At   policy.Position
	Name string // what is asked, in words, if the list gives no name

	Connection policy.Connection // without Now: the time of the run
	Asked

	Want    policy.Verdict
	Rule    string // key of the network policy that must decide; with AnyRule false, "" is no rule at all
	AnyRule bool   // the list names no rule
	Audited *bool  // nil: not looked at

	path   string                     // of the entry, for faults
	places map[string]policy.Position // of its words
}

// keys of one expectation, in the order of the documentation.
var keys = []string{
	"name", "host", "port", "binary", "ancestors", "sha256", "at", "method", "path",
	"graphql", "operation", "rpc_method", "tool", "argument", "response", "stream", "ends", "service", "grpc_method", "published", "ref", "force", "delete", "text", "want", "rule", "audited",
}

const defaultPort = 443

// Parse decodes a list of expectations. The error is nil or a policy.Faults
// with everything that is wrong.
func Parse(name string, data []byte) ([]Case, error) {
	s, root, ok := policy.ReadStrict(name, data, "a list of expectations", "begin with: - {host: api.example.test, want: deny}")
	if !ok {
		return nil, s.Err()
	}
	d := decoder{Strict: s, seen: make(map[string]seen)}
	var cases []Case
	names := make(map[string]int)
	d.List(root, "expectations", func(i int, v policy.Value) {
		before := d.Count()
		if c := d.expectation(v); d.Count() == before {
			d.repeated(v, c)
			c.path = fmt.Sprintf("[%d]", i)
			if c.Name == "" {
				c.Name = c.words()
				if names[c.Name]++; names[c.Name] > 1 {
					c.Name += " " + c.path
				}
			}
			cases = append(cases, c)
		}
	})
	if d.Count() == 0 && len(cases) == 0 {
		d.Fault(root, policy.Missing, "", "at least one expectation", "write: - {host: api.example.test, want: deny}")
	}
	if err := d.Err(); err != nil {
		return nil, err
	}
	return cases, nil
}

type decoder struct {
	*policy.Strict
	seen map[string]seen
}

type seen struct {
	line int
	want policy.Verdict
}

// repeated refuses the same question with two answers: one of them must fail.
func (d *decoder) repeated(v policy.Value, c Case) {
	key := fmt.Sprintf("%q", []any{c.Connection.Host.String(), c.Connection.Port, c.Connection.Binary, c.Connection.Ancestors, c.Connection.SHA256, c.Connection.Now, c.Asked})
	if first, ok := d.seen[key]; ok && first.want != c.Want {
		d.Fault(v, policy.Conflict, fmt.Sprintf("want: %s for what line %d wants to %s", c.Want, first.line, first.want), "one answer to one request", "keep one of them")
	} else if !ok {
		d.seen[key] = seen{c.At.Line, c.Want}
	}
}

func (d *decoder) expectation(v policy.Value) Case {
	c := Case{At: d.At(v), AnyRule: true}
	s, ok := d.Section(v, "an expectation", keys...)
	if !ok {
		return c
	}
	d.connection(v, s, &c)
	d.request(v, s, &c)
	const want = "allow, deny, ask or reroute"
	if w, ok := s["want"]; !ok {
		d.Fault(v.Child("want"), policy.Missing, "", want, "write want: deny if nothing may pass")
	} else if text, ok := d.OneOf(w, want, "allow", "deny", "ask", "reroute"); ok {
		c.Want = map[string]policy.Verdict{"allow": policy.Allow, "ask": policy.Ask, "reroute": policy.Reroute}[text]
	}
	if r, ok := s["rule"]; ok {
		c.AnyRule = false
		c.Rule, _ = d.Text(r, `the key of a network policy, or "" for no rule`)
	}
	if a, ok := s["audited"]; ok {
		if on, ok := d.Bool(a); ok {
			c.Audited = &on
			if on && c.Want != policy.Allow {
				d.Fault(a, policy.Conflict, "audited: true with another verdict than allow", "", "audited is what is allowed only because enforcement is audit: write want: allow, or remove it")
			}
		}
	}
	if n, ok := s["name"]; ok {
		c.Name, _ = d.Text(n, "a text")
	}
	c.places = make(map[string]policy.Position, len(s))
	for word, v := range s {
		c.places[word] = d.At(v)
	}
	return c
}

func (d *decoder) connection(v policy.Value, s map[string]policy.Value, c *Case) {
	const host = "the name or address of one host"
	if h, ok := s["host"]; !ok {
		d.Fault(v.Child("host"), policy.Missing, "", host, "")
	} else if text, ok := d.Text(h, host); ok {
		parsed, err := netname.ParseHost(text)
		if err != nil {
			hint := ""
			switch {
			case strings.Contains(text, "*"):
				hint = "an expectation is one request: write a host that the pattern takes"
			case strings.Contains(text, "/"):
				hint = "write the host alone; the path has its own key"
			case strings.Contains(text, ":"):
				hint = "write the port under port:"
			}
			d.Fault(h, policy.BadValue, policy.Show(text), host, hint)
		}
		c.Connection.Host = parsed
	}
	c.Connection.Port = defaultPort
	if p, ok := s["port"]; ok {
		n, _ := d.Number(p, 1, 65535, "a port of 1..65535")
		c.Connection.Port = uint16(n)
	}
	if b, ok := s["binary"]; ok {
		c.Connection.Binary = d.program(b)
		c.Connection.KnownCaller = c.Connection.Binary != ""
	}
	if a, ok := s["ancestors"]; ok {
		d.List(a, "paths of programs", func(_ int, item policy.Value) {
			c.Connection.Ancestors = append(c.Connection.Ancestors, d.program(item))
		})
		if _, ok := s["binary"]; !ok {
			d.Fault(a, policy.Conflict, "ancestors without binary", "", "write the calling program under binary:, its parents under ancestors:, nearest first")
		}
	}
	if h, ok := s["sha256"]; ok {
		const want = "64 hexadecimal digits"
		text, ok := d.Text(h, want)
		if ok && !digest().MatchString(text) {
			d.Fault(h, policy.BadValue, policy.Show(text), want, "as sha256sum prints it")
		}
		c.Connection.SHA256 = strings.ToLower(text)
	}
	if a, ok := s["at"]; ok {
		c.Connection.Now = d.time(a)
	}
}

// time is a time with its zone.
func (d *decoder) time(v policy.Value) (t time.Time) {
	const want = "a time like 2026-12-31T18:00:00Z"
	if text, ok := d.Text(v, want); ok {
		var err error
		if t, err = time.Parse(time.RFC3339, text); err != nil || t.IsZero() {
			d.Fault(v, policy.BadValue, policy.Show(text), want, "date, T, time, and Z or a difference from UTC such as +02:00 (RFC 3339)")
		}
	}
	return t
}

var digest = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-fA-F]{64}$`) })

// program is the path of an executable as the kernel reports it.
func (d *decoder) program(v policy.Value) string {
	const want = "the absolute path of a program"
	text, ok := d.Text(v, want)
	switch {
	case !ok:
	case !strings.HasPrefix(text, "/"):
		d.Fault(v, policy.BadValue, policy.Show(text), want, "callers have absolute paths")
	case strings.Contains(text, "*"):
		d.Fault(v, policy.BadValue, policy.Show(text), want, "an expectation is one request: write a program that the glob takes")
	}
	return text
}

func (d *decoder) request(v policy.Value, s map[string]policy.Value, c *Case) {
	const wantMethod, wantPath = "an HTTP method", "the path of a request, with its query"
	before := d.Count()
	if m, ok := s["method"]; ok {
		if text, ok := d.Text(m, wantMethod); ok {
			hint := ""
			if text == "*" {
				hint = "an expectation is one request: write one method"
			}
			if !method(text) {
				d.Fault(m, policy.BadValue, policy.Show(text), wantMethod, hint)
			}
			c.Method = text
		}
	}
	p, hasPath := s["path"]
	if hasPath {
		if text, ok := d.Text(p, wantPath); ok {
			if !strings.HasPrefix(text, "/") {
				d.Fault(p, policy.BadValue, policy.Show(text), wantPath, `a path begins with "/"; the host has its own key`)
			}
			c.Path = text
		}
	}
	d.body(s, &c.Asked)
	if d.Count() != before {
		return
	}
	err := c.Check()
	if err == nil {
		c.Asked = c.Whole()
		hasPath = hasPath || c.Service != ""
	}
	switch {
	case err != nil:
		d.Fault(v, policy.Conflict, err.Error(), "", "creel policy test --help")
	case c.Inspects() && !hasPath:
		d.Fault(v.Child("path"), policy.Missing, "", wantPath, "a request has a path; without one, the connection is judged")
	case hasPath && !c.Inspects():
		d.Fault(v.Child("method"), policy.Missing, "", wantMethod, "method and path belong together; without both the connection is judged")
	}
}

// body decodes what a request holds beside its method and path.
func (d *decoder) body(s map[string]policy.Value, a *Asked) {
	texts := func(key, what string) (all []string) {
		v, ok := s[key]
		if !ok {
			return nil
		}
		before := d.Count()
		d.List(v, what, func(_ int, item policy.Value) {
			switch text, ok := d.Text(item, what); {
			case ok && text == "":
				d.Fault(item, policy.BadValue, "an empty text", what, "")
			case ok:
				all = append(all, text)
			}
		})
		if len(all) == 0 && d.Count() == before {
			d.Fault(v, policy.BadValue, "none", "one or more "+what, "remove "+key+", or name one")
		}
		return all
	}
	text := func(key, what string) (word string) {
		if v, ok := s[key]; ok {
			if word, ok = d.Text(v, what); ok && word == "" {
				d.Fault(v, policy.BadValue, "an empty text", what, "")
			}
		}
		return word
	}
	on := func(key string) (on bool) {
		if v, ok := s[key]; ok {
			on, _ = d.Bool(v)
		}
		return on
	}
	a.GraphQL = texts("graphql", "GraphQL operations like query:viewer")
	a.Operation = text("operation", "the name of a GraphQL operation")
	a.RPC = texts("rpc_method", "methods of calls")
	a.Tool = text("tool", "the name of a tool")
	a.Arguments = texts("argument", "arguments like path=/work/a")
	a.Response, a.Stream, a.Ends = on("response"), on("stream"), on("ends")
	a.Service, a.GRPC = text("service", "the name of a gRPC service"), text("grpc_method", "the name of a method")
	if v, ok := s["published"]; ok {
		a.Published = d.time(v)
	}
	a.Refs = texts("ref", "refs like refs/heads/main")
	a.Force, a.Delete, a.Text = on("force"), on("delete"), on("text")
}

// method: letters and what extension methods hold (RFC 9110 allows more, which
// nobody uses).
func method(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '-' || c == '_') {
			return false
		}
	}
	return s != ""
}

// words is the case on one line.
func (c Case) words() string {
	var b strings.Builder
	b.WriteString(c.Want.String() + " ")
	what, path := c.Asked.words()
	host := c.Connection.Host.String()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	fmt.Fprintf(&b, "%s%s:%d%s", what, host, c.Connection.Port, path)
	if c.Connection.Binary != "" {
		b.WriteString(" by " + c.Connection.Binary)
	}
	for _, a := range c.Connection.Ancestors {
		b.WriteString(" started by " + a)
	}
	if !c.Connection.Now.IsZero() {
		b.WriteString(" at " + c.Connection.Now.Format(time.RFC3339))
	}
	return b.String()
}
