package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/egress/ca"
	"github.com/creel-run/creel/egress/parent"
	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/secret"
)

// Listeners are the sockets that were made inside the sandbox's network
// namespace and are served from outside. A Server closes them when it ends.
type Listeners struct {
	TCP   []net.Listener // redirected connections; SO_ORIGINAL_DST tells the destination
	Proxy []net.Listener // HTTP_PROXY clients: CONNECT and absolute-form
}

// Caller is the program that owns a connection.
type Caller struct {
	Known     bool
	PID       int      // as the host sees it
	Binary    string   // of an unknown caller too, if anything is known: for the record alone
	Script    string   // what an interpreter says that it runs; never matched
	Ancestors []string // nearest first
	SHA256    string   // of the executable; empty: not taken
	Why       string   // it is unknown, for people; empty: for want of anything to say
}

// Config is what a Server needs. Nil members are an error unless they say otherwise.
type Config struct {
	Engine    func() *policy.Engine // the revision in force
	Audit     audit.Recorder
	Names     Names
	Callers   Callers
	CA        *ca.Authority
	Inference func() Inference                                               // nil, or gives nil: no route
	Chain     func() *middleware.Chain                                       // of the revision in force; nil, or gives nil: no middlewares
	Secrets   Secrets                                                        // nil: none
	Resolve   func(ctx context.Context, name string) ([]netip.Addr, error)   // nil: the host's resolver
	Dial      func(ctx context.Context, to netip.AddrPort) (net.Conn, error) // nil: net.Dialer
	RootCAs   *x509.CertPool                                                 // upstreams are verified against; nil: the system's
	Log       *slog.Logger                                                   // nil: nothing is logged

	// Parent are proxies of the operator's that connections go through; nil: none.
	// Its names are resolved and their addresses checked as without one, unless
	// the proxy is given names.
	Parent *parent.Proxies

	// Upstream gives the address of a service that the operator runs himself: it
	// is dialled for the name as it is, without resolver and address rules. Nil: none.
	Upstream func(netname.Host, uint16) (netip.AddrPort, bool)

	// Guarded says why a host may not be reached over a connection that is not
	// inspected, though a rule allows it; empty: it may. Nil: all may.
	Guarded func(netname.Host) string

	// ClientCert is the certificate that the operator proves himself with to a
	// host; nil, or gives nil: none. It is a credential: connections to such a host
	// are inspected, and the agent never has it.
	ClientCert func(netname.Host, uint16) *tls.Certificate

	// MaxConns bounds the connections at once, below the usual bound; 0: that one.
	MaxConns int

	Now  func() time.Time // nil: time.Now
	Uses *policy.Uses     // what rules with max_uses allowed so far; nil: nothing

	// OnAuditError is told that an event could not be kept; the action was
	// denied. It must not block. Nil: nobody is told.
	OnAuditError func(error)

	// OriginalDst gives the destination that a redirected connection had before.
	// Nil: the socket option SO_ORIGINAL_DST.
	OriginalDst func(net.Conn) (netip.AddrPort, error)
}

// Names gives the name that a synthetic address stands for.
type Names interface {
	// Lookup holds the binding for as long as the connection lives; call release once.
	Lookup(a netip.Addr) (host netname.Host, release func(), ok bool)
}

// Callers tells who connected. client and original are the two ends as the
// client's socket sees them.
type Callers interface {
	Lookup(client, original netip.AddrPort) Caller
}

// Inference is the third verdict; package inference implements it.
type Inference interface {
	Claims(h netname.Host, port uint16) bool
	// Serves reports whether it answers a POST to a path, whatever its host was.
	Serves(path string) bool
	// Serve judges, records (through record, before anything is sent) and answers one request.
	Serve(w http.ResponseWriter, r *http.Request, record func(audit.Event) error)
}

// Secrets puts bound credentials into allowed requests; package credential implements it.
type Secrets interface {
	Bound(h netname.Host) bool
	// Apply is called for every inspected request, bound or not, after hop-by-hop
	// headers were removed. It may wrap req.Body; nothing is sent after an error.
	Apply(h netname.Host, req *http.Request) (used []string, err error)
	// Mask gives what hides the values that Apply put into sent in the answer to
	// it; nil: it put in none.
	Mask(h netname.Host, sent *http.Request) *secret.Mask
	// Scan reads through to r, what a client sends over a connection that is not
	// inspected, and fails before it gives out a placeholder.
	Scan(r io.Reader) io.Reader
}
