package parent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestReadAnswer: an answer is understood as a whole, or denies.
func TestReadAnswer(t *testing.T) {
	for text, want := range map[string]string{
		"DIRECT": "direct", " direct ; ": "direct", "PROXY p.test:3128": "http://p.test:3128", "proxy p.test": "http://p.test:80", "HTTP p.test:1": "http://p.test:1", "HTTPS p.test": "https://p.test:443",
		"SOCKS s.test": "socks5://s.test:1080", "SOCKS5 s.test:9;DIRECT": "socks5://s.test:9 direct", "PROXY a.test:1;;PROXY b.test:2\t; DIRECT;": "http://a.test:1 http://b.test:2 direct",
		"PROXY 192.0.2.1:8080": "http://192.0.2.1:8080", "PROXY [2001:db8::1]:8080": "http://[2001:db8::1]:8080",
	} {
		ways, err := readAnswer(text, Config{})
		var got []string
		for _, w := range ways {
			if w.Proxy == nil {
				got = append(got, "direct")
			} else {
				got = append(got, w.Proxy.String())
			}
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %v %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", ";", "  ", "DIRECT x", "PROXY", "PROXY p.test:1 x", "PROXY p.test:0", "PROXY p.test:65536", "PROXY p.test:x", "PROXY :1", "SOCKS4 s.test:1", "SOCKS4A s.test:1", "QUIC p.test:1", "undefined", "DIRECT, PROXY p.test:1",
		"PROXY http://p.test:1", "PROXY u:s3cret@p.test:1", "PROXY p.test:1/x", "PROXY p.test:1?x", "PROXY p.test:1#x", "PROXY p%2etest:1", "PROXY p\x00.test:1", "PROXY pä.test:1", "PROXY 2001:db8::1", "PROXY [::1", "PROXY p.test:1\r\nX: y",
		"DIRECT; PROXY", strings.Repeat("DIRECT;", maxWays+1), "PROXY " + strings.Repeat("a", 300) + ":1", strings.Repeat(" ", maxAnswerText) + "DIRECT",
	} {
		if ways, err := readAnswer(text, Config{}); ways != nil || err == nil {
			t.Errorf("%.60q is read as %v", text, ways)
		}
	}
}

// TestScriptIsAsked: for what, how often, and for what not.
func TestScriptIsAsked(t *testing.T) {
	var asked []string
	var faults []string
	answer, failure := "PROXY p.test:1", error(nil)
	p := mustNew(t, Config{From: "pac:x", Except: "in.test", OnFault: func(url string, err error) { faults = append(faults, url+" "+err.Error()) }, Find: func(_ context.Context, url, host string) (string, error) {
		asked = append(asked, url+" "+host)
		return answer, failure
	}})
	now := time.Unix(1e9, 0)
	p.script.now = func() time.Time { return now }
	find := func(host string, port uint16, want string) {
		t.Helper()
		ways, err := p.For(t.Context(), host, port)
		got := fmt.Sprint(err)
		if err == nil {
			got = "direct"
			if ways[0].Proxy != nil {
				got = ways[0].Proxy.String()
			}
		}
		if got != want {
			t.Errorf("%s:%d: %s, want %s", host, port, got, want)
		}
	}
	for range 2 {
		find("a.test", 443, "http://p.test:1")
		find("a.test", 80, "http://p.test:1")
		find("a.test", 5432, "http://p.test:1")
		find("2001:db8::1", 443, "http://p.test:1")
		find("2001:db8::1", 8080, "http://p.test:1")
		find("www.in.test", 443, "direct") // NO_PROXY
		find("127.0.0.1", 443, "direct")
	}
	if got := strings.Join(asked, ", "); got != "https://a.test/ a.test, http://a.test/ a.test, https://a.test:5432/ a.test, https://[2001:db8::1]/ 2001:db8::1, https://[2001:db8::1]:8080/ 2001:db8::1" {
		t.Errorf("the script was asked %s", got)
	}
	answer, asked = "DIRECT", nil
	find("a.test", 443, "http://p.test:1") // kept
	now = now.Add(keepAnswer + time.Second)
	find("a.test", 443, "direct")
	answer = "SOCKS4 p.test"
	find("b.test", 443, "the proxy configuration script gave an answer that is not understood")
	failure = errors.New("it threw")
	find("c.test", 443, "the proxy configuration script gave no answer")
	answer, failure = "DIRECT", nil
	find("b.test", 443, "the proxy configuration script gave an answer that is not understood") // kept
	now = now.Add(keepError + time.Second)
	find("b.test", 443, "direct")
	if len(asked) != 4 || len(faults) != 2 || !strings.Contains(faults[0], "SOCKS4") || !strings.Contains(faults[1], "https://c.test/ it threw") {
		t.Errorf("asked %q, told %q", asked, faults)
	}
	for i := range 3 * maxKept {
		find(fmt.Sprintf("h%d.test", i), 443, "direct")
	}
	if len(p.script.kept) > maxKept {
		t.Errorf("%d answers are kept", len(p.script.kept))
	}
	// An answer that came too late is nobody's, and is not kept.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if ways, err := p.For(ctx, "late.test", 443); ways != nil || err == nil {
		t.Errorf("%v %v", ways, err)
	}
	failure = errors.New("no")
	find("late.test", 443, "the proxy configuration script gave no answer")
	if got := p.String(); got != "the proxies that pac:x names, but for NO_PROXY" {
		t.Error(got)
	}
	if _, err := New(Config{HTTP: "http://p.test", Find: p.script.conf.Find}); err == nil {
		t.Error("a script and a proxy at once")
	}
	if !mustNew(t, Config{ByName: true, Find: p.script.conf.Find}).ByName() {
		t.Error("names are not given to the proxy")
	}
}

