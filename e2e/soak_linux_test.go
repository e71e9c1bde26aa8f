package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// soakTime is the variable with how long TestSoak runs; `make soak` sets 30m.
const soakTime = "CREEL_SOAK"

// soakSeen is what the agent of a soak says at its end.
type soakSeen struct {
	Allowed, Denied, Flips, FlipsDenied, Posted, Fresh, Refused, Relayed, Broken int64
	Streams                                                                      int64 // bytes that came over the one stream
	Wrong                                                                        []string
}

func init() {
	probes["soak"] = func(args []string) error {
		limit, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(soak(limit))
	}
}

// soak asks for all that it can: what is always allowed, what never is, and what
// the policy allows now and then.
func soak(limit time.Duration) *soakSeen {
	var (
		seen  soakSeen
		mu    sync.Mutex
		wg    sync.WaitGroup
		end   = time.Now().Add(limit)
		pool  = x509.NewCertPool()
		until = func() bool { return time.Now().Before(end) }
	)
	if text, err := os.ReadFile(os.Getenv("SSL_CERT_FILE")); err == nil {
		pool.AppendCertsFromPEM(text)
	}
	wrong := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if len(seen.Wrong) < 20 {
			seen.Wrong = append(seen.Wrong, fmt.Sprintf(format, args...))
		}
	}
	worker := func(fresh bool, f func(do func(method, url string, body io.Reader) int)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: fresh}}
			for until() {
				f(func(method, url string, body io.Reader) int {
					req, err := http.NewRequest(method, url, body)
					if err != nil {
						return 0
					}
					resp, err := c.Do(req)
					if err != nil {
						atomic.AddInt64(&seen.Broken, 1)
						return 0
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					return resp.StatusCode
				})
			}
		}()
	}
	type do = func(method, url string, body io.Reader) int
	always := func(count *int64, method, url string, body func() io.Reader) func(do) {
		return func(do do) {
			switch status := do(method, url, body()); status {
			case 200:
				atomic.AddInt64(count, 1)
			case 0: // broken off: a connection on which another request was denied
			default:
				wrong("%s %s is %d", method, url, status)
			}
		}
	}
	never := func(count *int64, url string) func(do) {
		return func(do do) {
			switch status := do("GET", url, nil); status {
			case 403:
				atomic.AddInt64(count, 1)
			case 0:
			default:
				wrong("GET %s is %d", url, status)
			}
		}
	}
	empty := func() io.Reader { return nil }
	for range 4 {
		worker(false, always(&seen.Allowed, "GET", "https://a.test/always/x?y=z", empty))
	}
	worker(false, always(&seen.Posted, "POST", "https://a.test/always/post", func() io.Reader { return bytes.NewReader(make([]byte, 100<<10)) }))
	worker(true, always(&seen.Fresh, "GET", "https://a.test/always/fresh", empty))
	worker(false, never(&seen.Denied, "https://a.test/never"))
	worker(false, never(&seen.Refused, "http://no.test/"))
	worker(false, func(do do) {
		switch status := do("GET", "https://a.test/flip", nil); status {
		case 200:
			atomic.AddInt64(&seen.Flips, 1)
		case 403:
			atomic.AddInt64(&seen.FlipsDenied, 1)
		case 0:
		default:
			wrong("GET /flip is %d", status)
		}
	})
	// A connection of its own that no revision denies, for the whole time.
	wg.Add(2)
	go func() {
		defer wg.Done()
		ctx, cancel := context.WithDeadline(context.Background(), end)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/x/a", nil)
		resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}).Do(req)
		if err != nil {
			wrong("the stream: %v", err)
			return
		}
		defer resp.Body.Close()
		seen.Streams, err = io.Copy(io.Discard, resp.Body)
		if until() && !errors.Is(err, context.DeadlineExceeded) {
			wrong("the stream was cut: %v", err)
		}
	}()
	go func() {
		defer wg.Done()
		for until() {
			c, err := net.DialTimeout("tcp", "r.test:5000", patience)
			if err != nil {
				wrong("the relay: %v", err)
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			in := bufio.NewReader(c)
			for i := 0; i < 1000 && until(); i++ {
				line := strconv.Itoa(i) + "\n"
				_, _ = io.WriteString(c, line)
				if got, err := in.ReadString('\n'); got != line {
					wrong("the relay gives %q for %q: %v", got, line, err)
					break
				}
				atomic.AddInt64(&seen.Relayed, 1)
			}
			_ = c.Close()
		}
	}()
	wg.Wait()
	return &seen
}

func soakPolicy(flip bool) string {
	more := ""
	if flip {
		more = "\n          - allow: {method: GET, path: /flip}"
	}
	return policyHead() + `network_policies:
  a:
    endpoints:
      - host: a.test
        port: 443
        protocol: rest
        rules:
          - allow: {method: GET, path: "/always/**"}
          - allow: {method: POST, path: "/always/**"}
          - allow: {method: GET, path: "/x/**"}` + more + `
    binaries: any
  r:
    endpoints: [{host: r.test, port: 5000, protocol: tcp}]
    binaries: any
`
}

// lean is a sink that keeps nothing.
type lean struct {
	out            *streams
	flips, foreign atomic.Int64
}

func (l *lean) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	switch {
	case r.URL.Path == "/x/a":
		l.out.ServeHTTP(w, r)
	case r.URL.Path == "/flip":
		l.flips.Add(1)
	case !strings.HasPrefix(r.URL.Path, "/always/"):
		l.foreign.Add(1)
	}
}

