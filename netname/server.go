package netname

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// ServerWay is how a name server is asked. The zero value asks nobody.
type ServerWay uint8

const (
	NoServer    ServerWay = iota
	HostServer            // the host's own resolver, with its files and caches
	PlainServer           // over UDP, and TCP for long answers
	TLSServer             // RFC 7858
	HTTPSServer           // RFC 8484
)

// Default ports, and the path of RFC 8484's examples, which servers share.
const (
	plainPort  = 53
	tlsPort    = 853
	httpsPort  = 443
	serverPath = "/dns-query"
)

// NameServer is who is asked what names mean. Equal values are the same server;
// the zero NameServer is none.
type NameServer struct {
	Way  ServerWay
	Addr netip.AddrPort // of a plain server
	Host Host           // of the others but the host's own: what its certificate has to be good for
	Port uint16
	Path string // of HTTPS, escaped, with its first slash
}

// NameServerForms is what ParseNameServer takes, for people.
const NameServerForms = "host, ADDR[:PORT], tls://NAME[:PORT] or https://NAME[:PORT][/PATH]"

// ParseNameServer reads one of NameServerForms. The error says what is wrong
// and does not repeat the text, which may hold a password.
func ParseNameServer(s string) (NameServer, error) {
	if s == "host" {
		return NameServer{Way: HostServer}, nil
	}
	scheme, _, ok := strings.Cut(s, "://")
	if !ok {
		return plainServer(s)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return NameServer{}, errors.New("not a URL")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") || u.Hostname() == "":
		return NameServer{}, errors.New("want a host, and neither user, query nor fragment")
	}
	server := NameServer{Way: TLSServer, Port: tlsPort}
	switch scheme {
	case "tls":
		if u.EscapedPath() != "" {
			return NameServer{}, errors.New("tls:// has no path")
		}
	case "https":
		server = NameServer{Way: HTTPSServer, Port: httpsPort, Path: u.EscapedPath()}
		if server.Path == "" {
			server.Path = serverPath
		}
	default:
		return NameServer{}, errors.New("want " + NameServerForms)
	}
	if server.Host, err = ParseHost(u.Hostname()); err != nil {
		return NameServer{}, errors.New("not a host name or an IP address behind " + scheme + "://")
	}
	if port := u.Port(); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return NameServer{}, errors.New("want a port of 1..65535")
		}
		server.Port = uint16(n)
	} else if strings.HasSuffix(u.Host, ":") {
		return NameServer{}, errors.New("want a port of 1..65535")
	}
	return server, nil
}

func plainServer(s string) (NameServer, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return NameServer{Way: PlainServer, Addr: netip.AddrPortFrom(a.Unmap(), plainPort)}, nil
	}
	if ap, err := netip.ParseAddrPort(s); err == nil && ap.Port() != 0 {
		return NameServer{Way: PlainServer, Addr: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())}, nil
	}
	if h, err := ParseHost(s); err == nil && !h.IsAddr() {
		return NameServer{}, errors.New("a name server over UDP is an address, because its name would have to be looked up first; over TLS it is tls://NAME")
	}
	return NameServer{}, errors.New("want " + NameServerForms)
}

// String is the form that ParseNameServer reads again; of the zero value nothing.
func (s NameServer) String() string {
	switch s.Way {
	case HostServer:
		return "host"
	case PlainServer:
		if s.Addr.Port() == plainPort {
			return s.Addr.Addr().String()
		}
		return s.Addr.String()
	case TLSServer:
		return "tls://" + s.authority(tlsPort)
	case HTTPSServer:
		return "https://" + s.authority(httpsPort) + s.Path
	case NoServer:
	}
	return ""
}

func (s NameServer) authority(usual uint16) string {
	host := s.Host.String()
	if s.Host.IsAddr() && s.Host.Addr().Is6() {
		host = "[" + host + "]"
	}
	if s.Port == usual {
		return host
	}
	return host + ":" + strconv.Itoa(int(s.Port))
}
