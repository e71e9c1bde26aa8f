package policygen

import (
	"path"
	"strings"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// Draw parses a drawn Source. The error is that of Parse: such a draw is to be
// skipped (and counted, so that a test does not run on nothing).
func Draw(t *rapid.T, of Of) (*policy.Document, string, error) {
	text := Source(t, of)
	doc, _, err := policy.Parse("drawn.yaml", []byte(text))
	return doc, text, err
}

// Question draws a request, nearly always one that an endpoint of the document
// could be about: its host, port, method, path and query are made from what is
// written there, and then sometimes changed. The connection alone is a question
// of its own. Its time is near those at which drawn rules end, or none; nothing
// was used yet, and Uses is nil: who asks about rules with max_uses sets it. The
// document, drawn or not, must have an endpoint, and each network one that was
// not emptied by a layer.
func Question(t *rapid.T, doc *policy.Document) policy.Request {
	network, endpoint := something(t, doc)
	var r policy.Request
	r.Connection = connection(t, network, endpoint)
	rule := policy.RequestRule{Method: "GET", Path: "/**"}
	if all := append(append([]policy.RequestRule{}, endpoint.Allow...), endpoint.Deny...); len(all) > 0 {
		rule = rapid.SampledFrom(all).Draw(t, "rule")
	}
	r.Method = method(t, rule.Method)
	glob := rule.Path
	if glob == "" {
		glob = "/**"
	}
	if endpoint.Path != "" && rapid.IntRange(0, 1).Draw(t, "by selector") == 1 {
		glob = endpoint.Path
		if once(t, 4, "bare") {
			glob = strings.TrimSuffix(glob, "/**")
		}
	}
	r.Target = canonical(Instance(t, glob, '/'))
	r.Target.Query = query(t, rule.Query)
	message(t, endpoint, &r)
	return r
}

func something(t *rapid.T, doc *policy.Document) (policy.Network, policy.Endpoint) {
	var list []policy.Network
	for _, n := range doc.Networks {
		if len(n.Endpoints) > 0 {
			list = append(list, n)
		}
	}
	n := rapid.SampledFrom(list).Draw(t, "network")
	return n, rapid.SampledFrom(n.Endpoints).Draw(t, "endpoint")
}

func once(t *rapid.T, n int, label string) bool {
	return rapid.IntRange(0, n-1).Draw(t, label) == n-1
}

func connection(t *rapid.T, n policy.Network, e policy.Endpoint) policy.Connection {
	c := policy.Connection{KnownCaller: !once(t, 12, "unknown caller"), Port: e.Ports[0]}
	if once(t, 10, "other port") {
		c.Port = uint16(rapid.SampledFrom(ports).Draw(t, "port"))
	}
	if !once(t, 12, "no time") {
		c.Now = rapid.SampledFrom(times).Draw(t, "time")
	}
	c.Host = host(t, e.Host)
	if len(n.Binaries) > 0 {
		b := rapid.SampledFrom(n.Binaries).Draw(t, "binary")
		if !once(t, 4, "other digest") {
			c.SHA256 = b.SHA256
		}
		c.Binary = program(t, b.Path)
	}
	if c.SHA256 == "" && once(t, 4, "some digest") {
		c.SHA256 = rapid.SampledFrom(digests).Draw(t, "digest")
	}
	other := func(label string) string { return program(t, rapid.SampledFrom(programs).Draw(t, label)) }
	if c.Binary == "" || once(t, 8, "other program") {
		c.Binary = other("program")
	}
	for range rapid.IntRange(0, 2).Draw(t, "ancestors") {
		c.Ancestors = append(c.Ancestors, other("ancestor"))
	}
	if once(t, 4, "the child") { // the program that is allowed is an ancestor
		c.Binary, c.Ancestors = other("child"), append(c.Ancestors, c.Binary)
	}
	return c
}

// program draws a path that a glob may take. The kernel gives clean paths; now
// and then one is drawn that is not.
func program(t *rapid.T, glob string) string {
	name := path.Clean("/" + Instance(t, glob, '/'))
	if once(t, 20, "path that is not clean") {
		name = rapid.SampledFrom([]string{"/usr/bin/../bin/git", "//usr/bin/git", "/usr/./bin/curl", "usr/bin/git", ""}).Draw(t, "path")
	}
	return name
}

// host draws a host that a pattern may take.
func host(t *rapid.T, pattern string) netname.Host {
	if once(t, 40, "special host") {
		pattern = rapid.SampledFrom([]string{"localhost", "a.localhost", "169.254.169.254", "127.0.0.1", "metadata.google.internal", "29.193.0.9", "10.0.0.1"}).Draw(t, "host")
	} else if pattern == "" || once(t, 8, "other host") {
		pattern = rapid.SampledFrom(hosts).Draw(t, "host")
	}
	if h, err := netname.ParseHost(pattern); err == nil {
		return h
	}
	labels := strings.Split(pattern, ".")
	for i, l := range labels {
		switch l {
		case "**":
			labels[i] = rapid.SampledFrom([]string{"api", "b.api", "c.b.api", "www"}).Draw(t, "labels")
		default:
			labels[i] = strings.ReplaceAll(l, "*", rapid.SampledFrom([]string{"api", "a", "x"}).Draw(t, "label"))
		}
	}
	if h, err := netname.ParseHost(strings.Join(labels, ".")); err == nil {
		return h
	}
	h, _ := netname.ParseHost("api.a.test")
	return h
}

func method(t *rapid.T, written string) string {
	switch {
	case written == "" || written == "*" || once(t, 5, "other method"):
		return rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"}).Draw(t, "method")
	case written == "GET" && once(t, 3, "head"):
		return "HEAD"
	}
	return written
}

// canonical makes a path as a request has one.
func canonical(text string) target.Target {
	if !strings.HasPrefix(text, "/") {
		text = "/" + text
	}
	parsed, err := target.Parse(text, true)
	if err != nil {
		return target.Target{Path: "/"}
	}
	return target.Target{Path: parsed.Path}
}

func query(t *rapid.T, rules []policy.QueryRule) map[string][]string {
	q := map[string][]string{}
	for _, r := range rules {
		if once(t, 6, "without the key") {
			continue
		}
		for range rapid.IntRange(1, 2).Draw(t, "values") {
			g := rapid.SampledFrom(r.Any).Draw(t, "value glob")
			if once(t, 5, "other value") {
				g = rapid.SampledFrom(values).Draw(t, "value")
			}
			q[r.Key] = append(q[r.Key], Instance(t, g, '.'))
		}
	}
	if once(t, 5, "more keys") {
		q[rapid.SampledFrom(keys).Draw(t, "key")] = []string{Instance(t, rapid.SampledFrom(values).Draw(t, "value"), '.')}
	}
	return q
}
