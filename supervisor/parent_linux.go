package supervisor

import (
	"crypto/x509"
	"net/url"
	"strings"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/egress/parent"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/secret"
)

const parentHint = "creel run --parent-proxy http://proxy.test:3128 -- …"

// parentProxies are the proxies that the internet lies behind, as the flag or the
// environment says; nil: none.
func (s *supervisor) parentProxies(roots *x509.CertPool) (*parent.Proxies, error) {
	const op = "read --parent-proxy"
	var c parent.Config
	switch flag := s.o.ParentProxy; {
	case flag == "" || flag == "none":
	case flag == "env":
		c = parent.FromEnvironment(s.o.Getenv)
	case strings.HasPrefix(flag, "env:") || strings.HasPrefix(flag, "file:"):
		v, err := secret.Resolve(flag, s.o.Getenv)
		if err != nil {
			return nil, fault.Wrap(err, op, fault.Usage, append(secretHints(err, []string{flag}), parentHint)...)
		}
		c = parent.ForAll(strings.TrimSpace(v.Reveal()), flag, s.o.Getenv)
	default:
		if u, err := url.Parse(flag); err == nil && u.User != nil || strings.Contains(flag, "@") {
			return nil, fault.UsageError(op, "a password in a flag is seen by everyone on this machine",
				"creel run --parent-proxy env:VAR -- …  (the whole URL is in VAR)", "creel run --parent-proxy file:PATH -- …")
		}
		c = parent.ForAll(flag, "", s.o.Getenv)
	}
	c.ByName, c.RootCAs = s.o.ParentProxyNames, roots
	p, err := parent.New(c)
	if err != nil {
		return nil, fault.UsageError(op, err.Error(), parentHint, "creel run --parent-proxy none -- …")
	}
	switch {
	case p == nil && s.o.ParentProxyNames:
		return nil, fault.UsageError("read --parent-proxy-names", "there is no parent proxy that could resolve names", parentHint)
	case p.ByName():
		s.o.Notice("connections go out through " + p.String() + ", which resolves their names: addresses are not checked")
	case p != nil:
		s.o.Notice("connections go out through " + p.String())
	}
	return p, nil
}

// addressLayer is a row for what the operator gave up.
func addressLayer() api.Layer {
	l := layer("addresses", false, "the parent proxy resolves names: which addresses they have is not checked", "addresses that are checked before they are dialled")
	l.Fix = "leave --parent-proxy-names out, if the names can be resolved here"
	return l
}