// TestSoak: full load while the policy changes every second. Nothing that is
// denied goes out, what is allowed lives on, every verdict is the one of a
// revision that was in force, and nothing grows.
func TestSoak(t *testing.T) {
	limit := 6 * time.Second
	if text := os.Getenv(soakTime); text != "" {
		var err error
		if limit, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	outside := &lean{out: &streams{}}
	s := newSink(t)
	s.server.Handler, s.lean = outside, true // before anybody asks
	l := box{policy: soakPolicy(false), flags: join(s.upstreams("a.test", "r.test"), []string{"--trust-ca", caFile(t), "--quiet"})}.start(t)
	pid := l.cmd.Process.Pid
	before := measure(t, pid)
	answer := l.send(order{Argv: []string{probePath(), "probe", "soak", limit.String()}})
	end := time.Now().Add(limit)
	var samples []usage
	reloads := 0
	for flip := true; time.Now().Before(end); flip = !flip {
		write(t, l.policy, soakPolicy(flip))
		reloads++
		time.Sleep(time.Second)
		samples = append(samples, measure(t, pid))
		if limit > time.Minute && reloads%60 == 0 {
			t.Logf("%d reloads: %v", reloads, samples[len(samples)-1])
		}
	}
	var seen soakSeen
	select {
	case a := <-answer:
		if err := json.Unmarshal(a.Stdout, &seen); err != nil {
			t.Fatalf("%v: %s %s", err, a.Stdout, a.Stderr)
		}
	case <-time.After(2 * patience):
		t.Fatal("the load inside does not end")
	}
	for _, w := range seen.Wrong {
		t.Error(w)
	}
	if outside.foreign.Load() > 0 {
		t.Errorf("%d requests arrived that no revision allows", outside.foreign.Load())
	}
	for what, n := range map[string]int64{"allowed": seen.Allowed, "denied": seen.Denied, "posted": seen.Posted, "fresh": seen.Fresh,
		"refused": seen.Refused, "relayed": seen.Relayed, "allowed now and then": seen.Flips, "denied now and then": seen.FlipsDenied, "streamed": seen.Streams} {
		if n == 0 {
			t.Errorf("no request was %s", what)
		}
	}
	// Descriptors and threads come back to what they were; memory is flat from the
	// second third on.
	var after usage
	if !eventually(func() bool { after = measure(t, pid); return after.files <= before.files+40 }) { // pipes of splice are kept for a while
		t.Errorf("descriptors: %d before, %d after", before.files, after.files)
	}
	third := len(samples) / 3
	middle, last := peak(samples[third:2*third]), peak(samples[2*third:])
	if last.memory > middle.memory+middle.memory/4+(8<<20) {
		t.Errorf("memory grows: at most %d kB in the second third, %d kB in the last", middle.memory>>10, last.memory>>10)
	}
	if last.files > middle.files+32 || last.threads > middle.threads+16 {
		t.Errorf("descriptors or threads grow: %v in the second third, %v in the last", middle, last)
	}
	l.end()
	verdicts, doubtful := replaySoak(t, l.audit)
	if int64(verdicts["/flip allow"]) < outside.flips.Load() {
		t.Errorf("%d requests arrived, and %d were allowed", outside.flips.Load(), verdicts["/flip allow"])
	}
	t.Logf("%v, %d reloads: %+v", limit, reloads, seen)
	t.Logf("before %v, middle %v, last %v, after %v; verdicts %v, %d of them at the moment of a change", before, middle, last, after, verdicts, doubtful)
}

type usage struct {
	memory  int64 // bytes that are resident
	files   int
	threads int
}

func (u usage) String() string {
	return fmt.Sprintf("%d kB, %d descriptors, %d threads", u.memory>>10, u.files, u.threads)
}

func peak(list []usage) (most usage) {
	for _, u := range list {
		most = usage{max(most.memory, u.memory), max(most.files, u.files), max(most.threads, u.threads)}
	}
	return most
}

func measure(t *testing.T, pid int) (u usage) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			u.memory = n << 10
		case "Threads:":
			u.threads = int(n)
		}
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	u.files = len(files)
	return u
}

// replaySoak judges every verdict of the log again. A revision is recorded
// before it is put into force: shortly after that, both verdicts are right.
func replaySoak(t *testing.T, path string) (verdicts map[string]int, doubtful int) {
	t.Helper()
	const moment = 400 * time.Millisecond
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	verdicts = map[string]int{}
	in := bufio.NewReaderSize(f, 1<<20)
	revisions, wrong := 0, 0
	var changed time.Time
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		var e audit.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		switch e.Kind {
		case audit.PolicyLoad:
			revisions++
			changed = e.Time
		case audit.Request:
			verdicts[e.Path+" "+e.Verdict]++
			want := "deny"
			switch {
			case strings.HasPrefix(e.Path, "/always/"), e.Path == "/x/a":
				want = "allow"
			case e.Path == "/flip" && e.Time.Sub(changed) < moment && revisions > 1:
				doubtful++
				continue
			case e.Path == "/flip" && revisions%2 == 0:
				want = "allow" // the first revision is without it
			}
			if e.Verdict != want {
				if wrong++; wrong < 10 {
					t.Errorf("revision %d, %v after it came: %s", revisions, e.Time.Sub(changed), line)
				}
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d wrong verdicts", wrong)
	}
	return verdicts, doubtful
}
