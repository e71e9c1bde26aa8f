package egress

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestHTTP2DeniedConnection: no GOAWAY stands before the answers of a connection
// that is denied (Java's client and httpx drop the answer then), all that it asks
// for is answered, and it ends by itself.
func TestHTTP2DeniedConnection(t *testing.T) {
	r := newRig(t, basePolicy)
	f := r.framed("no.test:443")
	to := []string{":method: GET", ":scheme: https", ":authority: no.test", ":path: /a"}
	f.open(1, true, to...)
	f.open(3, true, to...)
	ended := 0
	for ended < 2 {
		_ = f.c.SetReadDeadline(time.Now().Add(patience))
		fr, err := f.fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch fr := fr.(type) {
		case *http2.GoAwayFrame:
			t.Fatalf("GOAWAY after %d answers", ended)
		case *http2.MetaHeadersFrame:
			if s := fr.PseudoValue("status"); s != "403" {
				t.Errorf("status %s", s)
			}
		case *http2.DataFrame:
			if fr.StreamEnded() {
				ended++
			}
		}
	}
	f.open(5, true, to...)
	if o := f.result(5); o.end != "403" || !strings.Contains(o.body, codePolicy) {
		t.Errorf("%+v", o)
	}
	if o := f.result(7); o.end != "closed" {
		t.Errorf("%+v", o)
	}
	if r.dialed() != 0 {
		t.Error("an upstream was dialled")
	}
}

// TestOfferOfHTTP2: without TLS an offer to go on in HTTP/2 is overheard, as a
// server may, and no part of it goes on; what is asked for is judged as ever.
func TestOfferOfHTTP2(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("ok.test", 80, func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprint(w, q.Proto, " ", q.Header["Upgrade"], q.Header["Connection"], q.Header["Http2-Settings"])
	})
	for _, w := range bothWays {
		for name, one := range map[string]struct {
			path, offer string
			status      int
			body        string
		}{
			"as Java makes it":      {"/public/a", "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n", 200, "HTTP/1.1 [] [] []"},
			"settings not named":    {"/public/a", "Connection: Upgrade\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: H2C\r\n", 200, "HTTP/1.1 [] [] []"},
			"what is denied":        {"/secret", "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n", 403, codePolicy},
			"beside another":        {"/public/a", "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n", 403, codeUpgrade},
			"twice":                 {"/public/a", "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: h2c\r\n", 403, codeUpgrade},
			"framing by connection": {"/public/a", "Connection: Upgrade, Content-Length\r\nUpgrade: h2c\r\n", 400, codeRequest},
		} {
			t.Run(fmt.Sprint(name, " ", w), func(t *testing.T) {
				c, _ := r.open(w, "ok.test:80")
				resp, body := talk(t, c, "GET", "GET "+one.path+" HTTP/1.1\r\nHost: ok.test\r\n"+one.offer+"\r\n")
				if resp.StatusCode != one.status || !strings.Contains(body, one.body) {
					t.Errorf("%d %s, want %d %s", resp.StatusCode, body, one.status, one.body)
				}
			})
		}
	}
	// Who goes on in HTTP/2 nevertheless is not understood.
	c, _ := r.open(viaRedirect, "ok.test:80")
	if _, err := io.WriteString(c, "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n\r\n"+http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	for _, want := range []int{200, 505} {
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != want || resp.Header.Get("Upgrade") != "" {
			t.Fatalf("%v %v, want %d", resp, err, want)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
}
