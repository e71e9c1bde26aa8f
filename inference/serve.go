package inference

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy/target"
	"github.com/creel-run/creel/secret"
)

const (
	// bodyBytes bounds one request: the services themselves stop at 20 to 32 MB.
	bodyBytes = 32 << 20
	// heldBytes bounds the bodies of all requests of a sandbox that are in
	// memory at once, so that an agent cannot exhaust the supervisor.
	heldBytes = 96 << 20
	// copyBytes is one piece of an answer.
	copyBytes = 16 << 10
)

// Serve judges one request, records the verdict through record before anything
// is sent and the outcome after, and streams the answer unbuffered. An error of
// record ends the request.
func (r *Route) Serve(w http.ResponseWriter, req *http.Request, record func(audit.Event) error) {
	start := time.Now()
	c := &exchange{route: r, w: w, req: req}
	if why := c.judge(); why != nil {
		ev := c.event(audit.Inference)
		ev.Verdict, ev.Reason, ev.Status = "deny", why.reason, why.status
		if record(ev) != nil {
			why = unrecorded()
		}
		why.write(w, c.end.protocol)
		return
	}
	defer c.release()
	ev := c.event(audit.Inference)
	ev.Verdict = "reroute"
	ev.Detail = map[string]string{"protocol": c.end.protocol.String(), "backend": r.base.Host}
	if c.asked != c.sent {
		ev.Detail["asked_model"] = c.asked
	}
	if len(c.removed) > 0 {
		ev.Detail["removed_tools"] = strings.Join(c.removed, ",")
	}
	if record(ev) != nil {
		unrecorded().write(w, c.end.protocol)
		return
	}
	why := c.forward()
	done := c.event(audit.InferenceDone)
	done.Reason, done.Status = why, c.status
	if c.unreached {
		done.Detail = map[string]string{"error": audit.UpstreamFailed, "backend": r.base.Scheme + "://" + r.base.Host}
	}
	done.BytesIn, done.BytesOut = c.in, int64(len(c.body))
	done.Millis = time.Since(start).Milliseconds()
	if record(done) != nil || c.broken {
		// The agent must not take for complete what broke off, or what could not
		// be recorded: the connection or stream is cut instead of ended.
		panic(http.ErrAbortHandler)
	}
}

func unrecorded() *refusal {
	return &refusal{status: http.StatusServiceUnavailable, reason: "the audit log cannot be written, so nothing is sent"}
}

// exchange is one request on its way.
type exchange struct {
	route *Route
	w     http.ResponseWriter
	req   *http.Request

	target target.Target
	end    endpoint
	asked  string // model
	sent   string
	body   []byte
	held   int64

	removed []string // tools of the service

	unreached bool // the backend gave no answer

	status int   // of the answer that the agent got
	in     int64 // bytes of its body
	broken bool  // it ended before its end
}

func (c *exchange) event(kind audit.Kind) audit.Event {
	return audit.Event{Kind: kind, Method: c.req.Method, Path: c.target.Path, Model: c.sent}
}

// judge decides, and prepares what will be sent. It sends nothing.
func (c *exchange) judge() *refusal {
	req := c.req
	t, err := target.Parse(req.URL.RequestURI(), false)
	if err != nil || req.URL.Opaque != "" {
		c.end.protocol = guess(req.Host, "", req.Header)
		return &refusal{status: http.StatusBadRequest, reason: "the request target is not well formed"}
	}
	c.target = t
	end, ok := match(req.Method, t.Path, req.Header)
	c.end = end
	if !ok {
		c.end.protocol = guess(req.Host, t.Path, req.Header)
	}
	switch {
	case c.route == nil:
		return &refusal{status: http.StatusServiceUnavailable, reason: "this sandbox has no inference route",
			hint: "The operator can start it with --inference URL --inference-key env:VAR."}
	case isUpgrade(req):
		// Codex takes this status as "use plain HTTP", without trying again.
		return &refusal{status: http.StatusUpgradeRequired, reason: "WebSockets are not served on the inference route",
			hint: "Use plain HTTP requests."}
	case !ok:
		return &refusal{status: http.StatusForbidden, reason: "this is a model host, and only model requests are served here", hint: doNotDodge}
	}
	if c.end.place == nowhere {
		c.asked, c.sent = c.end.model, c.end.model
		return c.noBody()
	}
	if err := c.readBody(); err != nil {
		c.release()
		return err
	}
	if err := c.pickModel(); err != nil {
		c.release()
		return err
	}
	removed, err := c.remoteAllowed()
	if err != nil {
		c.release()
		return &refusal{status: http.StatusForbidden, reason: err.Error(), hint: doNotDodge}
	}
	c.removed = removed
	return nil
}

