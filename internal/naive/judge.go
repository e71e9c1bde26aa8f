package naive

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// rule is an endpoint with the network policy that it belongs to.
type rule struct {
	n Network
	e Endpoint
}

// Judge answers a question (appendix A of the reference, and version-2.md).
func Judge(p Policy, q Question) Answer {
	answer := Answer{Layer: "connection"}
	if !isHost(q.Host) || standsForName(q.Host) {
		return answer
	}
	named, asks := false, true
	var hit []rule // in the order in which they are used
	for _, n := range ordered(p) {
		for _, e := range n.Endpoints {
			if !destination(e, q) {
				continue
			}
			named, asks = true, asks && e.Asks
			if caller(n, q) {
				hit = append(hit, rule{n, e})
			}
		}
	}
	if !named {
		asks = p.Unmatched == "ask"
	}
	var used *rule
	answer.SkipTLS = len(hit) > 0
	for i, r := range hit {
		answer.Inspect = answer.Inspect || inspected(r.e)
		answer.SkipTLS = answer.SkipTLS && r.e.SkipTLS
		if ended(r, q) {
			continue
		}
		if used == nil {
			used = &hit[i]
		}
		if !slices.Contains(answer.Policies, r.n.Key) {
			answer.Policies = append(answer.Policies, r.n.Key)
		}
		answer.EncodedSlash = answer.EncodedSlash || inspected(r.e) && r.e.EncodedSlash
		answer.Addresses = wider(answer.Addresses, addresses(r.e))
		if t := ends(r); !t.IsZero() && (answer.Until.IsZero() || t.Before(answer.Until)) {
			answer.Until = t
		}
	}
	if used == nil {
		return Answer{Layer: "connection", Asked: asks && !neverDialled(q.Host)}
	}
	answer.SkipTLS = answer.SkipTLS && !answer.Inspect
	if !answer.Inspect {
		answer.Uses = counts(*used)
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

// ordered are the network policies by name.
func ordered(p Policy) []Network {
	networks := slices.Clone(p.Networks)
	slices.SortStableFunc(networks, func(a, b Network) int { return strings.Compare(a.Key, b.Key) })
	return networks
}

// Limits are the numbers of all limits that a connection, or with a path a
// request on it, falls under.
func Limits(p Policy, q Question) map[int]bool {
	all := map[int]bool{p.Limit: true}
	for _, n := range p.Networks {
		if !caller(n, q) {
			continue
		}
		for _, e := range n.Endpoints {
			if !destination(e, q) {
				continue
			}
			all[n.Limit] = true
			if q.Path == "" || !inspected(e) || SelectorPath(e.Path, q.Path) {
				all[e.Limit] = true
			}
		}
	}
	delete(all, 0)
	return all
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

// caller is A2. In version 2 ancestors count where that is written; a program
// with a digest is the caller itself, because nobody took its ancestors' digests.
func caller(n Network, q Question) bool {
	if q.Relaxed || n.AnyBinary {
		return true
	}
	if !q.KnownCaller || q.Binary == "" {
		return false // Creel: who has no program is unknown, whatever its ancestors
	}
	for _, b := range n.Binaries {
		if b.Digest != "" {
			if b.Digest == q.Digest && program(b.Path, q.Binary) {
				return true
			}
			continue
		}
		programs := []string{q.Binary}
		if n.Ancestors {
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
	case "rest", "websocket", "graphql", "json-rpc", "mcp", "git", "package", "grpc":
		return true
	}
	return false
}

// request is A7: allowed by one endpoint whose path takes it, denied by none.
// The most specific endpoint says how its body was read, and what becomes of
// what no rule allows.
func request(hit []rule, q Question, answer *Answer) {
	if !strings.HasPrefix(q.Path, "/") {
		return // no path that a request has
	}
	var taking []rule
	asks := true
	for _, r := range hit {
		if !inspected(r.e) {
			continue
		}
		asks = asks && r.e.Asks && r.e.Enforcement == "ask"
		if SelectorPath(r.e.Path, q.Path) {
			taking = append(taking, r)
		}
	}
	governs := governing(taking, q)
	if governs == nil {
		answer.Asked = asks
		return
	}
	g := governs.e
	// What it does not read, nobody has read.
	if g.Protocol != "graphql" && !(ofOperations(g) && q.Method == "WEBSOCKET_TEXT") {
		q.GraphQL = nil
	}
	if g.Protocol != "json-rpc" && g.Protocol != "mcp" {
		q.RPC = nil
	}
	if g.Protocol != "git" {
		q.Git = nil
	}
	if g.Protocol != "package" {
		q.Package = nil
	}
	if g.Protocol != "grpc" {
		q.GRPC = nil
	}
	if hardFault(g, q) {
		return // whatever is enforced
	}
	allowed, denied := true, false
	var uses []string
	counted := map[string]bool{} // what the parts that are counted go into
	for _, part := range parts(q) {
		var used *rule
		for i, r := range taking {
			e := r.e
			// Creel: an endpoint denies where it governs, and not only where it grants.
			denied = denied || denies(e, part)
			if !selectorGrants(e.Path, q.Path) {
				continue
			}
			if e.Protocol == "json-rpc" && part.RPC != nil && part.RPC.Response {
				return // an answer to the server is never sent there, whatever is enforced
			}
			allowed = allowed && !refuses(e, part)
			if used == nil && speaksFor(e, g) && allows(e, part) && !ended(r, q) {
				used = &taking[i]
			}
		}
		if used == nil {
			allowed = false
		} else if list := counts(*used); list != nil {
			uses = list
			counted[fmt.Sprint(list, used.n.MaxUses, used.e.MaxUses)] = true
		}
	}
	switch {
	case allowed && !denied:
		answer.Allowed = len(counted) < 2 // one request is one use
		answer.Uses = uses
	case g.Enforcement == "audit" && !ended(*governs, q):
		answer.Allowed, answer.Audited = true, true
		answer.Uses = counts(*governs)
	case g.Enforcement == "ask":
		answer.Asked = !denied
	}
	if !answer.Allowed {
		answer.Uses = nil
	}
}

// governing is the most specific endpoint, also if it ended; of equals the
// strictest, and then one that permits no encoded slash. Of those that forward what
// no rule allows one that has not ended goes first.
func governing(taking []rule, q Question) *rule {
	var best *rule
	strict := func(r rule) int {
		n := map[string]int{"enforce": 6, "ask": 4, "audit": 2}[r.e.Enforcement]
		if r.e.Enforcement == "audit" && ended(r, q) {
			n = 0
		}
		if !r.e.EncodedSlash {
			n++
		}
		return n
	}
	for i, r := range taking {
		if best != nil {
			a, b := Specificity(r.e.Path), Specificity(best.e.Path)
			if a < b || a == b && strict(r) <= strict(*best) {
				continue
			}
		}
		best = &taking[i]
	}
	return best
}

// parts: each call of a batch is a question of its own, and so are the answers,
// each operation, and each ref of a push.
func parts(q Question) []Question {
	var list []Question
	add := func(change func(*Question)) {
		part := q
		change(&part)
		list = append(list, part)
	}
	switch {
	case q.RPC != nil && !q.RPC.ReceiveStream && !q.RPC.EndSession:
		for _, c := range q.RPC.Calls {
			add(func(part *Question) { part.RPC = &RPC{Calls: []Call{c}} })
		}
		if q.RPC.Response {
			add(func(part *Question) { part.RPC = &RPC{Response: true} })
		}
	case q.GraphQL != nil:
		for _, o := range q.GraphQL.Operations {
			add(func(part *Question) { part.GraphQL = &GraphQL{Operations: []Operation{o}} })
		}
	case q.Git != nil && q.Git.Push && !q.Git.Discovery:
		for _, u := range q.Git.Updates {
			add(func(part *Question) {
				g := *q.Git
				g.Updates = []Update{u}
				part.Git = &g
			})
		}
	default:
		list = []Question{q}
	}
	return list
}

// hardFault: what audit does not let through.
func hardFault(governing Endpoint, q Question) bool {
	if strings.Contains(q.Path, "%2F") && !governing.EncodedSlash {
		return true // Creel: the permission is the governing endpoint's
	}
	switch governing.Protocol {
	case "rest":
		return q.Method == "WEBSOCKET_TEXT" // Creel: it opens no WebSocket
	case "graphql":
		return q.Method != "GET" && q.Method != "POST" || q.GraphQL == nil || q.GraphQL.Faulty || len(q.GraphQL.Operations) == 0
	case "websocket":
		if q.Method != "GET" && q.Method != "WEBSOCKET_TEXT" {
			return true // Creel: nothing else opens a WebSocket or is sent on it
		}
		if q.Method == "WEBSOCKET_TEXT" && ofOperations(governing) {
			return q.GraphQL == nil || q.GraphQL.Faulty || len(q.GraphQL.Operations) == 0
		}
	case "git":
		return gitFault(q)
	case "package":
		return packageFault(governing, q)
	case "grpc":
		return grpcFault(q)
	case "json-rpc":
		return q.RPC == nil || q.RPC.Faulty || q.RPC.Response || len(q.RPC.Calls) == 0
	case "mcp":
		if q.RPC == nil || q.RPC.Faulty || len(q.RPC.Calls) == 0 && !q.RPC.Response && !q.RPC.ReceiveStream && !q.RPC.EndSession || q.RPC.EndSession && q.Method != "DELETE" {
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
	case "git":
		return q.Git != nil && gitAllows(e, *q.Git)
	case "package":
		return q.Package != nil && packageAllows(e, *q.Package, q.Now)
	case "grpc":
		return q.GRPC != nil && grpcTakes(e.Allow, *q.GRPC)
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
	case "git":
		return q.Git != nil && gitDenies(e, *q.Git)
	case "package":
		return q.Package != nil && packageDenies(e, *q.Package)
	case "grpc":
		return q.GRPC != nil && grpcTakes(e.Deny, *q.GRPC)
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
// those on its path, also one that ended.
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
