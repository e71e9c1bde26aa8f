package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"

	"github.com/creel-run/creel/egress/parent"
	"github.com/creel-run/creel/internal/vectors"
)

// received is what was read of a response.
type received struct {
	status  int
	interim bool
	body    string // none, length, chunked, close, upgraded
	size    int
	left    int  // bytes behind it that were read
	reuse   bool // the connection goes back to the pool
}

// readResponses reads the responses to one request, as the pool does.
func readResponses(r io.Reader, method string, upgrade bool) (list []received, err error) {
	u := newUpstreams(&Server{})
	nc := &pieceConn{r: r}
	c := &upstreamConn{Conn: nc, below: nc, u: u, in: newStream(nc, nil, nil)}
	u.open[c] = struct{}{}
	for {
		h, err := readResponse(c.in)
		if err != nil {
			return list, err
		}
		if h.status == http.StatusSwitchingProtocols && !upgrade {
			return list, errors.New("unsolicited upgrade")
		}
		if h.interim() && len(list) == maxInterim {
			return list, errors.New("too many interim responses")
		}
		if h.interim() {
			list = append(list, received{status: h.status, interim: true, body: "none"})
			continue
		}
		req := &http.Request{Method: method, URL: &url.URL{}, Header: http.Header{}}
		resp := c.response(&outgoing{x: &exchange{c: new(conn)}, req: req.WithContext(context.Background())}, h, nil, func() bool { return true })
		how, _, _ := h.body(method)
		one := received{status: h.status, body: map[framing]string{noBody: "none", byLength: "length", byChunks: "chunked", byClose: "close"}[how]}
		if how == noBody && h.length == 0 && method != http.MethodHead && h.status != http.StatusNotModified && h.status != http.StatusNoContent {
			one.body = "length"
		}
		if h.status == http.StatusSwitchingProtocols {
			one.body = "upgraded"
			_ = c.in.fill()
			one.size = len(c.in.ahead())
			return append(list, one), nil
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return list, err
		}
		one.size, one.left, one.reuse = len(b), len(c.in.ahead()), u.idling > 0
		return append(list, one), nil
	}
}

// connectVector has a proxy of the operator's give a raw answer to a CONNECT: what
// stands behind its head belongs to the tunnel, whatever the head says of a body.
func connectVector(t *testing.T, raw []byte, accept bool) (vectors.Outcome, string) {
	near, far := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer far.Close()
		if _, _, f := readHead(far); f == nil {
			_, _ = far.Write(append(bytes.Clone(raw), "tunnel"...))
		}
	}()
	defer func() { _ = near.Close(); <-ended }()
	proxies, err := parent.New(parent.Config{HTTPS: "http://proxy.test:3128", Dial: func(context.Context, string, string) (net.Conn, error) { return near, nil }})
	if err != nil {
		t.Fatal(err)
	}
	ways, err := proxies.For(t.Context(), "api.test", 443)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ways[0].Proxy.Dial(t.Context(), "api.test:443")
	if err != nil {
		return vectors.Bool(!accept, true), err.Error()
	}
	behind, err := io.ReadAll(c)
	if err != nil || string(behind) != "tunnel" {
		return vectors.Wrong, fmt.Sprintf("the tunnel gives %q, %v", behind, err)
	}
	return vectors.Bool(accept, true), "a tunnel"
}

func responseVector(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
	var in struct {
		Raw    string
		Method string `json:"request_method"`
		Asked  bool   `json:"client_asked_upgrade"`
		EOF    bool   `json:"eof"`
	}
	var want struct {
		Verdict  string
		Leftover int
		Messages []struct {
			Status    int
			Interim   bool
			Body      string
			BodyBytes int `json:"body_bytes"`
		}
	}
	vectors.Decode(t, e.In, &in)
	vectors.Decode(t, e.Want, &want)
	raw := latin1(in.Raw)
	if in.Method == http.MethodConnect {
		return connectVector(t, raw, want.Verdict == "accept")
	}
	list, err := readResponses(bytes.NewReader(raw), in.Method, in.Asked)
	text := fmt.Sprintf("%+v, error %v", list, err)
	refused := err != nil
	if want.Verdict == "accept" && refused {
		return vectors.Stricter, text
	}
	if want.Verdict != "accept" && !refused {
		return vectors.Wrong, text // something of it looks complete
	}
	if refused {
		return vectors.Same, text
	}
	if len(list) != len(want.Messages) {
		return vectors.Wrong, text
	}
	for i, m := range list {
		w := want.Messages[i]
		if m.body == "close" && w.Body == "none" { // read until the end, and not used again
			if m.reuse {
				return vectors.Wrong, text
			}
			return vectors.Same, text
		}
		if m.status != w.Status || m.interim != w.Interim || m.body != w.Body || m.size != w.BodyBytes {
			return vectors.Wrong, text
		}
		if want.Leftover > 0 && m.reuse {
			return vectors.Wrong, "bytes are left, and the connection is used again: " + text
		}
	}
	return vectors.Same, text
}
