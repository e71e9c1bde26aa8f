package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/creel-run/creel/cow"
	"github.com/creel-run/creel/fault"
)

const (
	// maxBody bounds a body in bytes, both ways: a policy of the largest size
	// has no more faults than fit.
	maxBody = 4 << 20
	// answerTime bounds a whole exchange: compiling the largest policy takes
	// well below a second, and reading the posture reads a few files.
	answerTime = 30 * time.Second
)

// Client speaks to one sandbox's control socket. Safe for concurrent use.
type Client struct {
	name string
	http http.Client
}

// Dial finds the sandbox and returns a client; nothing is sent yet.
func Dial(name string) (*Client, error) {
	path, err := Find(name)
	if err != nil {
		return nil, err
	}
	return NewClient(name, path), nil
}

// NewClient speaks to the socket at path.
func NewClient(name, path string) *Client {
	return &Client{name: name, http: http.Client{
		Timeout: answerTime,
		Transport: &http.Transport{
			// No connection outlives its request: a command asks once.
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "unix", path)
				if err != nil {
					return nil, err
				}
				// An agent that could write this folder could answer in its supervisor's name.
				if err := CheckPeer(conn); err != nil {
					_ = conn.Close()
					return nil, err
				}
				return conn, nil
			},
		},
	}}
}

// Sandbox asks what is running.
func (c *Client) Sandbox(ctx context.Context) (Sandbox, error) {
	var s Sandbox
	return s, c.do(ctx, http.MethodGet, "/v1/sandbox", nil, &s)
}

// Posture asks what protection is in force.
func (c *Client) Posture(ctx context.Context) (Posture, error) {
	var p Posture
	return p, c.do(ctx, http.MethodGet, "/v1/posture", nil, &p)
}

// Reload puts a policy into force; an empty path reads the present file again.
// A policy that was not taken is a *FaultyPolicy.
func (c *Client) Reload(ctx context.Context, policy string) (Reloaded, error) {
	var r Reloaded
	return r, c.do(ctx, http.MethodPost, "/v1/reload", ReloadArgs{Policy: policy}, &r)
}

// Apply brings changes of a copy-on-write workspace into the real one.
func (c *Client) Apply(ctx context.Context, o cow.Options) ([]cow.Result, error) {
	var results []cow.Result
	return results, c.do(ctx, http.MethodPost, "/v1/apply", o, &results)
}

// Stop asks the sandbox to end; it returns when the supervisor has agreed, not
// when it is gone.
func (c *Client) Stop(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/v1/stop", struct{}{}, nil)
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	// The host is not looked up; it only has to be one.
	req, err := http.NewRequestWithContext(ctx, method, "http://creel.invalid"+path, body)
	if err != nil {
		return fmt.Errorf("ask sandbox: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fault.Wrap(err, "ask sandbox "+c.name, fault.General, "creel ls")
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && len(b) > maxBody {
		err = fmt.Errorf("answer is longer than %d bytes", maxBody)
	}
	if err != nil {
		return fault.Wrap(err, "read answer of sandbox "+c.name, fault.General)
	}
	if resp.StatusCode/100 != 2 {
		return c.problem(resp.Status, b)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fault.Wrap(err, "read answer of sandbox "+c.name, fault.General)
	}
	return nil
}

func (c *Client) problem(status string, body []byte) error {
	var p Problem
	if json.Unmarshal(body, &p) != nil || p.Error == "" {
		p = Problem{Error: "answered " + status}
	}
	e := &fault.Error{Op: "ask sandbox " + c.name, Msg: p.Error, Hints: p.Hints, Code: p.Code}
	if len(p.Faults) > 0 {
		return &FaultyPolicy{Faults: p.Faults, err: e}
	}
	return e
}

// FaultyPolicy is a policy that was not taken, with everything wrong in it.
type FaultyPolicy struct {
	Faults []Fault
	err    *fault.Error
}

func (e *FaultyPolicy) Error() string { return e.err.Error() }
func (e *FaultyPolicy) Unwrap() error { return e.err }

// String is the fault as compilers write them: file:line:column: message.
func (f Fault) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		b.WriteByte(':')
	}
	if f.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", f.Line, f.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(f.Message)
	return b.String()
}
