package inference

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/secret"
)

// Config is a route: where inference goes.
type Config struct {
	URL          string            // base URL of the backend, as the operator wrote it
	Key          secret.Value      // sent in the way of the protocol; zero: none
	Model        string            // forces every request to this model; wins over Models
	Models       map[string]string // asked name to sent name; "*": every other name. Without a match the name stays
	Hosts        []string          // model hosts to claim, patterns allowed; nil: the built-in list
	ServerTools  []string          // tools that the service may run by itself, such as web_search; nil: none
	RemoteInputs bool              // inputs may be URLs, which the service fetches
	RootCAs      *x509.CertPool    // that verify the backend; nil: the system's
	// Dial reaches the backend; nil: net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Route is a live route, safe for concurrent use. A nil Route claims only
// inference.local, and refuses there with a hint.
type Route struct {
	conf   Config
	base   *url.URL
	hosts  *Hosts
	client *http.Client
	held   atomic.Int64 // bytes of request bodies in memory
}

// New checks a Config and makes its Route. It sends nothing.
func New(c Config) (*Route, error) {
	base, err := parseBase(c.URL)
	if err != nil {
		return nil, err
	}
	if err := checkModels(c); err != nil {
		return nil, err
	}
	hosts, err := NewHosts(c.Hosts)
	if err != nil {
		return nil, err
	}
	return &Route{conf: c, base: base, hosts: hosts, client: newClient(c)}, nil
}

func checkModels(c Config) error {
	names := map[string]string{"": c.Model}
	for asked, sent := range c.Models {
		if asked == "" || sent == "" {
			return fmt.Errorf("read inference route: a model name is empty in %q: %q", asked, sent)
		}
		names[asked] = sent
	}
	for asked, sent := range names {
		if len(asked) > maxModel || len(sent) > maxModel {
			return fmt.Errorf("read inference route: a model name has more than %d bytes", maxModel)
		}
	}
	return nil
}

// Claims reports whether connections to host and port are rerouted. A model
// host is claimed on every port: its front ends serve the same API on others
// than 443, and no way past the route may stay open.
func (r *Route) Claims(h netname.Host, port uint16) bool {
	if h.IsZero() {
		return false
	}
	if !h.IsAddr() && h.String() == localHost {
		return port == 443 || port == 80
	}
	return r != nil && r.hosts.Has(h)
}

// Serves reports whether a POST to a path is one that the route answers.
func (r *Route) Serves(path string) bool {
	if r == nil {
		return false
	}
	_, ok := match(http.MethodPost, path, nil)
	return ok
}

// model is the name that is sent for the one that was asked for.
func (r *Route) model(asked string) string {
	if r.conf.Model != "" {
		return r.conf.Model
	}
	if to, ok := r.conf.Models[asked]; ok {
		return to
	}
	if to, ok := r.conf.Models["*"]; ok {
		return to
	}
	return asked
}

// decides reports whether the route, not the agent, picks the model.
func (r *Route) decides() bool { return r.conf.Model != "" || len(r.conf.Models) > 0 }

// PlaceholderEnv is the environment that agents need to start at all: they
// refuse to without some key. The placeholder is dropped by the route, and
// refused wherever else it is sent.
func PlaceholderEnv() []string {
	return []string{
		"ANTHROPIC_API_KEY=" + Placeholder, // Claude Code
		"OPENAI_API_KEY=" + Placeholder,    // OpenAI clients
		"CODEX_API_KEY=" + Placeholder,     // codex exec
		"GEMINI_API_KEY=" + Placeholder,    // Gemini CLI
	}
}

// Placeholder stands in the sandbox for the key of the route.
const Placeholder = "creel:cred:inference/key"

// LocalURL is the base URL of the route inside every sandbox.
const LocalURL = "https://" + localHost

// LocalEnv points clients that read a base URL to inference.local, for agents
// whose own default host is not claimed.
func LocalEnv() []string {
	return []string{
		"ANTHROPIC_BASE_URL=https://" + localHost,
		"OPENAI_BASE_URL=https://" + localHost + "/v1",
		"GOOGLE_GEMINI_BASE_URL=https://" + localHost,
	}
}
