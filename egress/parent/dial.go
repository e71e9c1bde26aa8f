package parent

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/proxy"
)

const (
	// maxAnswer bounds the head of a proxy's answer, in bytes.
	maxAnswer = 16 << 10

	// reachTimeout bounds the way to the proxy and its answer, whatever the
	// caller's context says.
	reachTimeout = 30 * time.Second
)

// Error is a connection that a proxy did not make. Its text is fit for the agent.
type Error struct {
	Reason string
	Status int  // of an HTTP proxy's answer; 0: none
	gone   bool // the proxy was not reached, or said nothing
	cause  error
}

func (e *Error) Error() string { return e.Reason }
func (e *Error) Unwrap() error { return e.cause }

// Dial asks the proxy for a connection to addr, host:port as it is to be sent. The
// result half-closes; between TCP sockets it is a plain one, so that the kernel
// can move its bytes.
func (x *Proxy) Dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	nc, err := x.dial(ctx, "tcp", net.JoinHostPort(x.host, x.port))
	if err != nil {
		return nil, &Error{Reason: "the proxy on the way out cannot be reached", gone: true, cause: err}
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	out, err := x.ask(ctx, nc, addr)
	if !stop() && err == nil {
		err = &Error{Reason: "the proxy on the way out does not answer", gone: true, cause: context.Cause(ctx)}
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return out, nil
}

func (x *Proxy) ask(ctx context.Context, nc net.Conn, addr string) (net.Conn, error) {
	switch x.scheme {
	case "socks5":
		return x.socks(ctx, nc, addr)
	case "https":
		tc := tls.Client(nc, &tls.Config{ServerName: x.host, RootCAs: x.roots, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12})
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, &Error{Reason: "TLS with the proxy on the way out failed", gone: true, cause: err}
		}
		return x.connect(ctx, tc, addr)
	case "http":
		return x.connect(ctx, nc, addr)
	}
	return nil, &Error{Reason: "no such kind of proxy"}
}

// connect asks an HTTP proxy for a tunnel.
func (x *Proxy) connect(ctx context.Context, nc net.Conn, addr string) (net.Conn, error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{"User-Agent": {"creel"}}}
	if x.auth {
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(x.user+":"+x.password.Reveal())))
	}
	broken := func(err error) error {
		if ctx.Err() != nil {
			return &Error{Reason: "the proxy on the way out does not answer", gone: true, cause: ctx.Err()}
		}
		return &Error{Reason: "the proxy on the way out broke the connection off", gone: true, cause: err}
	}
	if err := req.Write(nc); err != nil {
		return nil, broken(err)
	}
	in := bufio.NewReaderSize(&io.LimitedReader{R: nc, N: maxAnswer}, maxAnswer)
	resp, err := http.ReadResponse(in, req)
	switch {
	case err != nil:
		return nil, broken(err)
	case resp.StatusCode == http.StatusProxyAuthRequired:
		return nil, &Error{Reason: "the proxy on the way out asks for other credentials", Status: resp.StatusCode}
	case resp.StatusCode != http.StatusOK:
		return nil, &Error{Reason: fmt.Sprintf("the proxy on the way out refuses the connection (status %d)", resp.StatusCode), Status: resp.StatusCode}
	}
	if in.Buffered() == 0 {
		return nc, nil
	}
	ahead, _ := in.Peek(in.Buffered()) // a server that speaks first
	return &begun{Conn: nc, ahead: append([]byte(nil), ahead...)}, nil
}

// socks asks a SOCKS5 proxy.
func (x *Proxy) socks(ctx context.Context, nc net.Conn, addr string) (net.Conn, error) {
	var auth *proxy.Auth
	if x.auth {
		auth = &proxy.Auth{User: x.user, Password: x.password.Reveal()}
	}
	d, err := proxy.SOCKS5("tcp", net.JoinHostPort(x.host, x.port), auth, nil)
	if err != nil {
		return nil, &Error{Reason: "no such kind of proxy", cause: err}
	}
	// The connection that the library makes itself hides the socket below it.
	over, ok := d.(interface {
		DialWithConn(context.Context, net.Conn, string, string) (net.Addr, error)
	})
	if !ok {
		return nil, &Error{Reason: "no such kind of proxy", cause: errors.New("the SOCKS library changed")}
	}
	if _, err := over.DialWithConn(ctx, nc, "tcp", addr); err != nil {
		if ctx.Err() != nil {
			return nil, &Error{Reason: "the proxy on the way out does not answer", gone: true, cause: ctx.Err()}
		}
		return nil, &Error{Reason: "the proxy on the way out refuses the connection", cause: err}
	}
	return nc, nil
}

// begun is a tunnel whose first bytes came with the proxy's answer.
type begun struct {
	net.Conn
	ahead []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.ahead) > 0 {
		n := copy(p, b.ahead)
		b.ahead = b.ahead[n:]
		return n, nil
	}
	return b.Conn.Read(p)
}

// NetConn is the connection below, as of tls.Conn.
func (b *begun) NetConn() net.Conn { return b.Conn }

func (b *begun) CloseWrite() error {
	if w, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
