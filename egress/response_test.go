package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"

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
	if in.Method == http.MethodConnect {
		return vectors.Pending, "there is no CONNECT to a parent proxy yet"
	}
	raw := latin1(in.Raw)
	list, err := readResponses(bytes.NewReader(raw), in.Method, in.Asked)
	text := fmt.Sprintf("%+v, error %v", list, err)
	refused := err != nil
	if want.Verdict == "accept" && refused {
		return vectors.Stricter, text
	}
	if want.Verdict != "accept" {
		// Nothing of it may look complete.
		return vectors.Bool(refused, true), text
	}
	if len(list) != len(want.Messages) {
		return vectors.Wrong, text
	}
	for i, m := range list {
		w := want.Messages[i]
		if m.body == "close" && w.Body == "none" { // read until the end, and not used again
			return vectors.Bool(!m.reuse, true), text
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
