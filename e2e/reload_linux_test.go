package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// twoHosts allows a.test and, if both, b.test; rest and L4.
func twoHosts(protocol string, hosts ...string) string {
	text := policyHead() + "network_policies:\n"
	for _, h := range hosts {
		name := strings.TrimSuffix(h, ".test")
		text += fmt.Sprintf("  %s:\n    endpoints:\n      - {host: %s, ports: [80, 443]%s}\n    binaries: any\n", name, h, protocol)
	}
	if len(hosts) == 0 {
		text = policyHead() + "network_policies: {}\n"
	}
	return text
}

const restFull = ", protocol: rest, access: full"

// streams serves /x/NAME as a stream without end; alive counts what it sent.
type streams struct{ sent, open [2]atomic.Int64 }

func (s *streams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i := 0
	if strings.HasSuffix(r.URL.Path, "/b") {
		i = 1
	}
	s.open[i].Add(1)
	defer s.open[i].Add(-1)
	flow := http.NewResponseController(w)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := w.Write(make([]byte, 1024)); err != nil {
			return
		}
		if flow.Flush() != nil {
			return
		}
		s.sent[i].Add(1)
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// grows waits until more of a stream was sent.
func (s *streams) grows(i int) bool {
	now := s.sent[i].Load()
	return eventually(func() bool { return s.sent[i].Load() > now+5 })
}

// TestLiveRules: saving the policy changes what the running sandbox may do, at
// once: the next request goes through, a connection that is denied now is cut,
// another one lives on, a faulty file changes nothing and says why.
func TestLiveRules(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, c := range []struct{ name, protocol, url string }{
			{"inspected", restFull, "https"}, {"relayed", "", "https"}, {"plain", restFull, "http"},
		} {
			t.Run(c.name, func(t *testing.T) {
				out := &streams{}
				s := newSink(t)
				s.extra = out
				ca := caFile(t)
				l := box{policy: twoHosts(c.protocol), flags: join(s.upstreams("a.test", "b.test"), []string{"--trust-ca", ca})}.start(t)
				save := func(text string) int {
					mark := len(l.events())
					write(t, l.policy, text)
					return mark
				}
				loaded := func(e audit.Event) bool { return e.Kind == audit.PolicyLoad }
				insecure := ""
				if c.protocol == "" && c.url == "https" {
					insecure = "-k " // the sink's own certificate, which nobody inside trusts
				}
				get := func(path string) string {
					return l.sh("curl -sS " + insecure + "-o /tmp/out -w '%{http_code}' " + c.url + path + " || echo; head -c 300 /tmp/out")
				}
				get("://a.test/first")
				if s.got("/first") {
					t.Fatal("the request went out before there was a rule")
				}
				l.event(save(twoHosts(c.protocol, "a.test", "b.test")), "the policy is loaded", loaded)
				if got := get("://a.test/second"); !s.got("/second") {
					t.Fatalf("the rule that was added does not work: %s", got)
				}
				stream := func(host, path string) <-chan answer {
					return l.send(order{Argv: []string{"sh", "-c", "curl -sS -N -o /dev/null " + insecure + c.url + "://" + host + path}})
				}
				a, b := stream("a.test", "/x/a"), stream("b.test", "/x/b")
				if !out.grows(0) || !out.grows(1) {
					t.Fatal("the streams do not flow")
				}
				// A faulty file: nothing changes.
				mark := save("version: 2\nnetwork_policies: [\n")
				e := l.event(mark, "the policy is rejected", func(e audit.Event) bool { return e.Kind == audit.PolicyReject })
				if e.Reason == "" || !eventually(func() bool { return strings.Contains(l.stderr.String(), "hint: creel policy check "+l.policy) }) {
					t.Errorf("the faulty file is not explained: %q\n%s", e.Reason, l.stderr.String())
				}
				if !out.grows(0) || !out.grows(1) {
					t.Error("a faulty file cut a stream")
				}
				save(twoHosts(c.protocol, "a.test", "b.test"))
				if !eventually(func() bool { return strings.Contains(l.stderr.String(), "the saved policy is the one in force again") }) {
					t.Errorf("the corrected file is not told of\n%s", l.stderr.String())
				}
				// Without a.test: its stream ends, the other one goes on.
				mark = save(twoHosts(c.protocol, "b.test"))
				if end := l.receive(a); end.Code == 0 {
					t.Errorf("the cut stream looks complete: %+v", end)
				}
				if !eventually(func() bool { return out.open[0].Load() == 0 }) {
					t.Error("the upstream connection of the denied stream is still open")
				}
				if !out.grows(1) {
					t.Error("the stream that is still allowed does not flow any more")
				}
				l.event(mark, "the cut is recorded", func(e audit.Event) bool {
					return e.Host == "a.test" && e.Verdict == "deny" && strings.Contains(e.Reason, "changed policy")
				})
				get("://a.test/third")
				if s.got("/third") {
					t.Error("the removed rule still lets requests through")
				}
				select {
				case x := <-b:
					t.Errorf("the other stream ended: %+v", x)
				default:
				}
			})
		}
	})
}

