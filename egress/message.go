package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/jsonrpc"
)

// readsMessages reports whether a request that an endpoint governs is judged by
// what its body says, too.
func readsMessages(ep *policy.Endpoint) bool {
	if ep == nil {
		return false
	}
	switch ep.Protocol {
	case policy.GraphQL, policy.JSONRPC, policy.MCP, policy.Git, policy.Package, policy.GRPC:
		return true
	default:
		return false
	}
}

// read reads what the protocol of the endpoint judges beside method and path
// into the request. What cannot be read is left out, which the engine denies,
// and unread says why.
func (x *exchange) read(ep *policy.Endpoint) {
	x.unread = ""
	x.request.GraphQL, x.request.RPC, x.request.Git, x.request.Package = nil, nil, nil, nil
	var err error
	switch ep.Protocol {
	case policy.GraphQL:
		x.request.GraphQL, err = x.readGraphQL(ep)
	case policy.JSONRPC, policy.MCP:
		x.request.RPC, err = x.readCalls(ep)
	case policy.Git:
		x.request.Git, err = x.readGit()
	case policy.Package:
		x.request.Package, err = x.readPackage(ep)
	case policy.GRPC:
		x.request.GRPC, err = x.grpcCall()
	default:
	}
	if err != nil {
		x.unread = err.Error()
	}
}

func (x *exchange) readGraphQL(ep *policy.Endpoint) (*graphql.Request, error) {
	if err := graphql.CheckHead(x.r.Header); err != nil {
		return nil, err
	}
	body, err := x.whole(graphql.Limit(ep.BodyLimit()))
	if err != nil {
		return nil, err
	}
	r, err := graphql.ParseHTTP(x.h.verb(), x.request.Target.RawQuery, x.r.Header, body, ep.BodyLimit())
	if err != nil {
		return nil, err
	}
	return &r, nil
}

func (x *exchange) readCalls(ep *policy.Endpoint) (*jsonrpc.Request, error) {
	o := jsonrpc.Options{MCP: ep.Protocol == policy.MCP, LaxToolNames: ep.MCP.LooseToolNames, MaxBytes: ep.BodyLimit()}
	if err := jsonrpc.CheckHead(x.r.Header); err != nil {
		return nil, err
	}
	if x.h.verb() != http.MethodPost && x.h.hasBody() { // one in chunks may be empty
		return nil, errors.New("only POST carries messages")
	}
	body, err := x.whole(o.Limit())
	if err != nil {
		return nil, err
	}
	r, err := jsonrpc.ParseHTTP(x.h.verb(), x.r.Header, body, o)
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// whole reads the body of the request, up to limit bytes, and puts what was
// read in its place: what is judged is what is sent, byte by byte.
func (x *exchange) whole(limit int) ([]byte, error) {
	if x.body != nil {
		if len(x.body) > limit { // it was read for another endpoint
			return nil, tooLong(limit)
		}
		return x.body, nil
	}
	if x.lost != nil {
		return nil, x.lost
	}
	if !x.h.hasBody() {
		return nil, nil
	}
	if x.r.ContentLength > int64(limit) {
		return nil, tooLong(limit)
	}
	body, err := x.upTo(limit)
	switch {
	case errors.Is(err, errIncomplete):
		x.lost = err
	case err != nil:
		return nil, err
	case len(body) > limit:
		x.lost = tooLong(limit)
	}
	if x.lost != nil {
		return nil, x.lost
	}
	x.hand(body)
	return body, nil
}

// hand puts a whole body in the place of the one that was read.
func (x *exchange) hand(body []byte) {
	x.body = body
	x.r.Header.Del("Expect") // it was met
	x.r.Body, x.r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
}

var errIncomplete = errors.New("the body is incomplete")

// upTo reads the body to its end, or one byte more than limit.
func (x *exchange) upTo(limit int) ([]byte, error) {
	want := int64(limit)
	if x.r.ContentLength > 0 {
		want = x.r.ContentLength
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), bodyTimeout)
	defer cancel()
	if err := x.c.s.bodies.acquire(ctx, want); err != nil {
		return nil, err
	}
	x.held += want
	control := http.NewResponseController(x.w)
	if err := control.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return nil, errors.New("the body cannot be read")
	}
	body, err := io.ReadAll(io.LimitReader(x.r.Body, int64(limit)+1))
	_ = control.SetReadDeadline(time.Time{})
	if err != nil {
		return nil, errIncomplete
	}
	return body, nil
}

func tooLong(limit int) error {
	return fmt.Errorf("the body is longer than the %d bytes that are read", limit)
}

// bodies bounds the memory of all bodies that are held at once.
type bodies struct{ left *semaphore.Weighted }

func newBodies() bodies { return bodies{semaphore.NewWeighted(maxBodies)} }

var errBodies = errors.New("too many bodies are being read at once")

func (b bodies) acquire(ctx context.Context, n int64) error {
	if b.left.Acquire(ctx, n) != nil {
		return errBodies
	}
	return nil
}

// release gives back what the exchange held.
func (x *exchange) release() {
	x.c.s.bodies.left.Release(x.held)
	x.held = 0
	x.releaseAnswer()
	x.push.close()
}
