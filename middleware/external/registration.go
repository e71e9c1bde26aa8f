package external

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/secret"
)

// Protocol is the form of the calls.
type Protocol uint8

const (
	Connect Protocol = iota // POST of JSON, which any HTTP server can answer
	GRPC                    // over HTTP/2
)

// Bounds of a registration's time limit.
const (
	minTimeout = 10 * time.Millisecond
	maxTimeout = 30 * time.Second
	usualTime  = 500 * time.Millisecond
)

// Registration says where a middleware is that policies may name. The operator
// writes it: a policy has no addresses.
type Registration struct {
	Name     string // as policies have it in middleware:; without openshell/ and creel/
	Endpoint string // unix:///PATH, http://127.0.0.1:PORT (loopback alone) or https://HOST
	Protocol Protocol
	Token    secret.Value         // sent as a bearer token; none: nothing is sent
	RootCAs  *x509.CertPool       // of an https endpoint; nil: the system's
	Timeout  time.Duration        // of one call, 10 ms to 30 s; 0: 500 ms
	MaxBody  int                  // bytes that it is shown and may answer with; 0: the most
	On       middleware.Direction // 0: requests and the agent's WebSocket messages
}

// Parse reads NAME=ENDPOINT, with grpc+ before the scheme for gRPC.
func Parse(text string) (Registration, error) {
	name, endpoint, ok := strings.Cut(text, "=")
	if !ok {
		return Registration{}, errors.New("read middleware: want NAME=ENDPOINT, as in guard=unix:///run/guard.sock")
	}
	r := Registration{Name: name, Endpoint: endpoint}
	if rest, ok := strings.CutPrefix(endpoint, "grpc+"); ok {
		r.Protocol, r.Endpoint = GRPC, rest
	}
	_, err := r.check()
	return r, err
}

// endpoint is where a registration leads to.
type endpoint struct {
	socket string // of unix; empty: none
	url    string // of the method
	tls    bool
}

const method = "/creel.middleware.v1.Middleware/Check"

// check fills in what is not written.
func (r *Registration) check() (endpoint, error) {
	fault := func(format string, args ...any) (endpoint, error) {
		return endpoint{}, fmt.Errorf("register middleware %q: "+format, append([]any{r.Name}, args...)...)
	}
	switch {
	case strings.TrimSpace(r.Name) == "" || strings.HasPrefix(r.Name, "openshell/") || strings.HasPrefix(r.Name, "creel/"):
		return fault("want a name that does not begin with openshell/ or creel/")
	case r.Protocol > GRPC:
		return fault("no such protocol")
	case r.Timeout != 0 && (r.Timeout < minTimeout || r.Timeout > maxTimeout):
		return fault("want a timeout from %v to %v", minTimeout, maxTimeout)
	case r.MaxBody < 0 || r.MaxBody > middleware.MaxBody:
		return fault("want a largest body of at most %d bytes", middleware.MaxBody)
	case r.On > middleware.Request|middleware.Response|middleware.AgentMessage|middleware.ServerMessage:
		return fault("no such direction")
	}
	if r.Timeout == 0 {
		r.Timeout = usualTime
	}
	if r.MaxBody == 0 {
		r.MaxBody = middleware.MaxBody
	}
	if r.On == 0 {
		r.On = middleware.Request | middleware.AgentMessage
	}
	u, err := url.Parse(r.Endpoint)
	if err != nil || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" {
		return fault("want an endpoint unix:///PATH, http://127.0.0.1:PORT or https://HOST") // it may hold a password
	}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			return fault("want a socket by its whole path, as in unix:///run/guard.sock")
		}
		return endpoint{socket: u.Path, url: "http://localhost" + method}, nil
	case "http":
		if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
			return fault("http leads to a loopback address alone; write https:// for another host")
		}
	case "https":
		if u.Hostname() == "" {
			return fault("want a host behind https://")
		}
	default:
		return fault("want an endpoint unix:///PATH, http://127.0.0.1:PORT or https://HOST")
	}
	return endpoint{url: u.Scheme + "://" + u.Host + strings.TrimSuffix(u.EscapedPath(), "/") + method, tls: u.Scheme == "https"}, nil
}