// TestReloadCommand: creel reload takes another file, and says what is wrong
// with a faulty one.
func TestReloadCommand(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		name := fmt.Sprintf("e2e-reload-%d", os.Getpid())
		l := box{own: true, name: name, flags: join(s.upstreams("a.test"), []string{"--trust-ca", caFile(t)})}.start(t)
		creelCmd(t, "reload", name).want(t, 2).err(t, "built-in", "hint: creel policy default > ")
		l.sh("curl -sS https://a.test/early")
		creelCmd(t, "audit", "show", name).want(t, 0).out(t, "allow_a_test_443:", "host: a.test").err(t, "hint: ", "creel reload "+name)
		file := filepath.Join(t.TempDir(), "p.yaml")
		write(t, file, "version: 3\nx: 1\n")
		creelCmd(t, "reload", name, "--policy", file).want(t, 2).err(t, "p.yaml:1:")
		write(t, file, twoHosts(restFull, "a.test"))
		creelCmd(t, "reload", name, "--policy", file).want(t, 0)
		if got := l.sh("curl -sS https://a.test/now"); !s.got("/now") {
			t.Errorf("the policy is not in force: %s", got)
		}
		if r := creelCmd(t, "audit", "show", name).want(t, 0); strings.Contains(r.stdout, "allow_a_test_443") || !strings.Contains(r.stdout, "denied") {
			t.Errorf("what is allowed by now is proposed: %s", r.stdout)
		}
		exposed := filepath.Join(l.box.workspace, "p.yaml")
		write(t, exposed, twoHosts(restFull, "a.test", "b.test"))
		creelCmd(t, "reload", name, "--policy", exposed).want(t, 2).err(t, "where the agent can write")
	})
}

