package learn_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/learn"
)

// For random calls: what the learned policy allows was asked for, to the same
// host and port by the same program with the same method. Of paths it allows
// those that differ from one that was asked for in segments that are ids alone.
func TestNothingElseIsAllowed(t *testing.T) {
	hosts, ports := []string{"a.test", "b.a.test", "c.test"}, []uint16{443, 80, 5432}
	programs := []string{"/usr/bin/curl", "/usr/bin/git", ""}
	methods := []string{"", "GET", "HEAD", "POST"}
	paths := []string{"/", "/a", "/a/1", "/a/2", "/a/1/b", "/a/22/b", "/a/x", "/a/*", "/1/2"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		pick := func(n int) int { return random.IntN(n) }
		call := func(h, p, b, m, path int) learn.Call {
			c := learn.Call{Host: host(t, hosts[h]), Port: ports[p], Binary: programs[b], Known: programs[b] != "", Method: methods[m], Count: 1}
			if c.Method != "" {
				c.Path = paths[path]
			}
			return c
		}
		var calls []learn.Call
		for range 1 + pick(8) {
			calls = append(calls, call(pick(3), pick(3), pick(3), pick(4), pick(len(paths))))
		}
		res, err := learn.Learn(learn.Base{}, calls, nil)
		if err != nil {
			t.Fatal(err)
		}
		doc, _, err := policy.Parse("p", []byte(res.Policy))
		if err != nil {
			t.Fatal(err)
		}
		e, err := policy.Compile(doc)
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Left) > 0 {
			t.Errorf("left: %+v", res.Left)
		}
		for i := range 3 * 3 * 3 * 4 * len(paths) {
			c := call(i%3, i/3%3, i/9%3, i/27%4, i/108)
			r := policy.Request{Connection: policy.Connection{Host: c.Host, Port: c.Port, Binary: c.Binary, KnownCaller: c.Known}, Method: c.Method}
			r.Target.Path = c.Path
			allowed := e.Connect(r.Connection).Verdict == policy.Allow
			if allowed && c.Method != "" {
				allowed = e.Request(r).Verdict == policy.Allow
			}
			if allowed && !asked(calls, c) {
				t.Fatalf("%+v is allowed by\n%s", c, res.Policy)
			}
		}
	}
}

// asked reports whether a call follows from what was asked for.
func asked(calls []learn.Call, c learn.Call) bool {
	for _, a := range calls {
		if a.Host != c.Host || a.Port != c.Port || a.Known && a.Binary != c.Binary {
			continue
		}
		reads := c.Method == "GET" || c.Method == "HEAD"
		switch {
		case c.Method == "": // the connection of a request that was asked for
			return true
		case a.Method == "": // no request was read: reading on the web's ports, everything on others
			if reads || c.Port == 5432 {
				return true
			}
		case (a.Method == c.Method || a.Method == "GET" && reads) && like(a.Path, c.Path):
			return true
		}
	}
	return false
}

// like: the same but for segments of digits alone, or what stands where they stood.
func like(a, b string) bool {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if x[i] != y[i] && strings.Trim(x[i], "0123456789") != "" {
			return false
		}
	}
	return true
}
