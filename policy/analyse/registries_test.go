package analyse_test

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/registry"
	"github.com/creel-run/creel/policy/target"
)

// cuts are selectors and paths of rules that lie across the paths of registries.
var cuts = map[registry.Kind][]string{
	registry.NPM:    {"/@acme/**", "/@acme/x/**", "/left-pad/**", "/left-pad", "/*/-/*", "/**/-/**", "/left-pad/-/left-pad-1*", "/**/*1.0.tgz", "/@acme%2Fx", "/[a-l]*", "/*/-/l*.tgz", "/x/-/x-1.0.tgz"},
	registry.PyPI:   {"/simple/**", "/simple/l*/", "/packages/**", "/**/*.whl", "/**/left_pad-*", "/pypi/*/json", "/**/*-1.0*", "/l*/**"},
	registry.Go:     {"/host.test/**", "/**/@v/**", "/**/*.zip", "/l/**", "/**/v1*", "/*/@latest"},
	registry.Cargo:  {"/crates/**", "/api/v1/crates/lodash/**", "/lo/**", "/*/da/*", "/**/*.crate", "/crates/x/x-*", "/3/**", "/crates/*/lodash-1*"},
	registry.Debian: {"/pool/**", "/**/lodash_*", "/dists/**", "/pool/main/l/**", "/**/*_all.deb", "/**/*_1.0_*"},
}

// asksOf are requests to a registry, each a path.
func asksOf(kind registry.Kind) []string {
	var list []string
	for _, name := range []string{"left-pad", "lodash", "@acme/x", "@acme/y", "x", "ab", "abc", "host.test/l"} {
		base := name[strings.IndexByte(name, '/')+1:]
		for _, v := range []string{"1.0", "2.0.0", "v1.0"} {
			switch kind {
			case registry.NPM:
				encoded := strings.Replace(name, "/", "%2F", 1)
				list = append(list, "/"+name, "/"+encoded, "/"+name+"/"+v, "/"+name+"/-/"+base+"-"+v+".tgz", "/"+encoded+"/-/"+base+"-"+v+".tgz", "/"+name+"/-/z-"+v+".tgz", "/"+base+"%2F"+v)
			case registry.PyPI:
				list = append(list, "/simple/"+base+"/", "/simple/"+base, "/pypi/"+base+"/json", "/pypi/"+base+"/"+v+"/json", "/packages/"+strings.ReplaceAll(base, "-", "_")+"-"+v+".tar.gz", "/l/"+base+"-"+v+"-py3-none-any.whl", "/packages/"+base+"-"+v+".zip.metadata")
			case registry.Go:
				list = append(list, "/"+name+"/@v/"+v+".zip", "/"+name+"/@v/"+v+".info", "/"+name+"/@v/list", "/"+base+"/@latest", "/!x/@v/"+v+".mod")
			case registry.Cargo:
				list = append(list, "/crates/"+base+"/"+v+"/download", "/api/v1/crates/"+base+"/"+base+"-"+v+".crate", "/crates/"+base+"/"+base+"-"+v+".crate", "/crates/x/"+base+"-"+v+".crate", "/lo/da/"+base, "/3/a/"+base, "/2/"+base, "/le/ft/"+base)
			case registry.Debian:
				list = append(list, "/pool/main/l/"+base+"_"+v+"_all.deb", "/x/pool/"+base+"_"+v+"_amd64.deb", "/dists/"+base)
			}
		}
	}
	return append(list, "/", "/config.json", "/simple/", "/other/path/x")
}

// cutUp draws a document in which endpoints of other protocols, and deny rules about paths,
// lie across the paths of a registry.
func (d drawn) cutUp(kind registry.Kind) *policy.Document {
	cut := func(label string) string { return d.pick(label, cuts[kind]) }
	n := policy.Network{Key: "cut", AnyBinary: true}
	packages := d.endpointOf(policy.Package)
	packages.Host, packages.Registry, packages.Path = "m.test", kind, ""
	if d.once(4, "selected packages") {
		packages.Path = "/" + strings.SplitN(cut("selector of packages"), "/", 3)[1] + "/**"
	}
	packages.AllowEncodedSlash = d.once(2, "encoded slash")
	n.Endpoints = append(n.Endpoints, packages)
	for range rapid.IntRange(1, 2).Draw(d.t, "others") {
		e := policy.Endpoint{Host: "m.test", Ports: []uint16{443}, Protocol: policy.REST, Path: cut("selector"), AllowEncodedSlash: packages.AllowEncodedSlash}
		if _, err := target.ParseSelector(e.Path); err != nil || d.once(3, "everywhere") {
			e.Path = ""
		}
		if d.once(5, "audit") {
			e.Enforcement = policy.Audit
		} else {
			e.Enforcement = policy.Enforce
		}
		for range rapid.IntRange(0, 2).Draw(d.t, "allows") {
			e.Allow = append(e.Allow, policy.RequestRule{Method: d.pick("method", []string{"GET", "*", "PUT"}), Path: cut("path")})
		}
		for range rapid.IntRange(0, 2).Draw(d.t, "denies") {
			e.Deny = append(e.Deny, policy.RequestRule{Method: d.pick("method", []string{"GET", "*", "PUT"}), Path: cut("path")})
		}
		n.Endpoints = append(n.Endpoints, e)
	}
	return &policy.Document{File: "random.yaml", Version: 2, Networks: []policy.Network{n}}
}

