package egress

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/secret"
)

// lookAnswer shows the answer of a server to the middlewares that take answers,
// without the credentials that mask hides. A changed body takes the place of the
// old one.
func (x *exchange) lookAnswer(resp *http.Response, mask *secret.Mask) *denial {
	sel := x.c.s.chain().For(x.c.facts.Host)
	most := sel.MaxBody(middleware.Response)
	if most == 0 {
		return nil
	}
	m := x.shown(middleware.Response)
	m.Status = resp.StatusCode
	if hasContent(x.request.Method, resp) {
		var err error
		if m.Body, m.Unseen, err = x.peekAnswer(resp, mask, most); err != nil {
			return &denial{status: http.StatusBadGateway, code: codeMiddlewareFailed, layer: layerMiddleware,
				reason: "the server's answer has to be looked at as a whole: " + err.Error(), method: x.request.Method, path: x.request.Target.Path}
		}
	}
	m.Header = http.Header{}
	for _, fields := range []http.Header{resp.Header, resp.Trailer} { // trailers are there after the body
		for name, values := range fields {
			if mask.Holds(name) {
				continue
			}
			for _, v := range values {
				m.Header[name] = append(m.Header[name], mask.String(v))
			}
		}
	}
	r := sel.Check(x.r.Context(), m, func(body []byte) error {
		if !hasContent(x.request.Method, resp) && len(body) > 0 {
			return errors.New("the answer has no body")
		}
		return nil
	})
	if d := x.settle(x.request.Method, r); d != nil {
		if !r.Failed {
			d.reason = "in the server's answer " + d.reason
		}
		return d
	}
	if r.Action == middleware.Change && hasContent(x.request.Method, resp) {
		for _, name := range ofBody {
			resp.Header.Del(name)
		}
		x.giveAnswer(resp, r.Body)
	}
	return nil
}

// giveAnswer puts a whole body into an answer.
func (x *exchange) giveAnswer(resp *http.Response, body []byte) {
	_ = resp.Body.Close()
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
}

// peekAnswer reads the body of an answer, and leaves it to be passed on. unseen
// says why it was not read as a whole.
func (x *exchange) peekAnswer(resp *http.Response, mask *secret.Mask, most int) (body []byte, unseen string, err error) {
	if strings.HasPrefix(strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Type"))), "text/event-stream") {
		return nil, "a stream of events has no end to wait for", nil
	}
	if resp.ContentLength > int64(most) {
		return nil, tooLong(most).Error(), nil
	}
	if x.giveUp == nil { // the chain is a new one
		return nil, "the request was sent before a middleware was to see its answer", nil
	}
	from := resp.Body
	timer := time.AfterFunc(answerTime, x.giveUp)
	defer timer.Stop()
	read := mask.Reader(from)
	buf := make([]byte, 16<<10)
	for len(body) <= most {
		n, err := read.Read(buf)
		body = append(body, buf[:n]...)
		if herr := x.hold(len(body)); herr != nil {
			return nil, "", herr
		}
		switch {
		case errors.Is(err, io.EOF):
			x.giveAnswer(resp, body)
			return slices.Clip(body), "", nil
		case err != nil && !timer.Stop():
			return nil, "", errors.New("it did not come to its end in " + answerTime.String())
		case err != nil:
			return nil, "", errors.New("it broke off")
		}
	}
	resp.Body = &joined{io.MultiReader(bytes.NewReader(body), read), from}
	return nil, tooLong(most).Error(), nil
}
