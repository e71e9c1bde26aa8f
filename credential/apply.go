package credential

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/secret"
)

// Apply puts the bound credentials into a request that policy has allowed, in
// place, or returns an error: a placeholder stands where it may not (another
// host, place or header), or the request carries a credential of its own in a
// bound header. Nothing may be sent after an error. used names what was put in.
//
// It is called for every inspected request, bound or not, after hop-by-hop
// headers were removed, with URL.Scheme set to what goes upstream. It wraps
// req.Body: reading it fails before a placeholder in it is given out.
func (s *Set) Apply(h netname.Host, req *http.Request) (used []string, err error) {
	if req.URL == nil {
		return nil, errors.New("apply credentials: the request has no URL")
	}
	var list []binding
	if s != nil && !h.IsZero() {
		list = s.hosts[h]
	}
	bound := map[string]bool{}
	for _, b := range list {
		bound[b.header] = true
	}
	if err := stray(req, bound); err != nil {
		return nil, fmt.Errorf("apply credentials to %s: %w", h, err)
	}
	if len(list) > 0 {
		if err := foreign(req, bound); err != nil {
			return nil, fmt.Errorf("apply credentials to %s: %w", h, err)
		}
		if req.URL.Scheme != "https" && !(req.URL.Scheme == "" && req.TLS != nil) {
			return nil, fmt.Errorf("apply credentials to %s: the request is not encrypted; use https", h)
		}
	}
	// All values are made before the first is put in: an error changes nothing.
	filled := make([]string, len(list))
	for i, b := range list {
		filled[i], err = fill(req.Header, b, s.values[b.name])
		if err != nil {
			return nil, fmt.Errorf("apply credentials to %s: %w", h, err)
		}
	}
	for i, b := range list {
		req.Header[b.header] = []string{filled[i]}
		used = append(used, b.name)
	}
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = scannedBody{Reader: NewScanner(req.Body), Closer: req.Body}
		req.GetBody = nil // it would give the body unscanned
	}
	return used, nil
}

// fill makes the new value of a bound header, in one pass: what was put in is
// not looked at again.
func fill(header http.Header, b binding, value secret.Value) (string, error) {
	old, there := header[b.header]
	if !there {
		if b.header == authorization {
			return "Bearer " + value.Reveal(), nil
		}
		return value.Reveal(), nil
	}
	notOurs := fmt.Errorf("header %s holds another credential than the placeholder of %s; this host accepts the bound one only", b.header, b.name)
	if len(old) != 1 {
		return "", notOurs
	}
	mark := placeholder(b.name)
	scheme, rest, hasScheme := strings.Cut(old[0], " ")
	switch {
	case old[0] == mark:
		return value.Reveal(), nil
	case hasScheme && isToken(scheme) && rest == mark:
		return scheme + " " + value.Reveal(), nil
	case hasScheme && strings.EqualFold(scheme, "Basic"):
		pair, ok := decodeBasic(rest)
		if !ok || strings.Count(pair, prefix) != 1 {
			return "", notOurs
		}
		user, pass, ok := strings.Cut(pair, ":")
		switch {
		case ok && pass == mark:
			pass = value.Reveal()
		case strings.HasPrefix(pair, mark+":"):
			// The placeholder has colons itself: as a user it ends at the one behind it.
			user, pass = value.Reveal(), strings.TrimPrefix(pair, mark+":")
			if strings.Contains(user, ":") {
				return "", fmt.Errorf("the value of %s has a colon and cannot be the user of Basic", b.name)
			}
		default:
			return "", notOurs
		}
		return scheme + " " + base64.StdEncoding.EncodeToString([]byte(user+":"+pass)), nil
	}
	return "", notOurs
}

func isToken(s string) bool {
	_, err := headerName(s)
	return err == nil
}

// decodeBasic decodes base64 as lenient servers do.
func decodeBasic(text string) (string, bool) {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if out, err := enc.DecodeString(text); err == nil {
			return string(out), true
		}
	}
	return "", false
}

// stray finds a placeholder outside the bound headers.
func stray(req *http.Request, bound map[string]bool) error {
	for _, part := range []struct{ what, text string }{
		{"the path", req.URL.Path}, {"the path", req.URL.RawPath}, {"the path", req.URL.Opaque}, {"the path", req.RequestURI},
		{"the query", req.URL.RawQuery}, {"the host", req.Host}, {"the method", req.Method},
	} {
		if holds(part.text) {
			return refused(part.what)
		}
	}
	if req.URL.User != nil && holds(req.URL.User.String()) {
		return refused("the URL's user")
	}
	for _, group := range []http.Header{req.Header, req.Trailer} {
		for name, values := range group {
			for _, v := range values {
				if bound[name] && len(values) == 1 {
					continue // fill looks at it
				}
				if holds(v) || holdsBasic(v) {
					return refused("header " + name)
				}
			}
			if holds(name) {
				return refused("the name of a header")
			}
		}
	}
	return nil
}

func refused(where string) error {
	return fmt.Errorf("a placeholder stands in %s, where no credential is bound; it is refused", where)
}

// holds looks for a placeholder in a text as it is and percent-decoded once,
// without case: names of hosts and headers lose theirs.
func holds(text string) bool {
	if strings.Contains(strings.ToLower(text), prefix) {
		return true
	}
	return strings.Contains(text, "%") && strings.Contains(strings.ToLower(lenientUnescape(text)), prefix)
}

// lenientUnescape decodes what is well formed and keeps the rest.
func lenientUnescape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if dec, err := url.PathUnescape(text[i : i+3]); err == nil {
				b.WriteString(dec)
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// holdsBasic looks into the base64 of Basic credentials.
func holdsBasic(value string) bool {
	scheme, rest, ok := strings.Cut(value, " ")
	if !ok || !strings.EqualFold(scheme, "Basic") {
		return false
	}
	pair, ok := decodeBasic(rest)
	return ok && holds(pair)
}
