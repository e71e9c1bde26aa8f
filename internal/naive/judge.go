package naive

import (
	"path"
	"slices"
	"strings"
)

// Judge answers a question (appendix A of the reference).
func Judge(p Policy, q Question) Answer {
	answer := Answer{Layer: "connection"}
	var hit []Endpoint
	networks := slices.Clone(p.Networks)
	slices.SortFunc(networks, func(a, b Network) int { return strings.Compare(a.Key, b.Key) })
	for _, n := range networks {
		if !caller(p, n, q) {
			continue
		}
		found := false
		for _, e := range n.Endpoints {
			if destination(e, q) {
				found = true
				hit = append(hit, e)
			}
		}
		if found {
			answer.Policies = append(answer.Policies, n.Key)
		}
	}
	if len(hit) == 0 {
		return answer
	}
	for _, e := range hit {
		answer.Inspect = answer.Inspect || inspected(e)
		answer.SkipTLS = answer.SkipTLS || e.SkipTLS
		answer.EncodedSlash = answer.EncodedSlash || e.EncodedSlash
	}
	if q.Method == "" || !answer.Inspect {
		answer.Allowed, answer.Layer = true, ""
		return answer
	}
	answer.Layer = "request"
	request(hit, q, &answer)
	if answer.Allowed {
		answer.Layer = ""
	}
	return answer
}

// destination is A1.
func destination(e Endpoint, q Question) bool {
	if !slices.Contains(e.Ports, q.Port) {
		return false
	}
	if e.Host == "" {
		return e.AllowedIPs && isHost(q.Host)
	}
	return HostTaken(e.Host, q.Host)
}

// caller is A2. In version 2 ancestors grant nothing.
func caller(p Policy, n Network, q Question) bool {
	if q.Relaxed || n.AnyBinary {
		return true
	}
	if !q.KnownCaller || q.Binary == "" {
		return false // Creel: who has no program is unknown, whatever its ancestors
	}
	for _, b := range n.Binaries {
		if b.Digest != "" && b.Digest != q.Digest {
			continue
		}
		programs := []string{q.Binary}
		if p.Version == 1 {
			programs = append(programs, q.Ancestors...)
		}
		for _, name := range programs {
			if program(b.Path, name) {
				return true
			}
		}
	}
	return false
}

func program(pattern, name string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == name
	}
	// Creel: a name with "..", "." or "//" is none that the kernel gives, and a
	// glob would judge it by the wrong folder.
	if !path.IsAbs(name) || path.Clean(name) != name {
		return false
	}
	ok, err := Glob(pattern, name, '/')
	return ok && err == nil
}

// inspected: requests are judged. SQL is not read, so its connections are all there is.
func inspected(e Endpoint) bool {
	switch e.Protocol {
	case "rest", "websocket", "graphql", "json-rpc", "mcp":
		return true
	}
	return false
}

// request is A7: allowed by one endpoint whose path takes it, denied by none.
// The most specific endpoint says how its body was read, and whether a denial
// is enforced.
func request(hit []Endpoint, q Question, answer *Answer) {
	if !strings.HasPrefix(q.Path, "/") {
		return // no path that a request has
	}
	var taking []Endpoint
	var selectors []string
	for _, e := range hit {
		if inspected(e) && SelectorPath(e.Path, q.Path) {
			taking = append(taking, e)
			selectors = append(selectors, e.Path)
		}
	}
	if len(taking) == 0 {
		return
	}
	governing := taking[Choose(selectors, q.Path)]
	// What it does not read, nobody has read.
	if governing.Protocol != "graphql" && !(ofOperations(governing) && q.Method == "WEBSOCKET_TEXT") {
		q.GraphQL = nil
	}
	if governing.Protocol != "json-rpc" && governing.Protocol != "mcp" {
		q.RPC = nil
	}
	if hardFault(governing, q) {
		return // whatever is enforced
	}
	allowed, denied := true, false
	for _, part := range parts(q) {
		taken := false
		for _, e := range taking {
			// Creel: an endpoint denies where it governs, and not only where it grants.
			denied = denied || denies(e, part)
			if !selectorGrants(e.Path, q.Path) {
				continue
			}
			if e.Protocol == "json-rpc" && part.RPC != nil && part.RPC.Response {
				return // an answer to the server is never sent there, whatever is enforced
			}
			denied = denied || refuses(e, part)
			taken = taken || speaksFor(e, governing) && allows(e, part)
		}
		allowed = allowed && taken
	}
	if allowed && !denied {
		answer.Allowed = true
		return
	}
	answer.Allowed = !governing.Enforced
	answer.Audited = answer.Allowed
}

// parts: each call of a batch is a question of its own, and so are the answers.
func parts(q Question) []Question {
	if q.RPC == nil || q.RPC.ReceiveStream {
		return []Question{q}
	}
	var list []Question
	for _, c := range q.RPC.Calls {
		part := q
		part.RPC = &RPC{Calls: []Call{c}}
		list = append(list, part)
	}
	if q.RPC.Response {
		part := q
		part.RPC = &RPC{Response: true}
		list = append(list, part)
	}
	return list
}