func isUpgrade(req *http.Request) bool {
	return req.Header.Get("Upgrade") != "" || req.Header.Get("Sec-WebSocket-Key") != "" || req.Method == http.MethodConnect
}

func (c *exchange) noBody() *refusal {
	if c.req.Body == nil || c.req.Body == http.NoBody || c.req.ContentLength == 0 {
		return nil
	}
	return &refusal{status: http.StatusBadRequest, reason: "a request for the list of models has no body"}
}

// readBody reads the whole body, decoded.
func (c *exchange) readBody() *refusal {
	req := c.req
	if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &refusal{status: http.StatusUnsupportedMediaType, reason: "the body of a model request must be application/json"}
	}
	if req.ContentLength > bodyBytes {
		return tooLarge()
	}
	body := io.Reader(http.MaxBytesReader(c.w, req.Body, bodyBytes))
	switch coding := strings.ToLower(strings.Join(req.Header.Values("Content-Encoding"), ",")); coding {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return &refusal{status: http.StatusBadRequest, reason: "the body is not gzip"}
		}
		body = z
	default:
		return &refusal{status: http.StatusUnsupportedMediaType, reason: "the body has a content coding that is not read here; gzip is, or none",
			hint: "Codex: --disable enable_request_compression."}
	}
	var buf bytes.Buffer
	if req.ContentLength > 0 {
		// Grown once; what was promised counts before it arrives.
		if !c.hold(req.ContentLength) {
			return tooMuch()
		}
		buf.Grow(int(req.ContentLength) + bytes.MinRead)
	}
	piece := make([]byte, copyBytes)
	for {
		n, err := body.Read(piece)
		if int64(buf.Len()+n) > bodyBytes {
			return tooLarge()
		}
		if over := int64(buf.Len()+n) - c.held; over > 0 && !c.hold(over) {
			return tooMuch()
		}
		buf.Write(piece[:n])
		var large *http.MaxBytesError
		switch {
		case errors.Is(err, io.EOF):
			c.body = buf.Bytes()
			return nil
		case errors.As(err, &large):
			return tooLarge()
		case err != nil:
			return &refusal{status: http.StatusBadRequest, reason: "the body could not be read to its end"}
		}
	}
}

func tooLarge() *refusal {
	return &refusal{status: http.StatusRequestEntityTooLarge, reason: fmt.Sprintf("the body has more than %d MiB", bodyBytes>>20)}
}

func tooMuch() *refusal {
	return &refusal{status: http.StatusServiceUnavailable, reason: "too many large model requests at once"}
}

// hold counts n more bytes of body in memory, if they fit.
func (c *exchange) hold(n int64) bool {
	if c.route.held.Add(n) > heldBytes {
		c.route.held.Add(-n)
		return false
	}
	c.held += n
	return true
}

func (c *exchange) release() {
	if c.held > 0 {
		c.route.held.Add(-c.held)
		c.held = 0
	}
}

// modelLists are members with which routers of models take several names; with
// them an agent would pick another model than the route does.
var modelLists = []string{"models", "fallbacks", "fallback_models"}