// endpointOf draws an endpoint of a protocol.
func (d drawn) endpointOf(p policy.Protocol) policy.Endpoint {
	e := policy.Endpoint{Ports: []uint16{443}, Protocol: p, Enforcement: policy.Enforce}
	for range rapid.IntRange(0, 3).Draw(d.t, "allows") {
		e.Allow = append(e.Allow, d.rule(&e, false))
	}
	for range rapid.IntRange(0, 2).Draw(d.t, "denies") {
		e.Deny = append(e.Deny, d.rule(&e, true))
	}
	return e
}

// asking is a request to m.test, read as its governing endpoint reads it.
func asking(t *rapid.T, e *policy.Engine, method, path string, age time.Duration) policy.Request {
	host, err := netname.ParseHost("m.test")
	if err != nil {
		t.Fatal(err)
	}
	r := policy.Request{Connection: policy.Connection{Host: host, Port: 443, Now: now, Uses: new(policy.Uses)}, Method: method}
	if r.Target, err = target.Parse(path, true); err != nil {
		t.Fatal(err)
	}
	if g := e.Governing(r.Connection, r.Target.Path); g != nil && g.Protocol == policy.Package {
		if r.Package, err = registry.Parse(g.Registry, g.RegistryPath, method, r.Target.Path); err == nil && age >= 0 {
			r.Package.Published = now.Add(-age)
		}
	}
	return r
}

// Rules about paths that cut a registry up leave nothing untold: the set is the engine,
// and the difference of two documents is empty if and only if no request tells
// them apart.
func TestRegistryThatIsCutUpIsTold(t *testing.T) {
	counts := map[string]int{}
	// Each draw takes as long as a hundred of other properties: -rapid.checks asks for more.
	left := math.MaxInt
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		left = 30
	}
	property := func(t *rapid.T) {
		if left--; left < 0 {
			return
		}
		d := drawn{t}
		kind := rapid.SampledFrom(registry.Kinds()).Draw(t, "kind")
		docs := []*policy.Document{d.cutUp(kind), nil}
		docs[1] = docs[0]
		asked := asksOf(kind)
		switch {
		case d.once(20, "another registry"):
			other := rapid.SampledFrom(registry.Kinds()).Draw(t, "other kind")
			docs[1] = d.cutUp(other)
			asked = append(asked, asksOf(other)...)
		case d.once(2, "another document"):
			docs[1] = d.cutUp(kind)
		default:
			docs[1] = d.changed(docs[0])
		}
		var engines []*policy.Engine
		var sets []*analyse.Set
		var many *analyse.TooManyError
		var large *automaton.TooLargeError // rules of two registries may be too many to be told
		for _, doc := range docs {
			e, err := policy.Compile(doc)
			if err != nil {
				t.Skip(err)
			}
			s, err := analyse.Reachable(doc, now)
			if errors.As(err, &many) {
				t.Skip(err)
			}
			if err != nil || len(s.Unknown()) > 0 {
				t.Fatalf("%v, %v\n%s", err, s.Unknown(), shown(doc))
			}
			engines, sets = append(engines, e), append(sets, s)
		}
		diff, err := analyse.Diff(docs[0], docs[1], now)
		if errors.As(err, &many) || docs[0].Networks[0].Endpoints[0].Registry != docs[1].Networks[0].Endpoints[0].Registry && errors.As(err, &large) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, shown(docs[0]), shown(docs[1]))
		}
		if len(diff.Unknown) > 0 {
			t.Fatalf("%v\n%s\n%s", diff.Unknown, shown(docs[0]), shown(docs[1]))
		}
		if docs[0].Networks[0].Endpoints[0].Registry != docs[1].Networks[0].Endpoints[0].Registry {
			counts["two registries"]++
		}
		differ := len(diff.Allowed)+len(diff.Denied)+len(diff.Recorded) > 0
		counts[map[bool]string{true: "different", false: "equal"}[differ]]++
		told := false
		for _, path := range asked {
			for _, method := range []string{"GET", "PUT"} {
				for _, age := range []time.Duration{-1, 0, 80 * time.Hour} {
					var grants [2]analyse.Grant
					for i, e := range engines {
						r := asking(t, e, method, path, age)
						grants[i] = grantOf(e, r)
						if got := sets[i].Request(r); got != grants[i] {
							t.Fatalf("%s %s %+v: the set says %s, the engine %s\n%s", method, path, r.Package, got, grants[i], shown(docs[i]))
						}
						counts[grants[i].String()]++
					}
					if told = told || grants[0] != grants[1]; told && !differ {
						t.Fatalf("%s %s: %s, then %s, and the difference is empty\n%s\n%s", method, path, grants[0], grants[1], shown(docs[0]), shown(docs[1]))
					}
				}
			}
		}
		if told {
			counts["told"]++
		}
	}
	rapid.Check(t, property)
	for _, o := range []string{"equal", "different", "told", "allow", "deny"} {
		if counts[o] == 0 {
			t.Errorf("nothing was %s: %v", o, counts)
		}
	}
	t.Log(counts)
}

