package analyse_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
	"github.com/creel-run/creel/policy/target"
)

var (
	someHosts    = []string{"api.a.test", "api.a.test", "b.a.test", "b.a.test", "x.b.a.test", "other.test", "192.0.2.7", "elsewhere", "a.test", "foo-1.a.test"}
	somePatterns = []string{"api.a.test", "b.a.test", "other.test", "192.0.2.7", "*.a.test", "**.a.test", "foo-*.a.test", "*.b.a.test", "**.a.test", "api.a.test", "x.b.a.test"}
	someBinaries = []string{"/**", "/usr/bin/curl", "/usr/bin/git", "/usr/bin/curl", "/usr/bin/git", "/opt/x", "/opt/tools/y", "/usr/bin/*", "/opt/**", "/**", "**/git"}
	someCallers  = []string{"/usr/bin/curl", "/usr/bin/git", "/opt/x", "/opt/tools/y", "/bin/sh", "/home/git", ""}
	someMethods  = []string{"GET", "HEAD", "POST", "DELETE", "PURGE", "*"}
	somePaths    = []string{"**", "/**", "/v1", "/v1/**", "/v1/*", "/v1/*/x", "/**/x", "/v[12]/{a,b}", "/a%2Fb", "/v1/secret", "**/"}
	someTargets  = []string{"/", "/v1", "/v1/", "/v1/a", "/v2/b", "/v1/a/x", "/x", "/a%2Fb", "/v1/secret", "/v1/secret/x", "/v1/a%2Fx"}
	someGlobs    = []string{"t*", "true", "*", "a.*", "a.**", "?"}
	someValues   = []string{"true", "t", "a.b", "a.b.c", "", "x", "%00", "%C3%A9"}
	digest1      = strings.Repeat("1", 64)
	digest2      = strings.Repeat("2", 64)
)

func drawRule(t *rapid.T, name string) policy.RequestRule {
	r := policy.RequestRule{
		Method: rapid.SampledFrom(someMethods).Draw(t, name+" method"),
		Path:   rapid.SampledFrom(somePaths).Draw(t, name+" path"),
	}
	for _, key := range []string{"k", "draft"} {
		if rapid.IntRange(0, 3).Draw(t, name+" has "+key) == 0 {
			r.Query = append(r.Query, policy.QueryRule{Key: key, Any: rapid.SliceOfN(rapid.SampledFrom(someGlobs), 1, 2).Draw(t, name+" "+key)})
		}
	}
	return r
}

func drawEndpoint(t *rapid.T) policy.Endpoint {
	e := policy.Endpoint{
		Host:     rapid.SampledFrom(somePatterns).Draw(t, "host"),
		Ports:    rapid.SliceOfN(rapid.SampledFrom([]uint16{80, 443}), 1, 2).Draw(t, "ports"),
		Protocol: rapid.SampledFrom([]policy.Protocol{policy.REST, policy.REST, policy.REST, policy.L4, policy.TCP}).Draw(t, "protocol"),
	}
	switch rapid.IntRange(0, 9).Draw(t, "addresses") {
	case 0:
		e.AllowedIPs = prefixes(t, "10.0.0.0/8")
	case 1:
		e.AllowedIPs = prefixes(t, "10.1.0.0/16", "192.168.0.0/16")
		e.Host = rapid.SampledFrom([]string{"", e.Host}).Draw(t, "hostless")
	}
	if e.Protocol != policy.REST {
		e.TLS = rapid.SampledFrom([]policy.TLSMode{policy.TLSAuto, policy.TLSSkip}).Draw(t, "tls")
		return e
	}
	e.Path = rapid.SampledFrom([]string{"", "", "**", "/v1/**", "/v1/*", "/v1/secret"}).Draw(t, "selector")
	e.Enforcement = rapid.SampledFrom([]policy.Enforcement{policy.Enforce, policy.Enforce, policy.Audit}).Draw(t, "enforcement")
	e.AllowEncodedSlash = rapid.IntRange(0, 3).Draw(t, "slash") == 0
	if rapid.IntRange(0, 2).Draw(t, "preset") == 0 {
		e.Access = rapid.SampledFrom([]string{"read-only", "read-write", "full"}).Draw(t, "access")
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "allows") {
		e.Allow = append(e.Allow, drawRule(t, fmt.Sprint("allow ", i)))
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "denies") {
		e.Deny = append(e.Deny, drawRule(t, fmt.Sprint("deny ", i)))
	}
	return e
}

