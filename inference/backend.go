package inference

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	// dialTimeout bounds connect and TLS handshake, each.
	dialTimeout = 15 * time.Second
	// answerTimeout bounds the wait for the first header: answers that are not
	// streamed come after all thinking, for which services allow ten minutes.
	answerTimeout = 15 * time.Minute
	// idleTimeout closes pooled connections before common front ends do.
	idleTimeout = 50 * time.Second
	// headerBytes bounds the headers of an answer.
	headerBytes = 64 << 10
	// idlePerHost keeps connections for an agent with a few helpers.
	idlePerHost = 8
)

// parseBase reads the URL of a backend. Plain http is the operator's choice:
// local model servers speak nothing else.
func parseBase(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The error of net/url quotes the text, which may hold a password.
		return nil, errors.New("read inference URL: it is not a URL")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("read inference URL: it must begin with https:// or http://")
	case u.User != nil:
		return nil, errors.New("read inference URL: it holds a user or password; give the key by itself")
	case u.Hostname() == "":
		return nil, errors.New("read inference URL: it has no host")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("read inference URL: it has a query or a fragment")
	case u.RawPath != "" || strings.Contains(u.Path, "//") || strings.Contains(u.Path+"/", "/../") || strings.Contains(u.Path+"/", "/./"):
		return nil, fmt.Errorf("read inference URL: the path %q is not plain", u.Path)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/")}, nil
}

var versionSegment = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^v[0-9]{1,2}((alpha|beta)[0-9]{0,2})?$`)
})

// join puts the path of a request behind the backend's base (see the package
// comment). path begins with its version segment.
func (r *Route) join(p protocol, path, query string) *url.URL {
	u := *r.base
	_, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	segments := strings.Split(u.Path, "/")
	versioned := versionSegment().MatchString(segments[len(segments)-1])
	if p == openAI {
		for _, s := range segments {
			versioned = versioned || versionSegment().MatchString(s)
		}
	}
	if versioned {
		u.Path += "/" + rest
	} else {
		u.Path += path
	}
	u.RawQuery = query
	return &u
}

func newClient(c Config) *http.Client {
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	return &http.Client{
		// A backend that points elsewhere would send the key there.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  nil, // Dial knows the way out
			DialContext:            dial,
			TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    dialTimeout,
			ResponseHeaderTimeout:  answerTimeout,
			IdleConnTimeout:        idleTimeout,
			MaxIdleConnsPerHost:    idlePerHost,
			MaxResponseHeaderBytes: headerBytes,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // a decompressor would hold back events
		},
	}
}

// Close drops idle connections to the backend. Requests in flight go on.
func (r *Route) Close() {
	if r != nil {
		r.client.CloseIdleConnections()
	}
}
