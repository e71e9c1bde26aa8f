package parent

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Way is one way to a host: through a proxy, or straight if there is none.
type Way struct{ Proxy *Proxy }

// straight is the one way without a proxy. Nobody writes to it.
var straight = []Way{{}}

// Gone reports whether an error means that this way is not there, so that the next
// one may be tried. What a proxy refuses is an answer, and nothing is tried after it.
func (w Way) Gone(err error) bool {
	if w.Proxy == nil {
		return true
	}
	var e *Error
	return errors.As(err, &e) && e.gone
}

const (
	// maxAnswerText bounds a script's answer, in bytes, and maxWays the ways in it.
	maxAnswerText = 2048
	maxWays       = 8

	// keepAnswer is how long an answer counts: scripts look at the time of day and at
	// names, but a page is made of many connections.
	keepAnswer = time.Minute
	// keepError is that of a failure, which may have taken seconds to find out.
	keepError = 10 * time.Second
	// askTime bounds one question with the wait for those before it: a long script
	// takes 0.1 s.
	askTime = 20 * time.Second
	// maxKept bounds the answers that are kept.
	maxKept = 512
)

// script asks for answers and keeps them for a while.
type script struct {
	conf Config
	now  func() time.Time

	mu   sync.Mutex
	kept map[string]answer // by URL
	once singleflight.Group
}

type answer struct {
	ways  []Way
	err   error
	until time.Time
}

func newScript(c Config) *script {
	return &script{conf: c, now: time.Now, kept: map[string]answer{}}
}

// URL is what a script is told of a connection: scheme, host and port, and nothing
// of a path, which may hold what only the server is to know.
func URL(scheme, host string, port uint16) string {
	at := host
	if strings.Contains(host, ":") {
		at = "[" + host + "]"
	}
	if scheme == "http" && port != 80 || scheme == "https" && port != 443 {
		at = net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	return scheme + "://" + at + "/"
}

func (s *script) ways(ctx context.Context, scheme, host string, port uint16) ([]Way, error) {
	url := URL(scheme, host, port)
	s.mu.Lock()
	a, ok := s.kept[url]
	s.mu.Unlock()
	if ok && s.now().Before(a.until) {
		return a.ways, a.err
	}
	late := func() ([]Way, error) {
		return nil, &Error{Reason: "the proxy configuration script gave no answer in time", cause: ctx.Err()}
	}
	if ctx.Err() != nil {
		return late()
	}
	// Connections to one host come in dozens, and questions are answered one by one.
	// Whoever asked first may give up; the others still want to know.
	ch := s.once.DoChan(url, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
		defer cancel()
		return s.ask(ctx, url, host), nil
	})
	select {
	case <-ctx.Done():
		return late()
	case got := <-ch:
		a, _ := got.Val.(answer)
		if a.ways == nil && a.err == nil {
			return late()
		}
		return a.ways, a.err
	}
}

// ask asks the script, and keeps the answer. The zero answer is none in time.
func (s *script) ask(ctx context.Context, url, host string) answer {
	var a answer
	text, err := s.conf.Find(ctx, url, host)
	if ctx.Err() != nil {
		return answer{}
	}
	keep := keepError
	if err != nil {
		a.err = &Error{Reason: "the proxy configuration script gave no answer", cause: err}
	} else if a.ways, err = readAnswer(text, s.conf); err != nil {
		a = answer{err: &Error{Reason: "the proxy configuration script gave an answer that is not understood", cause: err}}
	} else {
		keep = keepAnswer
	}
	if err != nil && s.conf.OnFault != nil {
		s.conf.OnFault(url, err)
	}
	a.until = s.now().Add(keep)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) >= maxKept {
		clear(s.kept)
	}
	s.kept[url] = a
	return a
}

// kinds are the words of an answer, and the scheme of the proxy that each stands
// for. SOCKS is version 5: what speaks only 4 names no address family but IPv4, and
// sends its user in the clear.
var kinds = map[string]string{"PROXY": "http", "HTTP": "http", "HTTPS": "https", "SOCKS": "socks5", "SOCKS5": "socks5"}

// readAnswer reads "PROXY a.test:3128; SOCKS5 b.test; DIRECT". All of it is
// understood, or none.
func readAnswer(text string, c Config) ([]Way, error) {
	if len(text) > maxAnswerText {
		return nil, errors.New("the answer is too long")
	}
	var ways []Way
	for part := range strings.SplitSeq(text, ";") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		if len(ways) == maxWays {
			return nil, errors.New("the answer names too many proxies")
		}
		kind := strings.ToUpper(words[0])
		scheme := kinds[kind]
		switch {
		case kind == "DIRECT" && len(words) == 1:
			ways = append(ways, Way{})
			continue
		case kind == "SOCKS4" || kind == "SOCKS4A":
			return nil, errors.New("the answer names a SOCKS4 proxy: only SOCKS5 is spoken")
		case scheme == "" || len(words) != 2:
			return nil, errors.New("want DIRECT, or PROXY, HTTP, HTTPS, SOCKS or SOCKS5 with HOST:PORT")
		case !plainHostPort(words[1]):
			return nil, errors.New("want HOST:PORT behind " + kind)
		}
		x, err := parse(scheme+"://"+words[1], Config{ByName: c.ByName, RootCAs: c.RootCAs, Dial: c.Dial})
		if err != nil {
			return nil, err
		}
		ways = append(ways, Way{x})
	}
	if len(ways) == 0 {
		return nil, errors.New("the answer is empty")
	}
	return ways, nil
}

// plainHostPort keeps everything out that means something in a URL but a host, a
// port, and the brackets and colons of an IPv6 address.
func plainHostPort(s string) bool {
	if len(s) > 270 { // a name, brackets, a port
		return false
	}
	for _, b := range []byte(s) {
		if b >= 0x80 || b < '0' && b != '-' && b != '.' || b > ':' && b < 'A' || b > 'Z' && b < 'a' && b != '[' && b != ']' && b != '_' || b > 'z' {
			return false
		}
	}
	return true
}