func drawDocument(t *rapid.T) *policy.Document {
	doc := &policy.Document{File: "random.yaml", Version: rapid.IntRange(1, 2).Draw(t, "version")}
	for i := range rapid.IntRange(0, 5).Draw(t, "networks") {
		n := policy.Network{Key: fmt.Sprint("net", i)}
		if doc.Version == 2 && rapid.IntRange(0, 3).Draw(t, "any") == 0 {
			n.AnyBinary = true
		}
		for _, b := range rapid.SliceOfN(rapid.SampledFrom(someBinaries), rapid.IntRange(0, 1).Draw(t, "few"), 3).Draw(t, "binaries") {
			one := policy.Binary{Path: b}
			if doc.Version == 2 && rapid.IntRange(0, 3).Draw(t, "digest") == 0 {
				one.SHA256 = rapid.SampledFrom([]string{digest1, digest2}).Draw(t, "sha256")
			}
			n.Binaries = append(n.Binaries, one)
		}
		for range rapid.IntRange(1, 3).Draw(t, "endpoints") {
			n.Endpoints = append(n.Endpoints, drawEndpoint(t))
		}
		doc.Networks = append(doc.Networks, n)
	}
	return doc
}

// drawRequest is a request that looks random to a policy: its parts are near
// those of drawDocument.
func drawRequest(t *rapid.T) analyse.Witness {
	w := analyse.Witness{
		Traffic: rapid.SampledFrom([]analyse.Traffic{analyse.HTTP, analyse.HTTP, analyse.HTTP, analyse.Connection, analyse.Bytes, analyse.Opaque}).Draw(t, "traffic"),
		Host:    rapid.SampledFrom(someHosts).Draw(t, "host"),
		Port:    rapid.SampledFrom([]uint16{80, 443, 443, 8080}).Draw(t, "port"),
		Binary:  rapid.SampledFrom(someCallers).Draw(t, "binary"),
		SHA256:  rapid.SampledFrom([]string{"", digest1, digest2, strings.Repeat("3", 64)}).Draw(t, "sha256"),
	}
	w.Known = w.Binary != ""
	w.Ancestors = rapid.SliceOfN(rapid.SampledFrom(someCallers[:len(someCallers)-1]), 0, 2).Draw(t, "ancestors")
	if w.Traffic != analyse.HTTP {
		return w
	}
	w.Method = rapid.SampledFrom([]string{"GET", "HEAD", "POST", "DELETE", "PURGE", "PATCH", "OPTIONS", "BREW", "get"}).Draw(t, "method")
	w.Path = rapid.SampledFrom(someTargets).Draw(t, "path")
	var pairs []string
	for range rapid.IntRange(0, 3).Draw(t, "pairs") {
		pairs = append(pairs, rapid.SampledFrom([]string{"k", "draft", "z"}).Draw(t, "key")+"="+rapid.SampledFrom(someValues).Draw(t, "value"))
	}
	if len(pairs) > 0 {
		w.Path += "?" + strings.Join(pairs, "&")
	}
	return w
}

func compile(t fataler, doc *policy.Document) *policy.Engine {
	e, err := policy.Compile(doc)
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	return e
}

type fataler interface {
	Fatalf(format string, args ...any)
}

// ask is the grant of the set for what Judge asks the engine about.
func ask(t fataler, s *analyse.Set, e *policy.Engine, w analyse.Witness) analyse.Grant {
	h, err := netname.ParseHost(w.Host)
	if err != nil {
		t.Fatalf("%v", err)
	}
	c := policy.Connection{Host: h, Port: w.Port, Binary: w.Binary, Ancestors: w.Ancestors, KnownCaller: w.Known, SHA256: w.SHA256}
	if w.Traffic != analyse.HTTP {
		return s.Connect(c, w.Traffic)
	}
	d := e.Connect(c)
	tg, err := target.Parse(w.Path, !d.Inspect || d.AllowEncodedSlash)
	if err != nil {
		return analyse.Denied
	}
	return s.Request(policy.Request{Connection: c, Method: w.Method, Target: tg})
}

// The set of a policy is what its engine lets through.
func TestSetIsTheEngine(t *testing.T) {
	granted := map[string]int{}
	property := func(t *rapid.T) {
		doc := drawDocument(t)
		e := compile(t, doc)
		s, err := analyse.Reachable(doc, time.Time{})
		if err != nil {
			t.Fatalf("%v", err)
		}
		for range 30 {
			w := drawRequest(t)
			want, err := analyse.Judge(e, w)
			if err != nil {
				t.Fatalf("%v", err)
			}
			if got := ask(t, s, e, w); got != want {
				t.Fatalf("%s: set says %s, engine %s", w, got, want)
			}
			granted[want.String()]++
		}
	}
	enough(t, granted, 5, []string{"deny", "audit", "allow"}, func() { rapid.Check(t, property) })
}

func prefixes(t fataler, list ...string) []netip.Prefix {
	out, err := netname.ParseAllowed(list)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return out
}
