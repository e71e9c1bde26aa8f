package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/registry"
)

// readPackage reads what a client asks of a registry: its path says all of it.
func (x *exchange) readPackage(ep *policy.Endpoint) (*registry.Request, error) {
	r, err := registry.Parse(ep.Registry, ep.RegistryPath, x.h.verb(), x.request.Target.Path)
	if err != nil {
		return nil, err
	}
	if r.Action != registry.Publish && x.h.hasBody() {
		return nil, errors.New("a request that reads has no body")
	}
	return r, nil
}

// publication is a version of a package in a registry.
type publication struct {
	host          netname.Host
	port          uint16
	kind          registry.Kind
	name, version string
	path          string // of the file: a registry has several of a version
}

// published remembers when versions appeared, which does not change. It is safe
// for concurrent use.
type published struct {
	mu    sync.Mutex
	times map[publication]time.Time
}

func (p *published) at(k publication) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.times[k]
	return t, ok
}

func (p *published) keep(k publication, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.times) >= maxPublished {
		clear(p.times)
	}
	p.times[k] = t
}

// longAgo is the download of a version that is old enough for every rule.
func longAgo(r *registry.Request) *registry.Request {
	old := *r
	old.Published = time.Unix(1, 0)
	return &old
}

// proveAge asks the registry when the version that is downloaded appeared.
// It says why the download is denied if it still is.
func (x *exchange) proveAge() (why string) {
	r := x.request.Package
	k := publication{x.c.facts.Host, x.c.facts.Port, r.Kind, r.Name, r.Version, x.request.Target.Path}
	at, known := x.c.s.published.at(k)
	if !known {
		var err error
		if at, err = x.askPublished(r); err != nil {
			return "when this version was published cannot be told: " + err.Error()
		}
		x.c.s.published.keep(k, at)
	}
	dated := *r
	dated.Published = at
	x.request.Package = &dated
	return "it was published at " + at.UTC().Format(time.RFC3339) + ", and min_age wants an older one"
}

func (x *exchange) askPublished(r *registry.Request) (time.Time, error) {
	// As long as the answer is waited for the request counts as one that is let
	// through: Recheck ends it, too.
	old := x.request
	old.Package = longAgo(r)
	x.c.mu.Lock()
	x.begin([]policy.Request{old})
	d := x.c.decision
	x.c.mu.Unlock()
	defer x.done()
	ctx, cancel := context.WithTimeout(x.r.Context(), registryTime)
	defer cancel()
	err := error(registry.ErrNoTime)
	for _, s := range registry.Sources(r, x.governs.RegistryPath, x.request.Target.Path) {
		var at time.Time
		if at, err = x.ask(ctx, d, s, r); err == nil {
			return at, nil
		}
	}
	return time.Time{}, err
}

// ask makes one request of Creel's own, with what the agent's has to say who it is.
func (x *exchange) ask(ctx context.Context, d policy.ConnectDecision, s registry.Source, r *registry.Request) (time.Time, error) {
	path, err := url.PathUnescape(s.Path)
	if err != nil {
		return time.Time{}, registry.ErrNoTime
	}
	u := &url.URL{Scheme: x.scheme, Host: authority{x.c.facts.Host, x.c.facts.Port}.text(x.scheme), Path: path, RawPath: s.Path}
	out := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Accept": {s.Accept}, "User-Agent": x.r.Header["User-Agent"]}, Body: http.NoBody}
	if a := x.r.Header["Authorization"]; len(a) > 0 {
		out.Header["Authorization"] = append([]string(nil), a...)
	}
	if secrets := x.c.s.conf.Secrets; secrets != nil {
		if _, err := secrets.Apply(x.c.facts.Host, out); err != nil {
			return time.Time{}, errors.New("the request for it may not carry the credential")
		}
	}
	ev := x.event(audit.Request)
	ev.Method, ev.Path, ev.Verdict = out.Method, s.Path, policy.Allow.String()
	ev.Reason = "creel asks the registry when a version was published, because a rule has min_age"
	setRule(&ev, d.Rule)
	if err := x.c.s.record(ev); err != nil {
		return time.Time{}, errors.New("the audit log cannot be written")
	}
	x.asking = true
	defer func() { x.asking = false }()
	resp, err := x.c.s.upstreams.roundTrip(x, out.WithContext(ctx),
		&upstreamSpec{host: x.c.facts.Host, port: x.c.facts.Port, rule: d.Destination, tls: x.scheme == "https"})
	if err != nil {
		return time.Time{}, errors.New("the registry does not answer")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || isEncoded(resp.Header) {
		return time.Time{}, fmt.Errorf("the registry answers %d", resp.StatusCode)
	}
	at, err := s.Read(io.LimitReader(resp.Body, maxMetadata), r)
	if err != nil { // its text may be the registry's
		return time.Time{}, registry.ErrNoTime
	}
	return at, nil
}