// pickModel reads the model that was asked for and puts in the one to send.
func (c *exchange) pickModel() *refusal {
	bad := func(err error) *refusal {
		return &refusal{status: http.StatusBadRequest, reason: err.Error()}
	}
	doc, err := readDocument(c.body)
	if err != nil {
		return bad(err)
	}
	if c.end.place == inPath {
		c.asked = c.end.model
		if doc.model != "" && doc.model != c.asked && doc.model != "models/"+c.asked {
			return bad(errors.New("path and body name different models"))
		}
		c.sent = c.route.model(c.asked)
		if doc.model == "" || c.sent == c.asked {
			return nil
		}
		if c.body, err = doc.withModel("models/" + c.sent); err != nil {
			return bad(err)
		}
		return nil
	}
	if c.route.decides() {
		for key := range doc.keys {
			for _, list := range modelLists {
				if strings.EqualFold(key, list) {
					return bad(fmt.Errorf("the body has %q, but the route decides the model", list))
				}
			}
		}
	}
	c.asked = doc.model
	c.sent = c.route.model(c.asked)
	if c.sent == "" {
		return bad(errors.New("the body names no model"))
	}
	if c.body, err = doc.withModel(c.sent); err != nil {
		return bad(err)
	}
	return nil
}

// forward sends the request and streams the answer. It returns why the
// exchange did not end well, empty if it did.
func (c *exchange) forward() string {
	path := c.target.Path
	var payload io.Reader
	switch c.end.place {
	case inPath:
		if !modelName().MatchString(c.sent) {
			c.fail("the model of the route cannot stand in a path")
			return "bad model name"
		}
		path = strings.Replace(path, "/models/"+c.end.model+":", "/models/"+c.sent+":", 1)
		payload = bytes.NewReader(c.body)
	case inBody:
		payload = bytes.NewReader(c.body)
	}
	u := c.route.join(c.end.protocol, path, outQuery(c.end.protocol, c.target.Query))
	ctx := c.req.Context() // ends when the agent goes away
	out, err := http.NewRequestWithContext(ctx, c.req.Method, u.String(), payload)
	if err != nil {
		c.fail("the request to the backend cannot be built")
		return "build request"
	}
	out.Header = outHeader(c.req.Header)
	if payload != nil {
		out.Header.Set("Content-Type", "application/json")
	}
	setKey(out.Header, c.end.protocol, c.route.conf.Key)

	resp, err := c.route.client.Do(out)
	if err != nil {
		if ctx.Err() != nil {
			return "the agent went away"
		}
		c.unreached = true
		c.fail("the inference backend does not answer: " + cause(err))
		return brief(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		c.fail("the inference backend answered with a redirect, which is not followed")
		return "redirect from the backend"
	}
	mask := keyMask(c.route.conf.Key)
	if coding := strings.Join(resp.Header.Values("Content-Encoding"), ","); mask != nil && coding != "" && !strings.EqualFold(coding, "identity") {
		c.fail("the inference backend encoded its answer though it was asked not to, so the key cannot be kept out of it")
		return "encoded answer from the backend"
	}
	backHeader(c.w.Header(), resp.Header, mask)
	if resp.ContentLength >= 0 {
		c.w.Header().Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	c.status = resp.StatusCode
	c.w.WriteHeader(resp.StatusCode)
	return c.stream(ctx, resp.Body, mask.Stream())
}

// stream passes each piece on as it comes.
func (c *exchange) stream(ctx context.Context, from io.Reader, mask *secret.Stream) string {
	flow := http.NewResponseController(c.w)
	_ = flow.Flush() // the headers, before the first thought
	piece := make([]byte, copyBytes)
	for {
		n, err := from.Read(piece)
		out := mask.Next(piece[:n])
		if err != nil {
			out = append(out[:len(out):len(out)], mask.Rest()...)
		}
		if len(out) > 0 {
			wrote, werr := c.w.Write(out)
			c.in += int64(wrote)
			if werr == nil {
				werr = flow.Flush()
			}
			if werr != nil && !errors.Is(werr, errors.ErrUnsupported) {
				c.broken = true
				return "the agent went away"
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return ""
		case err != nil && ctx.Err() != nil:
			c.broken = true
			return "the agent went away"
		case err != nil:
			c.broken = true
			return "the backend broke off: " + cause(err)
		}
	}
}

// fail answers for the backend.
func (c *exchange) fail(reason string) {
	c.status = http.StatusBadGateway
	(&refusal{status: c.status, reason: reason}).write(c.w, c.end.protocol)
}
