package presets

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/creel-run/creel/netname"
)

// Source is where a service or registry is.
type Source struct {
	Host string `json:"host"`
	Port int    `json:"port"`
	Path string `json:"path,omitempty"` // below which everything lies, without a slash at its end
	From string `json:"from"`           // the file or variable that says so
}

// ParseHost reads HOST, HOST:PORT, or a URL. A password in a URL is dropped.
func ParseHost(text, from string) (Source, error) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		// The library's text repeats the URL, with its password.
		return Source{}, errors.New("want HOST, HOST:PORT or a URL")
	}
	port := 0
	switch u.Scheme {
	case "https":
		port = 443
	case "http":
		port = 80
	default:
		return Source{}, fmt.Errorf("the scheme %s is not HTTP", u.Scheme)
	}
	host, err := netname.ParseHost(u.Hostname())
	if err != nil {
		return Source{}, errors.New("want a host name, such as packages.example")
	}
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil || port < 1 || port > 65535 {
			return Source{}, errors.New("want a port of 1..65535")
		}
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	if strings.Contains(path, "/../") || strings.HasSuffix(path, "/..") || len(path) > 512 {
		return Source{}, errors.New("want a plain path")
	}
	return Source{Host: host.String(), Port: port, Path: path, From: from}, nil
}

func (s Source) String() string {
	if s.Port == 443 {
		return s.Host + s.Path
	}
	return fmt.Sprintf("%s:%d%s", s.Host, s.Port, s.Path)
}
