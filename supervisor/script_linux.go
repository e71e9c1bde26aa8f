package supervisor

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/creel-run/creel/egress/pac"
	"github.com/creel-run/creel/egress/parent"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/sandbox/confine"
)

// scriptRole is the hidden argument of the process that runs a proxy configuration
// script, away from all secrets.
const scriptRole = "proxy-script"

// IsScript reports whether a command line is that of this process.
func IsScript(args []string) bool { return len(args) == 2 && args[1] == scriptRole }

// RunScript answers questions about a script on standard input and output, shut in,
// and gives the exit status. Its standard error is for the supervisor.
func RunScript() int {
	err := pac.Ready()
	if err == nil {
		err = confine.Self()
	}
	if err == nil {
		err = pac.Serve(struct {
			io.Reader
			io.Writer
		}{os.Stdin, os.Stdout})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

const (
	scriptPrefix = "pac:"
	scriptHint   = "creel run --parent-proxy pac:/etc/proxy.pac -- …"

	// fetchScript bounds fetching a script.
	fetchScript = 10 * time.Second
)

// scriptHints are for a script that is not one.
var scriptHints = []string{
	`a script is JavaScript with one function: function FindProxyForURL(url, host) { return "PROXY proxy.example:3128; DIRECT"; }`,
	"creel run --parent-proxy http://proxy.example:3128 -- …  (the proxy itself, without a script)",
}

// startScript starts that process.
func startScript() (pac.Child, error) {
	c, err := confine.Start(scriptRole)
	if err != nil {
		return nil, err // not a Child that is nil
	}
	return c, nil
}

// byScript reads the script that a flag names, and sets parents up that ask it.
// Names that it wants are looked up as those of the sandbox are. On the way to the
// name server itself it is asked by a process of its own, and finds no names.
func (s *supervisor) byScript(where string, c parent.Config, p *prepared) error {
	const op = "read --parent-proxy"
	text, from, err := readScript(where, c.RootCAs)
	if err != nil {
		return fault.Wrap(err, op, fault.Usage, scriptHint)
	}
	lookup := func(ctx context.Context, name string) ([]netip.Addr, error) {
		h, err := netname.ParseHost(name)
		if err != nil || h.IsAddr() {
			return nil, errors.New("not a name")
		}
		return s.lookup(ctx, h.String())
	}
	c.From, c.OnFault = from, s.scriptFault()
	for _, use := range []struct {
		parents **parent.Proxies
		lookup  func(context.Context, string) ([]netip.Addr, error)
	}{{&p.parents, lookup}, {&p.toNames, nil}} {
		e, err := pac.New(text, startScript, use.lookup)
		if err != nil {
			return fault.Wrap(err, op, fault.Usage, scriptHint)
		}
		p.scripts = append(p.scripts, e)
		c.Find = e.Find
		if *use.parents, err = parent.New(c); err != nil {
			return fault.Wrap(err, op, fault.Usage, scriptHint)
		}
	}
	return nil
}

// checkScript has the script read before anything is started, so that a wrong one is
// no surprise in the middle of the work.
func (p *prepared) checkScript(ctx context.Context) error {
	if len(p.scripts) == 0 {
		return nil
	}
	err := p.scripts[0].Check(ctx)
	if own := (*pac.ScriptError)(nil); errors.As(err, &own) {
		return fault.UsageError("read --parent-proxy", own.Text, scriptHints...)
	}
	if err != nil {
		return fault.Wrap(err, "read --parent-proxy", fault.Host, "creel doctor")
	}
	return nil
}

func (p *prepared) closeScripts() {
	for _, e := range p.scripts {
		_ = e.Close()
	}
}

// scriptFault tells the operator what was wrong with a script, some times and not for
// each connection.
func (s *supervisor) scriptFault() func(url string, err error) {
	const most = 8
	var told atomic.Int32
	return func(url string, err error) {
		if n := told.Add(1); n <= most {
			s.o.Notice("the proxy configuration script, asked about " + url + ": " + err.Error() + "; the connection is refused. Mend the script and start again: it is read at the start")
		}
	}
}

// scriptPath is the file of the script; empty: it is none.
func (s *supervisor) scriptPath() string {
	path, ok := strings.CutPrefix(s.o.ParentProxy, scriptPrefix)
	if rest, file := strings.CutPrefix(path, "file://"); file {
		path = rest
	} else if strings.Contains(path, "://") {
		ok = false
	}
	abs, err := filepath.Abs(path)
	if !ok || err != nil {
		return ""
	}
	return abs
}

// writes reports whether the agent may write to a host path.
func (s *supervisor) writes(doc *policy.Document, path string) bool {
	dirs := []string{}
	if doc.Filesystem.IncludeWorkdir && s.mode != policy.ReadOnly {
		dirs = append(dirs, s.o.Workspace)
	}
	for _, d := range doc.Filesystem.ReadWrite {
		if !ownByNature(d.Path) {
			dirs = append(dirs, d.Path)
		}
	}
	return slices.ContainsFunc(dirs, func(d string) bool { return within(d, path) || within(realPath(d), realPath(path)) })
}

// readScript gets the script that --parent-proxy names: PATH, file:///PATH or
// https://URL. from says for people where it was found, without a query.
func readScript(where string, roots *x509.CertPool) (text, from string, err error) {
	u, err := url.Parse(where)
	if err != nil {
		return "", "", errors.New("not a path and not a URL")
	}
	var body io.ReadCloser
	from = scriptPrefix + where
	switch {
	case u.Scheme == "https" && u.Host != "":
		u.Fragment = ""
		shown := *u
		shown.RawQuery, shown.ForceQuery = "", false
		from = scriptPrefix + shown.String()
		body, err = fetch(u, roots)
	case u.Scheme == "http":
		return "", "", errors.New("anybody on the way could write a script that comes over http: name it with https://, or save it and name the file")
	case u.Scheme == "file" && u.Host == "" && u.Path != "":
		body, err = openScript(u.Path)
	case strings.Contains(where, "://") || where == "":
		return "", "", fmt.Errorf("want a path or https:// behind %q", scriptPrefix)
	default:
		body, err = openScript(where)
	}
	if err != nil {
		return "", "", err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, pac.MaxScript+1))
	if err != nil {
		return "", "", err
	}
	if len(b) > pac.MaxScript {
		return "", "", fmt.Errorf("the script has more than %d KiB", pac.MaxScript>>10)
	}
	sum := sha256.Sum256(b)
	return string(b), from + " (sha256 " + hex.EncodeToString(sum[:6]) + "…)", nil
}

// openScript takes files alone: a FIFO or a device may never begin, or never end.
func openScript(path string) (io.ReadCloser, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, errors.New(path + " is not a file")
	}
	return f, nil
}

// fetch reaches the script straight: there is no proxy before it is read.
func fetch(u *url.URL, roots *x509.CertPool) (io.ReadCloser, error) {
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
	c := &http.Client{Transport: t, Timeout: fetchScript, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Get(u.String())
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err // its text has the query
		}
		return nil, fmt.Errorf("fetch the script: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("fetch the script: status %d (redirects are not followed)", resp.StatusCode)
	}
	return resp.Body, nil
}
