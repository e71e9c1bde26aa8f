package policy

import (
	"net/url"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/netname"
)

func (d *decoder) inference(v value) *Inference {
	inf := &Inference{At: d.at(v.n)}
	s, ok := d.section(v, "inference", inferenceWords)
	if !ok {
		return inf
	}
	if b, ok := s.get("backend"); ok {
		inf.Backend = d.backend(b)
	}
	if k, ok := s.get("key"); ok {
		inf.Key = d.keyReference(k)
	}
	if m, ok := s.get("model"); ok {
		inf.Model, _ = d.text(m, "the name of a model")
	}
	if m, ok := s.get("models"); ok {
		inf.Models = make(map[string]string)
		d.mapping(m, "of asked to sent model names", func(key *yaml.Node, val value) {
			if sent, ok := d.text(val, "the name of a model"); ok {
				if sent == "" || key.Value == "" {
					d.fault(val, BadValue, "an empty name", "the name of a model", "")
					return
				}
				inf.Models[key.Value] = sent
			}
		})
	}
	if h, ok := s.get("hosts"); ok {
		inf.Hosts = append([]string{}, d.hostNames(h)...)
	}
	if h, ok := s.get("add_hosts"); ok {
		inf.AddHosts = d.hostNames(h)
	}
	if h, ok := s.get("remove_hosts"); ok {
		inf.RemoveHosts = d.hostNames(h)
	}
	if l, ok := s.get("server_tools"); ok {
		d.list(l, "names of tools", func(_ int, item value) {
			const want = "the name of a tool without its version, such as web_search"
			text, ok := d.text(item, want)
			if ok && !isVariable(text) {
				d.fault(item, BadValue, show(text), want, "")
				return
			}
			inf.ServerTools = append(inf.ServerTools, text)
		})
	}
	if u, ok := s.get("remote_inputs"); ok {
		inf.RemoteInputs = d.boolean(u)
	}
	return inf
}

func (d *decoder) backend(v value) string {
	const want = "the base URL of a model server, such as https://models.example or http://127.0.0.1:8000"
	text, ok := d.text(v, want)
	if !ok {
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		d.fault(v, BadValue, show(text), want, "")
	case u.User != nil:
		d.fault(v, BadValue, "a URL with a user name or password in it", want, "put the key into key: env:VAR or key: file:PATH")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		d.fault(v, BadValue, "a URL with a query or fragment", want, "")
	default:
		return text
	}
	return ""
}

// keyReference never repeats what it found: it may be the key itself.
func (d *decoder) keyReference(v value) string {
	const want = "env:VAR or file:PATH"
	const hint = "a policy holds no secret; name the environment variable or file of the supervisor that does"
	if v.n.Kind != yaml.ScalarNode {
		d.fault(v, WrongType, describe(v.n), want, hint)
		return ""
	}
	text := v.n.Value
	if name, ok := strings.CutPrefix(text, "env:"); ok && isVariable(name) {
		return text
	}
	if file, ok := strings.CutPrefix(text, "file:"); ok && file != "" && len(text) <= maxText && !strings.ContainsAny(text, "\x00\n\r") {
		return text
	}
	d.fault(v, BadValue, "a value that is not shown", want, hint)
	return ""
}

func isVariable(s string) bool {
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !isWord(s[i]) {
			return false
		}
	}
	return true
}

func (d *decoder) hostNames(v value) []string {
	var names []string
	d.list(v, "host names", func(_ int, item value) {
		text, ok := d.text(item, "a host name")
		if !ok {
			return
		}
		h, err := netname.ParseHost(text)
		if err != nil {
			d.fault(item, BadValue, show(text), "a host name without wildcard, scheme or port", "")
			return
		}
		names = append(names, h.String())
	})
	return names
}
