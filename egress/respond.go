package egress

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/secret"
)

// bound reports whether a credential is bound to the host of the request.
func (x *exchange) bound() bool {
	return x.c.s.conf.Secrets != nil && x.c.s.conf.Secrets.Bound(x.c.facts.Host)
}

// givesBack: methods whose answer is the request (RFC 9110 §9.3.8; TRACK is the
// same under an old name).
func givesBack(method string) bool { return method == http.MethodTrace || method == "TRACK" }

// wantWhole asks for an answer in which a credential can be found: not
// compressed, and not in parts, which would cut it where the agent likes.
func wantWhole(h http.Header) {
	h.Set("Accept-Encoding", "identity")
	h.Del("Range")
	h.Del("If-Range")
	h.Del("Grpc-Accept-Encoding") // of messages, in gRPC and the Connect protocol
	h.Del("Connect-Accept-Encoding")
}

// hasContent reports whether a response has a body (RFC 9112 §6.3).
func hasContent(method string, resp *http.Response) bool {
	return method != http.MethodHead && resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusNotModified
}

func isEncoded(h http.Header) bool {
	for _, name := range []string{"Content-Encoding", "Grpc-Encoding", "Connect-Content-Encoding"} {
		if slices.ContainsFunc(h[name], func(v string) bool {
			v = strings.TrimSpace(v)
			return v != "" && !strings.EqualFold(v, "identity")
		}) {
			return true
		}
	}
	return false
}

// hop reports whether a field of an answer is for one connection.
func hop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"Alt-Svc": // other ways to the host are refused anyhow
		return true
	}
	return false
}

// respond passes the response on as it comes, with its trailers if the agent takes them.
func (x *exchange) respond(resp *http.Response, mask *secret.Mask) error {
	h := x.w.Header()
	drop := map[string]bool{}
	for _, v := range resp.Header["Connection"] {
		for _, name := range strings.Split(v, ",") {
			drop[http.CanonicalHeaderKey(strings.TrimSpace(name))] = true
		}
	}
	for name, values := range resp.Header {
		if hop(name) || drop[name] && name != "Content-Length" || mask.Holds(name) { // no placeholder can stand in a name
			continue
		}
		if mask != nil {
			values = slices.Clone(values)
			for i, v := range values {
				values[i] = mask.String(v)
			}
		}
		h[name] = values
	}
	body := mask.Reader(resp.Body)
	buf := pieces.Get().(*[]byte)
	defer pieces.Put(buf)
	have, whole := 0, false
	if resp.ContentLength > 0 && resp.ContentLength < int64(len(*buf)) && hasContent(x.request.Method, resp) {
		// A short one goes out as one piece: the server has said that it ends.
		var err error
		if have, whole, err = readShort(body, *buf); err != nil {
			x.c.end("the server broke the answer off")
			return err
		}
	}
	switch {
	case mask == nil || !hasContent(x.request.Method, resp):
	case whole:
		h["Content-Length"] = []string{strconv.Itoa(have)}
	default:
		delete(h, "Content-Length") // a placeholder has another length; chunks tell the end
	}
	for _, name := range []string{"Date", "Content-Type"} {
		if _, set := h[name]; !set {
			h[name] = nil // net/http adds none of its own
		}
	}
	x.w.WriteHeader(resp.StatusCode)
	if have > 0 {
		if _, err := x.w.Write((*buf)[:have]); err != nil {
			return err
		}
	}
	if whole {
		x.trailers(resp.Trailer, drop, mask)
		return nil
	}
	flush := http.NewResponseController(x.w)
	if x.streamed() && resp.ContentLength < 0 || strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		// gRPC waits for the head before it sends more, and the first event may be long in coming.
		if err := flush.Flush(); err != nil {
			return err
		}
	}
	for first := true; ; first = false {
		n, err := body.Read(*buf)
		if n > 0 {
			if _, werr := x.w.Write((*buf)[:n]); werr != nil {
				return werr
			}
		}
		if n > 0 && err == nil || first && err == nil {
			if ferr := flush.Flush(); ferr != nil {
				return ferr
			}
		}
		if errors.Is(err, io.EOF) {
			x.trailers(resp.Trailer, drop, mask)
			return nil
		}
		if err != nil {
			x.c.end("the server broke the answer off")
			return x.broken(err)
		}
	}
}

// readShort reads a body that fits into buf, or as much of it as does.
func readShort(body io.Reader, buf []byte) (n int, whole bool, err error) {
	for n < len(buf) {
		k, err := body.Read(buf[n:])
		n += k
		if errors.Is(err, io.EOF) {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// pieces are the buffers that responses pass through.
var pieces = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// interim passes early hints on, the one interim response with something to say.
func (x *exchange) interim(h *responseHead) {
	if h.status != http.StatusEarlyHints || x.asking || x.bound() || x.looks(middleware.Response) { // which may have a credential in them
		return
	}
	to := x.w.Header()
	to["Link"] = h.header["Link"]
	x.w.WriteHeader(h.status)
	delete(to, "Link")
}
