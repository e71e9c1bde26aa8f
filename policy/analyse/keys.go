package analyse

import (
	"fmt"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy"
)

// entry is a key of a network policy or endpoint that lets nothing through by
// itself, and so is no part of a class: it can only take away, or it says what is
// done with what passes.
type entry struct {
	key, value string
	at         policy.Position
}

// networkSettings compares those keys. They are known by whom and what they are
// about, so that names and the order do not count.
func networkSettings(a, b *policy.Document) []Setting {
	var list []Setting
	was, is := entriesOf(a), entriesOf(b)
	// What stands in both is no difference, however often.
	for i := 0; i < len(was); i++ {
		k := slices.IndexFunc(is, func(e entry) bool { return e.key == was[i].key && e.value == was[i].value })
		if k >= 0 {
			was, is = slices.Delete(was, i, i+1), slices.Delete(is, k, k+1)
			i--
		}
	}
	for _, e := range was {
		s := Setting{Key: e.key, Was: e.value, At: e.at}
		if k := slices.IndexFunc(is, func(o entry) bool { return o.key == e.key }); k >= 0 {
			s.Is, s.At = is[k].value, is[k].at
			is = slices.Delete(is, k, k+1)
		}
		list = append(list, s)
	}
	for _, e := range is {
		list = append(list, Setting{Key: e.key, Is: e.value, At: e.at})
	}
	return list
}

func entriesOf(doc *policy.Document) []entry {
	var list []entry
	for i := range doc.Networks {
		n := &doc.Networks[i]
		if !n.AnyBinary && len(n.Binaries) == 0 {
			continue // for nobody
		}
		who := " for " + whoText(n, doc.Version)
		var places []string
		for k := range n.Endpoints {
			e := &n.Endpoints[k]
			place := placeOf(e) + e.Path
			places = append(places, place)
			list = append(list, limitEntries(e.Limits, place+who, e.At)...)
			if q, ok := doc.OpaqueBytesOut(n, e); ok { // the default of tls: skip
				list = append(list, limitEntries(&policy.Limits{BytesOut: q}, place+who, e.At)...)
			}
			list = append(list, useEntries(e.MaxUses, place+who, e.At)...)
			for _, text := range credentialTexts(&e.Credentials) {
				list = append(list, entry{"credentials of " + place + who, text, e.At})
			}
			switch all, paths := doc.AcceptsModels(e); {
			case all:
				list = append(list, entry{"models of " + place + who, "allow", e.At})
			case len(paths) > 0:
				slices.Sort(paths)
				list = append(list, entry{"models of " + place + who, "allow at " + strings.Join(slices.Compact(paths), ", "), e.At})
			}
			for _, p := range e.ToolPins {
				definition := p.SHA256
				if definition == "" {
					definition = "any"
				}
				list = append(list, entry{"mcp.pins of " + place + who, p.Tool + ": " + definition, p.At})
			}
			switch e.Protocol {
			case policy.GraphQL, policy.WebSocket, policy.JSONRPC, policy.MCP:
				if n := e.BodyLimit(); n != policy.DefaultMaxBody {
					list = append(list, entry{"body limit of " + place + who, policy.SizeText(int64(n)), e.At})
				}
			case policy.Package:
				list = append(list, entry{"registry of " + place + who, string(e.Registry) + " at " + e.RegistryPath + "/", e.At})
			case policy.L4, policy.TCP, policy.SQL, policy.REST, policy.Git, policy.GRPC:
			}
		}
		slices.Sort(places)
		all := "all of " + strings.Join(places, ", ") + who
		list = append(list, limitEntries(n.Limits, all, n.At)...)
		list = append(list, useEntries(n.MaxUses, all, n.At)...)
	}
	return list
}

func limitEntries(l *policy.Limits, of string, at policy.Position) []entry {
	if l == nil {
		return nil
	}
	if l.At.Line > 0 {
		at = l.At
	}
	var list []entry
	if l.Connections > 0 {
		list = append(list, entry{"limits.connections of " + of, fmt.Sprint(l.Connections), at})
	}
	for _, q := range []struct {
		word string
		q    policy.Quantity
	}{{"requests", l.Requests}, {"bytes_out", l.BytesOut}, {"bytes_in", l.BytesIn}} {
		if q.q.Count == 0 {
			continue
		}
		text := policy.SizeText(q.q.Count)
		if q.word == "requests" {
			text = fmt.Sprint(q.q.Count)
		}
		if q.q.Per > 0 {
			text += " in " + policy.DurationText(q.q.Per)
		}
		list = append(list, entry{"limits." + q.word + " of " + of, text, at})
	}
	if l.ResponseTypes != nil {
		types := slices.Clone(l.ResponseTypes)
		slices.Sort(types)
		list = append(list, entry{"limits.response_types of " + of, strings.Join(types, ", "), at})
	}
	return list
}

func useEntries(n int64, of string, at policy.Position) []entry {
	if n == 0 {
		return nil
	}
	return []entry{{"max_uses of " + of, fmt.Sprint(n), at}}
}

// credentialTexts say what is put into, or done with, requests to an endpoint.
func credentialTexts(c *policy.Credentials) []string {
	var list []string
	add := func(on bool, text string) {
		if on {
			list = append(list, text)
		}
	}
	add(c.Provider != "", "bound to provider "+c.Provider)
	signing := "signed with " + c.Signing.Mode
	if c.Signing.Service != "" {
		signing += " for " + c.Signing.Service
	}
	if c.Signing.Region != "" {
		signing += " in " + c.Signing.Region
	}
	add(c.Signing.Mode != "", signing)
	add(c.RewriteMessages, "placeholders in messages are replaced")
	add(c.RewriteBodies, "placeholders in bodies are replaced")
	add(c.AllowUninspected, "allowed on connections that nobody looks into")
	return list
}

func whoText(n *policy.Network, version int) string {
	if n.AnyBinary {
		return "any program"
	}
	var list []string
	for _, b := range n.Binaries {
		text := b.Path
		if b.SHA256 != "" {
			text += " with sha256 " + b.SHA256
		}
		list = append(list, text)
	}
	slices.Sort(list)
	text := strings.Join(slices.Compact(list), ", ")
	if version == 1 || n.Ancestors {
		text += " and what they start"
	}
	return text
}

func middlewareText(m policy.Middleware) string {
	text := m.Key + ": " + m.Implementation + fmt.Sprintf(", order %d", m.Order)
	if m.FailOpen {
		text += ", on_error fail_open"
	}
	for _, l := range []struct {
		word  string
		hosts []string
	}{{"include", selectorTexts(m)[0]}, {"exclude", selectorTexts(m)[1]}} {
		if len(l.hosts) > 0 {
			text += ", " + l.word + " " + strings.Join(l.hosts, " ")
		}
	}
	if len(m.Config) > 0 {
		text += ", config " + fingerprint(m.Config)
	}
	return text
}

func selectorTexts(m policy.Middleware) (out [2][]string) {
	for _, s := range m.Include {
		out[0] = append(out[0], s.String())
	}
	for _, s := range m.Exclude {
		out[1] = append(out[1], s.String())
	}
	return out
}
