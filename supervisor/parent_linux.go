package supervisor

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/egress/parent"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/secret"
)

const parentHint = "creel run --parent-proxy http://proxy.test:3128 -- …"

// parentProxies sets up the proxies that the internet lies behind, as the flag or the
// environment says; nil: none.
func (s *supervisor) parentProxies(p *prepared) error {
	const op = "read --parent-proxy"
	var c parent.Config
	flag := s.o.ParentProxy
	script, scripted := strings.CutPrefix(flag, scriptPrefix)
	switch {
	case scripted && strings.Contains(script, "://") && strings.Contains(script, "@"):
		return fault.UsageError(op, "no password is sent to get a script, and a flag is seen by everyone on this machine", scriptHint)
	case scripted:
		c = parent.ForAll("", "", s.o.Getenv)
	case flag == "" || flag == "none":
	case flag == "env":
		c = parent.FromEnvironment(s.o.Getenv)
	case strings.HasPrefix(flag, "env:") || strings.HasPrefix(flag, "file:"):
		v, err := secret.Resolve(flag, s.o.Getenv)
		if err != nil {
			return fault.Wrap(err, op, fault.Usage, append(secretHints(err, []string{flag}), parentHint)...)
		}
		c = parent.ForAll(strings.TrimSpace(v.Reveal()), flag, s.o.Getenv)
	case !strings.Contains(flag, ":"): // a host alone, which may be a word that was meant
		return fault.UsageError(op, fmt.Sprintf("%q is no proxy: want its URL, HOST:PORT, pac:PATH, env or none", flag), parentHint, "creel run --parent-proxy none -- …")
	default:
		if u, err := url.Parse(flag); err == nil && u.User != nil || strings.Contains(flag, "@") {
			return fault.UsageError(op, "a password in a flag is seen by everyone on this machine",
				"creel run --parent-proxy env:VAR -- …  (the whole URL is in VAR)", "creel run --parent-proxy file:PATH -- …")
		}
		c = parent.ForAll(flag, "", s.o.Getenv)
	}
	c.ByName, c.RootCAs = s.o.ParentProxyNames, p.roots
	if scripted {
		if err := s.byScript(script, c, p); err != nil {
			return err
		}
	} else {
		var err error
		if p.parents, err = parent.New(c); err != nil {
			return fault.UsageError(op, err.Error(), parentHint, "creel run --parent-proxy none -- …")
		}
		p.toNames = p.parents
	}
	s.parents = p.parents
	switch {
	case p.parents == nil && s.o.ParentProxyNames:
		return fault.UsageError("read --parent-proxy-names", "there is no parent proxy that could resolve names", parentHint)
	case p.parents.ByName():
		s.o.Notice("connections go out through " + p.parents.String() + ", which resolves their names: addresses are not checked")
	case p.parents != nil:
		s.o.Notice("connections go out through " + p.parents.String())
	}
	return nil
}

// addressLayer is a row for what the operator gave up.
func addressLayer() api.Layer {
	l := layer("addresses", false, "the parent proxy resolves names: which addresses they have is not checked", "addresses that are checked before they are dialled")
	l.Fix = "leave --parent-proxy-names out, if the names can be resolved here"
	return l
}
