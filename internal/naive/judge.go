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
	if hardFault(governing, q) {
		return // whatever is enforced
	}
	allowed, denied := false, false
	for _, e := range taking {
		// Of another protocol's endpoints the deny rules alone count.
		allowed = allowed || e.Protocol == governing.Protocol && SelectorGrants(e.Path, q.Path) && allows(e, q)
		denied = denied || denies(e, q)
	}
	if allowed && !denied {
		answer.Allowed = true
		return
	}
	answer.Allowed = !governing.Enforced
	answer.Audited = answer.Allowed
}

// hardFault: what audit does not let through. The methods are Creel's own
// reading: what is no way to send an operation, or to open a WebSocket, is refused.
func hardFault(governing Endpoint, q Question) bool {
	method := strings.ToUpper(q.Method)
	switch governing.Protocol {
	case "graphql":
		return method != "GET" && method != "POST" || q.GraphQL == nil || q.GraphQL.Faulty || len(q.GraphQL.Operations) == 0
	case "websocket":
		if method == "WEBSOCKET_TEXT" && ofOperations(governing) && (q.GraphQL == nil || len(q.GraphQL.Operations) == 0) {
			return true
		}
		return method != "GET" && method != "WEBSOCKET_TEXT" || q.GraphQL != nil && q.GraphQL.Faulty
	case "json-rpc":
		return q.RPC == nil || q.RPC.Faulty || q.RPC.Response || q.RPC.ReceiveStream || len(q.RPC.Calls) == 0
	case "mcp":
		if q.RPC == nil || q.RPC.Faulty {
			return true
		}
		if q.RPC.ReceiveStream {
			return method != "GET"
		}
		return len(q.RPC.Calls) == 0 && !q.RPC.Response
	}
	return false
}

// ofOperations: the text messages of a WebSocket endpoint are GraphQL operations.
func ofOperations(e Endpoint) bool {
	for _, r := range append(append([]Rule{}, e.Allow...), e.Deny...) {
		if r.OperationType != "" || r.OperationName != "" || len(r.Fields) > 0 {
			return true
		}
	}
	return e.Registered || len(e.Registry) > 0
}

// allows is A8.
func allows(e Endpoint, q Question) bool {
	switch e.Protocol {
	case "json-rpc", "mcp":
		return rpcAllows(e, q)
	case "graphql", "websocket":
		if q.GraphQL != nil && graphqlAllows(e, *q.GraphQL) {
			return true
		}
		if q.GraphQL != nil && e.Protocol == "graphql" {
			return false
		}
	}
	for _, r := range rulesOf(e) {
		if httpMatches(r, q) && QueryAllows(r.Query, q.Query) {
			return true
		}
	}
	return false
}

// denies is A9.
func denies(e Endpoint, q Question) bool {
	switch e.Protocol {
	case "json-rpc", "mcp":
		return rpcDenies(e, q)
	case "graphql", "websocket":
		if q.GraphQL != nil && (graphqlDenies(e, *q.GraphQL) || !allows(e, q)) {
			return true
		}
	}
	for _, r := range e.Deny {
		if httpMatches(r, q) && QueryDenies(r.Query, q.Query) {
			return true
		}
	}
	return false
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
