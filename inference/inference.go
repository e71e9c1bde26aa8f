package inference

import (
	"errors"
	"net/http"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/secret"
)

// Config is a route: where inference goes.
type Config struct {
	URL    string            // base URL of the backend, as the operator wrote it
	Key    secret.Value      // sent in the way of the protocol; zero: none
	Model  string            // forces every request to this model
	Models map[string]string // asked name to sent name
	Hosts  []string          // model hosts to claim; nil: the built-in list
}

// Route is a live route, safe for concurrent use. A nil Route claims only
// inference.local, and refuses there with a hint.
type Route struct{}

func New(c Config) (*Route, error) { return nil, errors.New("not built") }

// Claims reports whether connections to host and port are rerouted.
func (r *Route) Claims(h netname.Host, port uint16) bool { return false }

// Serve judges one request, records the verdict through record before anything
// is sent and the outcome after, and streams the answer unbuffered. An error of
// record ends the request.
func (r *Route) Serve(w http.ResponseWriter, req *http.Request, record func(audit.Event) error) {}