// TestScriptIsAskedOnce: many connections to one host at once are one question, and
// who asked first and gave up takes nothing from the others.
func TestScriptIsAskedOnce(t *testing.T) {
	var asked atomic.Int64
	begun, free := make(chan struct{}), make(chan struct{})
	p := mustNew(t, Config{Find: func(ctx context.Context, _, _ string) (string, error) {
		if asked.Add(1) == 1 {
			close(begun)
		}
		select {
		case <-free:
			return "PROXY p.test:1", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}})
	first, giveUp := context.WithCancel(t.Context())
	var wg, gone sync.WaitGroup
	gone.Go(func() {
		if ways, err := p.For(first, "a.test", 443); ways != nil || err == nil {
			t.Errorf("who gave up: %v %v", ways, err)
		}
	})
	<-begun
	const others = 50
	waiting := make(chan struct{}, others)
	for range others {
		wg.Go(func() {
			waiting <- struct{}{}
			ways, err := p.For(t.Context(), "a.test", 443)
			if err != nil || len(ways) != 1 || ways[0].Proxy == nil || ways[0].Proxy.String() != "http://p.test:1" {
				t.Errorf("%v %v", ways, err)
			}
		})
	}
	for range others {
		<-waiting
	}
	giveUp()
	gone.Wait()
	close(free)
	wg.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("the script was asked %d times", n)
	}
}

// TestNextWay: a way that is not there gives place to the next one; a refusal does not.
func TestNextWay(t *testing.T) {
	w := newWorld(t)
	good := w.serve(w.connectProxy("200 OK", false), nil).Addr().String()
	refusing := w.serve(w.connectProxy("403 No", false), nil).Addr().String()
	mute := w.serve(func(c net.Conn) {}, nil).Addr().String()
	gone := "127.0.0.1:1"
	server := w.server.Addr().String()
	for answer, want := range map[string]string{
		"PROXY " + gone + "; PROXY " + good: "", "PROXY " + mute + "; PROXY " + good: "", "SOCKS " + gone + "; HTTPS " + good + "; PROXY " + good: "", "PROXY " + gone + "; DIRECT": "", "DIRECT": "",
		"PROXY " + refusing + "; PROXY " + good + "; DIRECT": "status 403", "PROXY " + gone: "cannot be reached", "PROXY " + gone + "; PROXY " + mute: "broke the connection off",
	} {
		p := mustNew(t, Config{Find: func(context.Context, string, string) (string, error) { return answer, nil }, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == "s.test:443" {
				addr = server
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}})
		c, err := p.DialContext(t.Context(), "tcp", "s.test:443")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", answer, err, want)
		}
		if c != nil {
			_ = c.Close()
		}
	}
}
