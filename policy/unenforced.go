package policy

import "strconv"

// Unenforced names everything in a document that the egress path of this build
// does not enforce: each a fault of kind NotYet with its position. Parse
// accepts such a document and Compile makes an engine that judges it; whoever
// runs a sandbox has to refuse it, because what looks enforced has to be.
func Unenforced(doc *Document) Faults {
	var f Faults
	if doc == nil {
		return nil
	}
	for i := range doc.Networks {
		n := &doc.Networks[i]
		at := pathKey("network_policies", n.Key)
		for j := range n.Endpoints {
			f = append(f, n.Endpoints[j].unenforced(pathIndex(at+".endpoints", j))...)
		}
	}
	return sortFaults(f)
}

func notYet(at Position, path, what, hint string) Fault {
	return Fault{At: at, Path: path, Kind: NotYet, Found: what, Hint: hint}
}

// unenforcedKeys are the keys of an endpoint, beside protocol, that nothing
// enforces yet, each with what an endpoint that asks for it has.
var unenforcedKeys = []struct {
	key  string
	asks func(e *Endpoint) bool
}{
	{"websocket_credential_rewrite", func(e *Endpoint) bool { return e.Credentials.RewriteMessages }},
	{"request_body_credential_rewrite", func(e *Endpoint) bool { return e.Credentials.RewriteBodies }},
	{"allow_uninspected_credentials", func(e *Endpoint) bool { return e.Credentials.AllowUninspected }},
	{"credential_signing", func(e *Endpoint) bool { return e.Credentials.Signing.Mode != "" }},
	{"signing_service", func(e *Endpoint) bool { return e.Credentials.Signing.Service != "" }},
	{"signing_region", func(e *Endpoint) bool { return e.Credentials.Signing.Region != "" }},
	{"credential_binding", func(e *Endpoint) bool { return e.Credentials.Provider != "" }},
}

func (e *Endpoint) unenforced(path string) Faults {
	var f Faults
	add := func(key, what, hint string) {
		at, ok := e.KeyAt[key]
		if !ok {
			at = e.At // of a document that was not parsed
		}
		f = append(f, notYet(at, path+"."+key, what, hint))
	}
	switch e.Protocol {
	case L4, TCP, REST, WebSocket, GraphQL, JSONRPC, MCP, Git, Package, GRPC:
	default:
		hint := "use rest, which judges method and path, or no protocol, which judges the connection alone"
		if e.Protocol == SQL {
			hint = "write protocol: tcp; sql would not be inspected either"
		}
		add("protocol", "protocol: "+string(e.Protocol), hint)
	}
	for _, k := range unenforcedKeys {
		if _, written := e.KeyAt[k.key]; written || k.asks(e) {
			add(k.key, "the key "+strconv.Quote(k.key), "remove it if the rest is enough without it")
		}
	}
	return f
}