// What a rule takes out of a registry is named, with the package that it is about.
func TestReachOfRegistryThatIsCutUp(t *testing.T) {
	doc := parse(t, `version: 2
network_policies:
  packages:
    binaries: any
    endpoints:
      - {host: npm.test, port: 443, protocol: package, registry: npm, rules: [{allow: {package: "@acme/*"}}]}
      - {host: npm.test, port: 443, protocol: rest, path: "/@acme/secret/**", access: read-only}
`)
	r, err := analyse.ReachOf(doc, time.Time{})
	if err != nil || len(r.Unknown) != 0 {
		t.Fatalf("%v, %v", err, r)
	}
	got := ""
	for _, a := range r.Network {
		got += fmt.Sprintln(strings.Join(a.Methods, " "), strings.Join(a.Paths, ", "), a.Messages)
	}
	const want = `GET HEAD  [index]
GET HEAD paths of npm for metadata of packages with a scope but not {/@acme/secret,/@acme/secret/**}, paths of npm for metadata of versions of packages with a scope but not {/@acme/secret,/@acme/secret/**} [metadata of @acme/*]
GET HEAD paths of npm for downloads of packages with a scope but not {/@acme/secret,/@acme/secret/**} [download of @acme/*]
GET HEAD OPTIONS /@acme/secret/** []
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// What is one registry for one policy and another for the other is told for both.
func TestDiffOfTwoRegistries(t *testing.T) {
	of := func(registry, rules string) *policy.Document {
		return parse(t, "version: 2\nnetwork_policies: {a: {binaries: any, endpoints: [{host: a.test, port: 443, protocol: package, registry: "+registry+", rules: ["+rules+"]}]}}\n")
	}
	const leftPad = "{allow: {package: left-pad}}"
	for _, c := range []struct {
		name   string
		a, b   *policy.Document
		denied bool     // whether something is newly denied, too
		want   []string // witnesses of what is newly allowed
	}{
		{"another kind", of("npm", leftPad), of("pypi", leftPad), true, []string{
			"GET /simple [npm metadata (pypi index) of every package but not left-pad pypi download of left-pad that is npm metadata of every package but not left-pad pypi download of left-pad pypi index "}},
		{"a registry below", of("npm", leftPad), of("npm, registry_path: /@acme", leftPad), true, []string{
			"GET /@acme/", "npm download below /@acme of left-pad"}},
		{"apart", of("npm, registry_path: /y", leftPad), of("npm, registry_path: /x", leftPad), true, []string{"GET /x/ [npm index below /x npm metadata below /x of left-pad npm download below /x of left-pad] []"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := analyse.Diff(c.a, c.b, now)
			if err != nil || len(d.Unknown) != 0 {
				t.Fatalf("%v %+v", err, d.Unknown)
			}
			var have []string
			for _, k := range d.Allowed {
				have = append(have, fmt.Sprint(k.Witness, k.Messages, k.Paths))
			}
			for _, w := range c.want {
				if !strings.Contains(strings.Join(have, "\n"), w) {
					t.Errorf("%s is not among\n%s", w, strings.Join(have, "\n"))
				}
			}
			if (len(d.Denied) > 0) != c.denied {
				t.Errorf("%+v", d.Denied)
			}
		})
	}
}
