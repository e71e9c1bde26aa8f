package egress

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

const canary = "tok-Canary/0123+456=789"

// boundRig has a credential bound to bound.test, which gives it back.
func boundRig(t *testing.T, h http.HandlerFunc) *rig {
	secrets := &fakeSecrets{value: canary, apply: func(q *http.Request) ([]string, error) {
		if q.URL.Hostname() != "bound.test" {
			return nil, nil
		}
		q.Header.Set("Authorization", "Bearer "+canary)
		return []string{"TKN"}, nil
	}}
	r := newRig(t, basePolicy, func(_ *rig, c *Config) { c.Secrets = secrets })
	r.web("bound.test", 443, h)
	return r
}

// TestReflection: an endpoint that gives back what it got shows no credential.
func TestReflection(t *testing.T) {
	heads := make(chan http.Header, 8)
	r := boundRig(t, func(w http.ResponseWriter, q *http.Request) {
		heads <- q.Header.Clone()
		got := q.Header.Get("Authorization")
		token := strings.TrimPrefix(got, "Bearer ")
		w.Header().Set("X-Echo", got)
		w.Header().Add("X-Twice", "plain")
		w.Header().Add("X-Twice", base64.StdEncoding.EncodeToString([]byte(got)))
		w.Header().Set("Location", "/?t="+strings.NewReplacer("/", "%2f", "+", "%2b", "=", "%3d").Replace(token))
		w.Header().Set("X-"+base64.RawURLEncoding.EncodeToString([]byte(token)), "1")
		w.Header().Set("Trailer", "X-Late")
		body := "a " + token + ` "` + strings.ReplaceAll(token, "/", `\/`) + `" ` + base64.StdEncoding.EncodeToString([]byte("u:"+token)) + "\n"
		if q.URL.Path == "/length" {
			w.Header().Del("Trailer")
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		for _, part := range strings.SplitAfter(body, "") { // each byte in a chunk of its own
			fmt.Fprint(w, part)
			if q.URL.Path != "/length" {
				_ = http.NewResponseController(w).Flush()
			}
		}
		w.Header().Set("X-Late", token)
	})
	for _, w := range bothWays {
		for _, tt := range []struct{ method, path, version string }{
			{"GET", "/chunks", "1.1"}, {"POST", "/length", "1.1"}, {"GET", "/length", "1.0"}, {"GET", "/chunks", "1.0"}, {"HEAD", "/length", "1.1"},
		} {
			t.Run(fmt.Sprint(w, tt), func(t *testing.T) {
				resp, body := r.https(w, "bound.test:443", tt.method+" "+tt.path+" HTTP/"+tt.version+
					"\r\nHost: bound.test\r\nConnection: close\r\nContent-Length: 0\r\nAccept-Encoding: gzip\r\nRange: bytes=0-9\r\nIf-Range: x\r\n\r\n")
				if h := <-heads; h.Get("Authorization") != "Bearer "+canary || h.Get("Accept-Encoding") != "identity" || h.Get("Range")+h.Get("If-Range") != "" {
					t.Errorf("the server got %v", h)
				}
				all := fmt.Sprintln(resp.Status, resp.Header, resp.Trailer, body)
				for _, form := range []string{canary, "Canary", "0123", base64.RawStdEncoding.EncodeToString([]byte(canary))[:8], "VG9rL"} {
					if strings.Contains(strings.ToLower(all), strings.ToLower(form)) {
						t.Errorf("%s came back: %s", form, all)
					}
				}
				if resp.StatusCode != 200 || resp.Header.Get("X-Echo") != "Bearer PLACEHOLDER" || len(resp.Header["X-Twice"]) != 2 || resp.Header.Get("Location") != "/?t=PLACEHOLDER" {
					t.Errorf("%d %v", resp.StatusCode, resp.Header)
				}
				switch {
				case tt.method == "HEAD":
					if resp.ContentLength <= 0 {
						t.Errorf("the length of what a GET would give is lost: %d", resp.ContentLength)
					}
				case strings.Count(body, "PLACEHOLDER") != 3 || !strings.HasPrefix(body, `a PLACEHOLDER "PLACEHOLDER" `) || !strings.HasSuffix(body, "\n"):
					t.Errorf("body %q", body)
				}
			})
		}
	}
}

// TestMaskedStreams: what can be no part of the credential is passed on at once.
func TestMaskedStreams(t *testing.T) {
	next := make(chan struct{})
	r := boundRig(t, func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprint(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-next
		fmt.Fprint(w, canary[:9])
		_ = http.NewResponseController(w).Flush()
		fmt.Fprint(w, canary[9:]+"\n")
	})
	c, _ := r.open(viaRedirect, "bound.test:443")
	tc, err := r.startTLS(c, "bound.test")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(tc, "GET /x HTTP/1.1\r\nHost: bound.test\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(tc), nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 9)
	if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "data: 1\n\n" {
		t.Fatalf("%q %v", buf, err)
	}
	close(next)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "PLACEHOLDER\n" {
		t.Fatalf("%q %v", rest, err)
	}
}

func TestEncodedAnswerOfBoundHost(t *testing.T) {
	r := boundRig(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Encoding", q.URL.Query().Get("as"))
		if q.URL.Path == "/304" {
			w.WriteHeader(304)
			return
		}
		fmt.Fprint(w, "what nobody can read")
	})
	for query, status := range map[string]int{"/?as=gzip": 502, "/?as=br,identity": 502, "/?as=identity": 200, "/304?as=gzip": 304} {
		resp, body := r.https(viaRedirect, "bound.test:443", "GET "+query+" HTTP/1.1\r\nHost: bound.test\r\nConnection: close\r\n\r\n")
		if resp.StatusCode != status {
			t.Errorf("%s: %d %s", query, resp.StatusCode, body)
		}
		if status == 502 {
			wantDenial(t, resp, body, 502, codeCredential)
		}
	}
	r.event("refused", func(ev audit.Event) bool {
		return ev.Verdict == "deny" && strings.Contains(ev.Reason, "encoded its answer")
	})
}

func TestTraceToBoundHost(t *testing.T) {
	r := boundRig(t, func(w http.ResponseWriter, q *http.Request) { t.Errorf("the server got %s", q.Method) })
	for _, w := range bothWays {
		for _, method := range []string{"TRACE", "trace", "Track"} {
			resp, body := r.https(w, "bound.test:443", method+" / HTTP/1.1\r\nHost: bound.test\r\n\r\n")
			if d := wantDenial(t, resp, body, 405, codeCredential); d.Method != strings.ToUpper(method) {
				t.Errorf("denial %+v", d)
			}
		}
	}
	r.event("refused", func(ev audit.Event) bool { return ev.Verdict == "deny" && ev.Method == "TRACE" && ev.Status == 405 })
	if r.dialed() != 0 {
		t.Error("dialled")
	}
}

// TestUnboundAnswerIsUntouched: masking costs other hosts nothing.
func TestUnboundAnswerIsUntouched(t *testing.T) {
	r := boundRig(t, echo)
	got := make(chan http.Header, 1)
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		got <- q.Header.Clone()
		w.Header().Set("Content-Encoding", "gzip")
		fmt.Fprint(w, canary)
	})
	resp, body := r.https(viaRedirect, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\nAccept-Encoding: gzip\r\nRange: bytes=0-99\r\n\r\n")
	if h := <-got; h.Get("Accept-Encoding") != "gzip" || h.Get("Range") == "" {
		t.Errorf("the server got %v", h)
	}
	if resp.StatusCode != 200 || body != canary || resp.ContentLength != int64(len(canary)) || resp.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%d %v %q", resp.StatusCode, resp.Header, body)
	}
}
