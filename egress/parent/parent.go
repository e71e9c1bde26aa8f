package parent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/creel-run/creel/secret"
)

// Config says which proxy is for which connections. The zero Config has none.
type Config struct {
	HTTP  string // URL of the proxy for port 80; empty: none
	HTTPS string // of that for every other port; empty: none
	// From says where the URLs were found, for people; it may be empty.
	From string
	// Find gives the answer of a proxy configuration script (PAC) for a URL, of which
	// host is the host; nil: there is no script. With one, HTTP and HTTPS stay empty.
	Find func(ctx context.Context, url, host string) (string, error)
	// OnFault is told what was wrong where the script gave no way; nil: nobody is. The
	// error's text may be of its making.
	OnFault func(url string, err error)
	// Except is a list as of NO_PROXY: hosts that are reached without a proxy.
	Except string
	// ByName leaves resolving to the proxy: it is given names, whose addresses
	// nobody checks.
	ByName bool
	// RootCAs verify a proxy that speaks TLS; nil: the system's.
	RootCAs *x509.CertPool
	// Dial reaches the proxy itself; nil: net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// FromEnvironment reads HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in upper
// or lower case.
func FromEnvironment(getenv func(string) (string, bool)) Config {
	var names []string
	first := func(keys ...string) string {
		for _, key := range keys {
			for _, k := range []string{key, strings.ToLower(key)} {
				if v, _ := getenv(k); v != "" {
					if len(names) == 0 || names[len(names)-1] != k {
						names = append(names, k)
					}
					return v
				}
			}
		}
		return ""
	}
	c := Config{HTTPS: first("HTTPS_PROXY", "ALL_PROXY"), HTTP: first("HTTP_PROXY", "ALL_PROXY")}
	c.From = strings.Join(names, ", ")
	c.Except = exceptions(getenv)
	return c
}

// ForAll is one proxy for every connection but those that NO_PROXY names. from
// says where its URL was found; empty: it was given as it is.
func ForAll(url, from string, getenv func(string) (string, bool)) Config {
	return Config{HTTP: url, HTTPS: url, From: from, Except: exceptions(getenv)}
}

func exceptions(getenv func(string) (string, bool)) string {
	for _, k := range []string{"NO_PROXY", "no_proxy"} {
		if v, _ := getenv(k); v != "" {
			return v
		}
	}
	return ""
}

// Proxies are the operator's. Nil are none.
type Proxies struct {
	http, https *Proxy
	script      *script // instead of the two
	from        string
	through     func(*url.URL) (*url.URL, error) // gives nil for what is excepted
	excepted    bool
	dial        func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Proxy is one of them.
type Proxy struct {
	scheme   string // http, https, socks5
	host     string
	port     string
	user     string
	password secret.Value
	auth     bool
	byName   bool
	roots    *x509.CertPool
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
}

// New checks a Config; it gives nil if there is no proxy in it. Errors repeat
// nothing of a URL: it may hold a password.
func New(c Config) (*Proxies, error) {
	if c.HTTP == "" && c.HTTPS == "" && c.Find == nil {
		return nil, nil
	}
	if c.Find != nil && (c.HTTP != "" || c.HTTPS != "") {
		return nil, errors.New("a script and a proxy at once")
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	p := &Proxies{from: c.From, excepted: c.Except != "", dial: c.Dial}
	var err error
	if p.http, err = parse(c.HTTP, c); err != nil {
		return nil, err
	}
	if p.https, err = parse(c.HTTPS, c); err != nil {
		return nil, err
	}
	if c.Find != nil {
		p.script = newScript(c)
	}
	// The library decides about exceptions alone; it would take a URL that it
	// cannot read for none.
	const some = "http://proxy.invalid"
	p.through = (&httpproxy.Config{HTTPProxy: some, HTTPSProxy: some, NoProxy: c.Except}).ProxyFunc()
	return p, nil
}

var ports = map[string]string{"http": "80", "https": "443", "socks5": "1080"}

func parse(text string, c Config) (*Proxy, error) {
	if text == "" {
		return nil, nil
	}
	bad := func(what string) (*Proxy, error) {
		if c.From != "" {
			what = "in " + c.From + ": " + what
		}
		return nil, errors.New(what)
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text // as everywhere
	}
	u, err := url.Parse(text)
	if err != nil {
		return bad("not a URL")
	}
	x := &Proxy{scheme: strings.ToLower(u.Scheme), host: u.Hostname(), port: u.Port(), byName: c.ByName, roots: c.RootCAs, dial: c.Dial}
	if x.scheme == "socks5h" {
		x.scheme = "socks5" // who resolves names is Config.ByName's to say
	}
	standard, known := ports[x.scheme]
	switch {
	case !known:
		return bad("want http://, https:// or socks5:// before the host of the proxy")
	case x.host == "" || u.Opaque != "":
		return bad("no host of a proxy")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return bad("the URL of a proxy ends behind its port")
	}
	if x.port == "" {
		x.port = standard
	}
	if n, err := strconv.ParseUint(x.port, 10, 16); err != nil || n == 0 {
		return bad("want a port of 1..65535")
	}
	if u.User != nil {
		password, _ := u.User.Password()
		x.auth, x.user, x.password = true, u.User.Username(), secret.New(password)
		switch {
		case x.scheme == "socks5" && (x.user == "" || len(x.user) > 255 || len(password) > 255):
			return bad("the user of a SOCKS5 proxy has 1 to 255 bytes, its password at most 255 (RFC 1929)")
		case x.scheme != "socks5" && strings.Contains(x.user, ":"):
			return bad("the user of an HTTP proxy has no colon (RFC 7617)")
		}
	}
	return x, nil
}

// For gives the ways to a host (a name, or an address without brackets), at least
// one. A later one is for when the one before is Gone, and for nothing else.
func (p *Proxies) For(ctx context.Context, host string, port uint16) ([]Way, error) {
	if p == nil {
		return straight, nil
	}
	x, scheme := p.https, "https"
	if port == 80 {
		x, scheme = p.http, "http"
	}
	if x == nil && p.script == nil {
		return straight, nil
	}
	u, err := p.through(&url.URL{Scheme: scheme, Host: net.JoinHostPort(host, strconv.Itoa(int(port)))})
	if err == nil && u == nil {
		return straight, nil
	}
	if p.script != nil {
		return p.script.ways(ctx, scheme, host, port)
	}
	return []Way{{x}}, nil
}

// DialContext reaches a service of the operator's own by name: through the proxy,
// which resolves it, or straight. It fits http.Transport.
func (p *Proxies) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	ways, err := p.For(ctx, host, uint16(port))
	if err != nil {
		return nil, err
	}
	for i, w := range ways {
		var c net.Conn
		if c, err = p.dialWay(ctx, w, network, addr); err == nil || i == len(ways)-1 || !w.Gone(err) {
			return c, err
		}
	}
	return nil, err
}

func (p *Proxies) dialWay(ctx context.Context, w Way, network, addr string) (net.Conn, error) {
	if w.Proxy != nil {
		return w.Proxy.Dial(ctx, addr)
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if p == nil {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	return p.dial(ctx, network, addr)
}

// ByName reports whether the proxy is given names.
func (x *Proxy) ByName() bool { return x != nil && x.byName }

// String is the proxy for people, without its credentials.
func (x *Proxy) String() string { return x.scheme + "://" + net.JoinHostPort(x.host, x.port) }

// String says which proxies there are and who resolves names, without credentials.
func (p *Proxies) String() string {
	if p == nil {
		return "none"
	}
	var list []string
	one := func(x *Proxy, what string) {
		if x == nil {
			return
		}
		text := x.String()
		if x.auth {
			text += " with credentials"
		}
		list = append(list, text+what)
	}
	switch {
	case p.script != nil:
		list = append(list, "the proxies that "+p.from+" names")
	case p.https != nil && p.http != nil && p.https.String() == p.http.String() && p.https.auth == p.http.auth:
		one(p.https, "")
	default:
		one(p.https, " (all ports but 80)")
		one(p.http, " (port 80)")
	}
	text := strings.Join(list, ", ")
	if p.from != "" && p.script == nil {
		text += " from " + p.from
	}
	if p.excepted {
		text += ", but for NO_PROXY"
	}
	return text
}

// ByName reports whether the proxies are given names.
func (p *Proxies) ByName() bool {
	return p != nil && (p.http.ByName() || p.https.ByName() || p.script != nil && p.script.conf.ByName)
}