// hardFault: what audit does not let through.
func hardFault(governing Endpoint, q Question) bool {
	if strings.Contains(q.Path, "%2F") && !governing.EncodedSlash {
		return true // Creel: the permission is the governing endpoint's
	}
	switch governing.Protocol {
	case "graphql":
		return q.Method != "GET" && q.Method != "POST" || q.GraphQL == nil || q.GraphQL.Faulty || len(q.GraphQL.Operations) == 0
	case "websocket":
		if q.Method != "GET" && q.Method != "WEBSOCKET_TEXT" {
			return true // Creel: nothing else opens a WebSocket or is sent on it
		}
		if q.Method == "WEBSOCKET_TEXT" && ofOperations(governing) {
			return q.GraphQL == nil || q.GraphQL.Faulty || len(q.GraphQL.Operations) == 0
		}
	case "json-rpc":
		return q.RPC == nil || q.RPC.Faulty || q.RPC.Response || len(q.RPC.Calls) == 0
	case "mcp":
		if q.RPC == nil || q.RPC.Faulty || len(q.RPC.Calls) == 0 && !q.RPC.Response && !q.RPC.ReceiveStream {
			return true
		}
		for _, c := range q.RPC.Calls {
			if c.Method == "tools/call" && !toolName(c.Tool, governing.LooseToolNames) {
				return true // Creel: by its tool it cannot be judged
			}
		}
	}
	return false
}

// ofOperations: the messages of a websocket endpoint are GraphQL.
func ofOperations(e Endpoint) bool {
	if e.Protocol != "websocket" {
		return false
	}
	for _, r := range append(slices.Clone(e.Allow), e.Deny...) {
		if r.OperationType != "" || r.OperationName != "" || len(r.Fields) > 0 {
			return true
		}
	}
	return e.Registered || len(e.Registry) > 0
}

// asksOperations: the request is one of GraphQL operations to this endpoint.
func asksOperations(e Endpoint, q Question) bool {
	return e.Protocol == "graphql" || e.Protocol == "websocket" && q.GraphQL != nil
}

// toolName: strict names are of letters, digits, "_", "-" and ".", at most 128.
func toolName(name string, loose bool) bool {
	if name == "" || loose {
		return name != ""
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
		default:
			return false
		}
	}
	return len(name) <= 128
}

// speaksFor: whether an endpoint's allow rules count where another one governs.
// A7 unites them all. Creel: what a request of one protocol may do is not for
// endpoints of another to say.
func speaksFor(e, governing Endpoint) bool { return e.Protocol == governing.Protocol }

// allows is A8.
func allows(e Endpoint, q Question) bool {
	switch e.Protocol {
	case "json-rpc", "mcp":
		return rpcAllows(e, q)
	}
	if asksOperations(e, q) {
		// A8 would also take a rule by method and path. Creel: an operation is
		// for the rules about operations alone.
		return q.GraphQL != nil && graphqlAllows(e, *q.GraphQL)
	}
	for _, r := range rulesOf(e) {
		if httpMatches(r, q) && QueryAllows(r.Query, q.Query) {
			return true
		}
	}
	return false
}

// denies is A9: a deny rule takes the request.
func denies(e Endpoint, q Question) bool {
	switch e.Protocol {
	case "json-rpc", "mcp":
		return rpcDenies(e, q)
	}
	if q.GraphQL != nil && graphqlDenies(e, *q.GraphQL) {
		return true
	}
	for _, r := range e.Deny {
		if httpMatches(r, q) && QueryDenies(r.Query, q.Query) {
			return true
		}
	}
	return false
}

// refuses is the rest of A9: an endpoint of operations has the last word about
// those on its path.
func refuses(e Endpoint, q Question) bool {
	return q.GraphQL != nil && (e.Protocol == "graphql" || e.Protocol == "websocket") && !allows(e, q)
}

// httpMatches: a rule without method or path takes nothing. HEAD counts as GET.
func httpMatches(r Rule, q Question) bool {
	if r.Method == "" || r.Path == "" {
		return false
	}
	asked, written := strings.ToUpper(q.Method), strings.ToUpper(r.Method)
	if written != "*" && written != asked && !(written == "GET" && asked == "HEAD") {
		return false
	}
	if r.Path == "**" {
		return true
	}
	ok, err := Glob(r.Path, q.Path, '/')
	return ok && err == nil
}

// rulesOf are the allow rules, or those that access stands for.
func rulesOf(e Endpoint) []Rule {
	var methods, operations []string
	switch e.Access {
	case "":
		return e.Allow
	case "read-only":
		methods, operations = []string{"GET", "HEAD", "OPTIONS"}, []string{"query"}
	case "read-write":
		methods, operations = []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"}, []string{"query", "mutation"}
	case "full":
		methods, operations = []string{"*"}, []string{"*"}
	}
	var rules []Rule
	switch e.Protocol {
	case "rest", "sql":
	case "websocket":
		methods = map[string][]string{"read-only": {"GET"}, "read-write": {"GET", "WEBSOCKET_TEXT"}, "full": {"*"}}[e.Access]
	case "graphql":
		for _, o := range operations {
			rules = append(rules, Rule{OperationType: o})
		}
		return rules
	default:
		return nil
	}
	for _, m := range methods {
		rules = append(rules, Rule{Method: m, Path: "**"})
	}
	return rules
}
