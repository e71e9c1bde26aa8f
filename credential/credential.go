package credential

import (
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/secret"
)

// prefix begins every placeholder: creel:cred:<provider>/<key>.
const prefix = "creel:cred:"

// authorization is the header that a credential is bound to unless the flag
// names another.
const authorization = "Authorization"

// ErrNoBinding says that a --secret flag names no host. The command line is
// wrong then (exit status 2): a credential without a binding is never accepted.
var ErrNoBinding = errors.New("a binding is needed: NAME=env:VAR|file:PATH@HOST[:HEADER], so that the value goes to that host alone")

// Set is all bindings of a sandbox. A nil Set binds nothing, and still refuses
// placeholders.
type Set struct {
	names  []string // of credentials, in the order of the flags
	values map[string]secret.Value
	hosts  map[netname.Host][]binding
	masks  sync.Map // of hosts: what hides the values in the usual answer
}

// binding puts one credential into one header towards one host.
type binding struct {
	name   string // of the credential
	header string // canonical
}

func placeholder(name string) string { return prefix + name + "/key" }

// Parse reads --secret flags: NAME=env:VAR|file:PATH@HOST[:HEADER]. HOST is an
// exact name or address (IPv6 in brackets). The same NAME may be given again
// with the same source, to bind it to several hosts.
func Parse(flags []string, getenv func(string) (string, bool)) (*Set, error) {
	s := &Set{values: map[string]secret.Value{}, hosts: map[netname.Host][]binding{}}
	sources := map[string]string{}
	for _, flag := range flags {
		name, rest, ok := strings.Cut(flag, "=")
		if !ok || !validName(name) {
			// Not quoted: it may be a value that was given by mistake.
			return nil, errors.New("read --secret: want NAME=env:VAR|file:PATH@HOST[:HEADER], NAME being the name of a variable")
		}
		if !strings.HasPrefix(rest, "env:") && !strings.HasPrefix(rest, "file:") {
			return nil, fmt.Errorf("read --secret %s: the source is neither env:VAR nor file:PATH (the value itself is never written on a command line)", name)
		}
		at := strings.LastIndexByte(rest, '@') // a path may hold the sign, a host may not
		if at < 0 {
			return nil, fmt.Errorf("read --secret %s: %w", name, ErrNoBinding)
		}
		source, where := rest[:at], rest[at+1:]
		host, header, err := parseBinding(where)
		if err != nil {
			return nil, fmt.Errorf("read --secret %s: %w", name, err)
		}
		if old, ok := sources[name]; ok && old != source {
			return nil, fmt.Errorf("read --secret %s: it has two sources", name)
		}
		for _, b := range s.hosts[host] {
			if b.header == header {
				return nil, fmt.Errorf("read --secret %s: header %s of %s is bound already, to %s", name, header, host, b.name)
			}
		}
		if _, ok := sources[name]; !ok {
			value, err := secret.Resolve(source, getenv)
			var gone *secret.Unreadable
			if errors.As(err, &gone) {
				return nil, fmt.Errorf("read --secret %s: %s: %w", name, gone.Ref, gone.Err)
			}
			if err != nil {
				return nil, fmt.Errorf("read --secret %s: %w", name, err)
			}
			sources[name] = source
			s.values[name] = value
			s.names = append(s.names, name)
		}
		s.hosts[host] = append(s.hosts[host], binding{name: name, header: header})
	}
	return s, nil
}

func validName(name string) bool {
	ok, _ := regexp.MatchString(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`, name)
	return ok
}

func parseBinding(where string) (netname.Host, string, error) {
	hostText, header := where, ""
	var hasHeader bool
	if strings.HasPrefix(where, "[") {
		var ok bool
		if hostText, header, ok = strings.Cut(where[1:], "]"); !ok {
			return netname.Host{}, "", fmt.Errorf("the host %q has no closing bracket", where)
		}
		if header != "" {
			if header, hasHeader = strings.CutPrefix(header, ":"); !hasHeader {
				return netname.Host{}, "", fmt.Errorf("%q stands behind the host", header)
			}
		}
	} else {
		hostText, header, hasHeader = strings.Cut(where, ":")
	}
	if hostText == "" {
		return netname.Host{}, "", ErrNoBinding
	}
	host, err := netname.ParseHost(hostText)
	if err != nil {
		return netname.Host{}, "", fmt.Errorf("the host %q: %w", hostText, err)
	}
	if !hasHeader {
		return host, authorization, nil
	}
	name, err := headerName(header)
	return host, name, err
}

// Env is the environment that the agent gets: NAME=placeholder.
func (s *Set) Env() []string {
	if s == nil {
		return nil
	}
	out := make([]string, 0, len(s.names))
	for _, n := range s.names {
		out = append(out, n+"="+placeholder(n))
	}
	return out
}

// Values gives each credential once, by name.
func (s *Set) Values() iter.Seq2[string, secret.Value] {
	return func(yield func(string, secret.Value) bool) {
		if s == nil {
			return
		}
		for _, n := range s.names {
			if !yield(n, s.values[n]) {
				return
			}
		}
	}
}

// Bound reports whether a credential is bound to the host, so that TLS to it
// must be terminated.
func (s *Set) Bound(h netname.Host) bool { return s != nil && len(s.hosts[h]) > 0 }

// Mask gives what hides the values that are bound to a host in its answer to
// sent, a request that Apply has filled: each is replaced by its placeholder, in
// Basic by the Basic that the agent would have sent. It is nil if none is bound.
func (s *Set) Mask(h netname.Host, sent *http.Request) *secret.Mask {
	if !s.Bound(h) {
		return nil
	}
	var covers []secret.Cover
	usual := true
	for _, b := range s.hosts[h] {
		value, mark := s.values[b.name], placeholder(b.name)
		covers = append(covers, secret.Cover{Value: value, With: mark})
		for _, text := range sent.Header[b.header] {
			scheme, coded, _ := strings.Cut(text, " ")
			if !strings.EqualFold(scheme, "Basic") {
				continue
			}
			if pair, ok := decodeBasic(coded); ok && strings.Contains(pair, value.Reveal()) {
				usual = false
				marked := strings.ReplaceAll(pair, value.Reveal(), mark)
				covers = append(covers, secret.Cover{
					Value: secret.New(coded), With: base64.StdEncoding.EncodeToString([]byte(marked)), Exact: true,
				})
			}
		}
	}
	if !usual {
		return secret.NewMask(covers...)
	}
	if m, ok := s.masks.Load(h); ok {
		return m.(*secret.Mask)
	}
	m, _ := s.masks.LoadOrStore(h, secret.NewMask(covers...))
	return m.(*secret.Mask)
}

// redactBytes is the shortest value that Redact replaces: shorter ones occur in
// ordinary text.
const redactBytes = 4

// Redact replaces every value in a text by its placeholder, longest first.
func (s *Set) Redact(text string) string {
	if s == nil {
		return text
	}
	names := slices.Clone(s.names)
	slices.SortStableFunc(names, func(a, b string) int {
		return len(s.values[b].Reveal()) - len(s.values[a].Reveal())
	})
	var pairs []string // one pass: a value may look like another's placeholder
	for _, n := range names {
		if v := s.values[n].Reveal(); len(v) >= redactBytes {
			pairs = append(pairs, v, placeholder(n))
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