// TestAgentCannotChangePolicy: neither now nor for the next start.
func TestAgentCannotChangePolicy(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		flags := join(s.upstreams("a.test", "b.test"), []string{"--trust-ca", caFile(t)})
		ws := filepath.Join(t.TempDir(), "outer", "ws")
		if err := os.MkdirAll(ws, 0o700); err != nil {
			t.Fatal(err)
		}
		own := filepath.Join(ws, "creel.yaml")
		before := twoHosts(restFull, "a.test")
		write(t, own, before)
		l := box{workspace: ws, flags: join(flags, []string{"--policy", own})}.start(t)
		wider := twoHosts(restFull, "a.test", "b.test")
		write(t, filepath.Join(ws, "wider.yaml"), wider)
		for _, attack := range []string{
			"cat wider.yaml > creel.yaml", "cp wider.yaml creel.yaml", "rm -f creel.yaml", "mv -f wider.yaml creel.yaml", "mv creel.yaml away.yaml",
			"ln -f wider.yaml creel.yaml", "ln -sf wider.yaml creel.yaml", "ln creel.yaml hard.yaml && cat wider.yaml > hard.yaml",
			"chmod 666 creel.yaml", "truncate -s 0 creel.yaml", "touch creel.yaml",
			"mv ../ws ../other", "cd .. && mv ws other",
			"mount --bind wider.yaml creel.yaml", "umount creel.yaml", "unshare -Urm umount creel.yaml",
			"sed -i s/a.test/b.test/ creel.yaml", ": > /proc/self/cwd/creel.yaml",
		} {
			if a := l.do("sh", "-c", attack); a.Code == 0 {
				t.Errorf("%s: succeeded", attack)
			}
		}
		// The folders above are the sandbox's own; moving them moves the mounts along.
		if got := l.sh("(cd ../.. && mv outer other); cat wider.yaml > creel.yaml && echo written; mkdir -p " + ws + " && echo mine"); strings.Contains(got, "written") {
			t.Errorf("after a rename of the parent: %s", got)
		}
		if got, _ := os.ReadFile(own); string(got) != before {
			t.Fatalf("the policy was changed: %s", got)
		}
		l.sh("curl -sS https://b.test/one")
		if l.sh("curl -sS https://a.test/two"); s.got("/one") || !s.got("/two") {
			t.Errorf("the policy in force has changed: %v", s.requests())
		}
		// The operator's editor replaces the file: the new one is the agent's to write.
		mark := len(l.events())
		next := filepath.Join(ws, "next.yaml")
		write(t, next, wider)
		if err := os.Rename(next, own); err != nil {
			t.Fatal(err)
		}
		e := l.event(mark, "a replaced file is rejected", func(e audit.Event) bool { return e.Kind == audit.PolicyReject })
		if !strings.Contains(e.Reason, "replaced") {
			t.Errorf("reason %q", e.Reason)
		}
		l.sh("curl -sS https://b.test/three")
		if s.got("/three") {
			t.Error("a replaced policy was taken")
		}
		l.end()
		// And it is not taken at the next start.
		box{workspace: ws}.run(t, "true").want(t, 2).err(t, own, "--policy")
		box{workspace: ws, flags: []string{"--policy", own}}.run(t, "true").want(t, 0)
		box{workspace: ws}.run(t, "true").want(t, 0)

		// A policy where there was none.
		empty := filepath.Join(t.TempDir(), "ws")
		if err := os.Mkdir(empty, 0o700); err != nil {
			t.Fatal(err)
		}
		box{workspace: empty}.run(t, "sh", "-c", "echo version: 2 > creel.yaml").want(t, 0).err(t, "creel.yaml.by-agent")
		if _, err := os.Lstat(filepath.Join(empty, "creel.yaml")); err == nil {
			t.Error("a policy of the agent's lies where the next start looks for one")
		}
		box{workspace: empty}.run(t, "true").want(t, 0)
		// Put back, it is still not taken unless it is named.
		if err := os.Rename(filepath.Join(empty, "creel.yaml.by-agent"), filepath.Join(empty, "creel.yaml")); err != nil {
			t.Fatal(err)
		}
		box{workspace: empty}.run(t, "true").want(t, 2).err(t, "creel.yaml", "could be the agent's own")
	})
}

// TestPolicyEditedInPlace: the operator may save a policy that lies in the
// workspace in place.
func TestPolicyEditedInPlace(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		ws := filepath.Join(t.TempDir(), "ws")
		if err := os.Mkdir(ws, 0o700); err != nil {
			t.Fatal(err)
		}
		own := filepath.Join(ws, "creel.yaml")
		write(t, own, twoHosts(restFull))
		l := box{workspace: ws, flags: join(s.upstreams("a.test"), []string{"--trust-ca", caFile(t), "--policy", own})}.start(t)
		mark := len(l.events())
		write(t, own, twoHosts(restFull, "a.test"))
		l.event(mark, "the policy is loaded", func(e audit.Event) bool { return e.Kind == audit.PolicyLoad })
		if got := l.sh("curl -sS https://a.test/now"); !s.got("/now") {
			t.Errorf("not in force: %s", got)
		}
		l.end()
		box{workspace: ws}.run(t, "true").want(t, 0)
	})
}
