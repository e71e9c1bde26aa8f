package policy

import "strings"

// word is one key of the language: what the decoder knows, and what the schema
// and the reference say of it (Language). since is the version XX
type word struct {
	name  string
	since int
	value Shape
	about string // one sentence for people, without the type
}

// Values that many words take.
var (
	aFlag   = Shape{Form: Flag}
	aText   = Shape{Form: Text}
	aSize   = Shape{Form: Size}
	texts   = Shape{Form: List, Of: []Shape{aText}}
	aGlob   = Shape{Form: AnyOf, Of: []Shape{aText, {Form: Mapping, Section: "matcher"}}}
	aPath   = Shape{Form: AnyOf, Of: []Shape{aText, {Form: Mapping, Section: "path", Since: 2}}}
	paths   = Shape{Form: List, Of: []Shape{aPath}}
	aPort   = Shape{Form: Number, Low: 1, High: 65535}
	aCompat = Shape{Form: OneOf, Words: []string{"hard_requirement", "best_effort"}}
	aCount  = Shape{Form: Number, Low: 1, High: 1 << 30}
	aBody   = Shape{Form: Number, Low: 1, High: 1<<31 - 1, Empty: true}
	anAsk   = Shape{Form: OneOf, Words: []string{"deny", "ask"}}
	aVolume = Shape{Form: AnyOf, Of: []Shape{aSize, {Form: Mapping, Section: "volume"}}}
	aLimit  = Shape{Form: Mapping, Section: "limits"}
	anOp    = Shape{Form: OneOf, Words: []string{"query", "mutation", "subscription", "*"}, Empty: true}
	aServer = Shape{Form: Text, Words: []string{"host", "192.0.2.53", "tls://dns.example", "https://dns.example/dns-query"}}
)

// sections is the whole language; a Shape of Form Mapping names one of them.
var sections = []struct {
	name, about string
	words       *[]word
}{
	{"policy", "The document itself.", &documentWords},
	{"filesystem_policy", "The paths of the host that exist in the sandbox. What no list names does not exist there.", &filesystemWords},
	{"workspace", "What becomes of changes to the workspace. The mode alone may be written instead.", &workspaceWords},
	{"path", "A path with its own setting; a text alone is the path.", &pathWords},
	{"landlock", "How strictly the kernel has to enforce the paths.", &landlockWords},
	{"process", "Who the agent is inside.", &processWords},
	{"syscalls", "Groups of system calls that are open or closed otherwise than by default.", &syscallWords},
	{"resources", "Upper bounds of what the sandbox uses.", &resourceWords},
	{"dns", "How the names of allowed connections are looked up, outside. The name server inside asks nobody.", &dnsWords},
	{"network rule", "An entry of `network_policies`: its endpoints may be used by its binaries.", &networkWords},
	{"endpoint", "A destination, and what may be done there.", &endpointWords},
	{"binary", "A program that may use the rule.", &binaryWords},
	{"rule", "An entry of `rules`.", &ruleWords},
	{"request", "What an allow or deny rule says of a request.", &requestWords},
	{"matcher", "Alternatives for one value; a text alone is one glob.", &matcherWords},
	{"params", "Parameters of a call that a rule looks at.", &paramWords},
	{"persisted query", "What a registered hash or id of a GraphQL query stands for.", &persistedWords},
	{"json_rpc", "Settings of protocol json-rpc.", &bodyWords},
	{"mcp", "Settings of protocol mcp.", &mcpWords},
	{"credential_binding", "Whose credential an endpoint is given.", &bindingWords},
	{"limits", "Upper bounds of what rules let through.", &limitWords},
	{"rate", "A number in a time.", &rateWords},
	{"volume", "A size in a time; a size alone counts as long as the sandbox lives.", &volumeWords},
	{"middleware", "An entry of `network_middlewares`.", &middlewareWords},
	{"middleware endpoints", "The hosts that a middleware is applied to.", &selectionWords},
	{"inference", "Where model requests go.", &inferenceWords},
}

// The whole language, section by section (openshell-v1.md §1, design.md §6).
var (
	documentWords = []word{
		{"version", 1, Shape{Form: Number, Low: 1, High: 2, Required: 1},
			"1 is the OpenShell schema, 2 the language with safe defaults and more words."},
		{"extends", 2, texts,
			"Policy files that this one stands on, the top one first. It may tighten freely, and loosen what they open."},
		{"open", 2, texts,
			"Sections, or keys in one (network_policies.team_*), that the policies below may loosen."},
		{"filesystem_policy", 1, Shape{Form: Mapping, Section: "filesystem_policy"},
			"Which paths of the host exist inside, and which of them can be written."},
		{"landlock", 1, Shape{Form: Mapping, Section: "landlock"},
			"What happens when the kernel cannot enforce the paths."},
		{"process", 1, Shape{Form: Mapping, Section: "process"},
			"User and group of the agent."},
		{"syscalls", 2, Shape{Form: Mapping, Section: "syscalls"},
			"Switches of the system call filter."},
		{"resources", 2, Shape{Form: Mapping, Section: "resources"},
			"Memory, processors, processes and files of the sandbox."},
		{"dns", 2, Shape{Form: Mapping, Section: "dns"},
			"Who is asked for the addresses of allowed hosts."},
		{"unmatched", 2, anAsk,
			"What a connection gets that no rule names: deny, or ask an operator. Default: deny."},
		{"limits", 2, aLimit,
			"Upper bounds of all connections together."},
		{"network_policies", 1, Shape{Form: Map, Of: []Shape{{Form: Mapping, Section: "network rule"}}},
			"Named rules. What no rule allows is denied; the name stands in decisions and in the log."},
		{"network_middlewares", 1, Shape{Form: Map, Of: []Shape{{Form: Mapping, Section: "middleware"}}},
			"Named programs that look at allowed requests before they are sent."},
		{"inference", 2, Shape{Form: Mapping, Section: "inference"},
			"Model requests go to this backend, with a key that the agent never holds."},
	}
	filesystemWords = []word{
		{"include_workdir", 1, aFlag,
			"Whether the workspace exists inside and can be written. Without the section it does; in a section without the word it does not."},
		{"read_only", 1, paths,
			"Absolute paths that can be read and executed."},
		{"read_write", 1, paths,
			"Absolute paths that can also be written."},
		{"hidden", 2, paths,
			"Paths that do not exist inside, whatever shows them; relative ones lie in the workspace."},
		{"noexec", 2, texts,
			"Paths in which nothing is executed; relative ones lie in the workspace."},
		{"workspace", 2, Shape{Form: AnyOf, Of: []Shape{{Form: OneOf, Words: workspaceModes[1:]}, {Form: Mapping, Section: "workspace"}}},
			"What becomes of changes to the workspace."},
	}
	workspaceWords = []word{
		{"mode", 2, Shape{Form: OneOf, Words: workspaceModes[1:]},
			"read-write writes into it, copy-on-write keeps changes apart until they are applied, read-only allows none."},
		{"writable_protected", 2, texts,
			"Protected paths that the agent may write: an entry of the list, a folder of entries, or all."},
	}
	pathWords = []word{
		{"path", 2, Shape{Form: Text, Required: 2},
			"The path."},
		{"optional", 2, aFlag,
			"Whether it may be absent; without the word an absent path stops the start."},
	}
	landlockWords = []word{
		{"compatibility", 1, Shape{Form: OneOf, Words: aCompat.Words, Empty: true},
			"hard_requirement stops the start where the kernel cannot enforce the paths, best_effort goes on without. Default: best_effort in version 1, hard_requirement in version 2."},
	}
	processWords = []word{
		{"run_as_user", 1, aText,
			"sandbox, or a quoted number of 1..4294967294; never root."},
		{"run_as_group", 1, aText,
			"The same for the group."},
	}
	// The switches of the system call filter (sandbox/seccomp, Switches).
	syscallWords = []word{
		{"nested_namespaces", 2, aFlag, "Namespaces of its own, as browsers' sandboxes use them. Default: closed."},
		{"io_uring", 2, aFlag, "The io_uring calls. Default: closed."},
		{"ptrace_children", 2, aFlag, "Debuggers on its own processes. Default: closed."},
		{"perf", 2, aFlag, "Performance counters. Default: closed."},
		{"userfaultfd", 2, aFlag, "Page faults handled by a program. Default: closed."},
		{"keyrings", 2, aFlag, "The kernel's key rings. Default: closed."},
		{"unix_datagrams", 2, aFlag, "Datagrams between its own processes. Default: closed."},
		{"memfd_exec", 2, aFlag, "Execution of files that exist in memory alone. Default: open; false closes it."},
	}
	resourceWords = []word{
		{"memory", 2, aSize, "Most memory of all processes together, at least 16M."},
		{"cpu", 2, aSize, "Most processors, with up to three decimals, like 0.5 or 2."},
		{"pids", 2, aSize, "Most processes and threads."},
		{"disk", 2, aSize, "Most bytes in the sandbox's own folders together, and in any single file; at least 1M."},
		{"open_files", 2, aSize, "Most open files of each process, at least 16."},
		{"compatibility", 2, aCompat, "best_effort accepts a host that cannot enforce a limit. Default: hard_requirement."},
	}
	dnsWords = []word{
		{"upstream", 2, aServer,
			"The name server: host is the host's resolver, ADDR[:PORT] one over UDP, tls://NAME one over TLS, https://NAME/PATH one over HTTPS. creel run --resolver goes before it. Default: host."},
		{"hosts", 2, Shape{Form: Map, Of: []Shape{texts}},
			"Addresses of names that nobody is asked for. What rules say of addresses holds for them."},
	}
	networkWords = []word{
		{"name", 1, aText,
			"A name for people; the key if absent."},
		{"endpoints", 1, Shape{Form: List, Of: []Shape{{Form: Mapping, Section: "endpoint"}}},
			"Where the rule allows connections to; any of them may match."},
		{"binaries", 1, Shape{Form: AnyOf, Required: 2, Of: []Shape{
			{Form: OneOf, Words: []string{"any"}, Since: 2},
			{Form: List, Of: []Shape{{Form: AnyOf, Of: []Shape{{Form: Text, Since: 2}, {Form: Mapping, Section: "binary"}}}}},
		}},
			"The programs that may use the rule. Version 2 wants the word: any takes every program, a path alone is an entry."},
		{"ancestors", 2, aFlag,
			"Whether a program counts as well that was started by one of binaries, as in version 1."},
		{"expires_at", 2, aText,
			"The time from which on the rule grants nothing, like 2026-12-31T18:00:00Z."},
		{"max_uses", 2, aCount,
			"How often the rule may be used; all of its endpoints together."},
		{"limits", 2, aLimit,
			"Upper bounds of what goes through the rule."},
		{"unmatched", 2, anAsk,
			"What programs get that the rule does not name."},
	}
	endpointWords = []word{
		{"host", 1, aText,
			"A host name, an address, or a pattern: *.example.com is one label deep, **.example.com any number."},
		{"port", 1, aPort,
			"The port; ports for several."},
		{"ports", 1, Shape{Form: List, Of: []Shape{aPort}},
			"Several ports, instead of port."},
		{"protocol", 1, Shape{Form: OneOf, Words: []string{"rest", "tcp", "websocket", "graphql", "mcp", "json-rpc", "sql", "git", "package", "grpc"}, Empty: true, Fold: true},
			"How far traffic is judged: rest every HTTP request, websocket the handshake and every message of the client, graphql operations, mcp and json-rpc calls, git fetches and pushes, package what is asked of a registry, grpc methods of services (all three version 2); tcp, sql and no protocol the connection alone."},
		{"registry", 2, Shape{Form: OneOf, Words: []string{"cargo", "debian", "go", "npm", "pypi"}, Empty: true},
			"The protocol of a package registry, for protocol package."},
		{"registry_path", 2, aText,
			"The path where the registry begins, if it is not the root of the host."},
		{"path", 1, aText,
			"A path glob: the endpoint answers for requests to these paths alone."},
		{"tls", 1, Shape{Form: OneOf, Words: []string{"auto", "skip", "terminate", "passthrough"}, Empty: true},
			"auto opens TLS where requests are judged, skip passes opaque bytes; terminate and passthrough are old words for auto."},
		{"enforcement", 1, Shape{Form: AnyOf, Of: []Shape{{Form: OneOf, Words: []string{"enforce", "audit"}, Empty: true}, {Form: OneOf, Words: []string{"ask"}, Since: 2}}},
			"What a request gets that no rule allows: enforce denies it, audit forwards and records it, ask asks an operator. Default: audit in version 1, enforce in version 2."},
		{"access", 1, Shape{Form: OneOf, Words: []string{"read-only", "read-write", "full"}, Empty: true},
			"Instead of rules: read-only is GET, HEAD and OPTIONS, read-write adds POST, PUT and PATCH, full is everything."},
		{"rules", 1, Shape{Form: List, Of: []Shape{{Form: Mapping, Section: "rule"}}},
			"The requests that are allowed; one has to match."},
		{"deny_rules", 1, Shape{Form: List, Of: []Shape{{Form: Mapping, Section: "request"}}},
			"Requests that are denied, whatever allows them."},
		{"allowed_ips", 1, texts,
			"Addresses and CIDR ranges that the host has to resolve to; the only way to an internal address. Without host: any name that resolves there."},
		{"allow_encoded_slash", 1, aFlag,
			"Whether %2F may stand inside of a path segment."},
		{"internal_addresses", 2, aFlag,
			"Whether the host may resolve to internal addresses, as version 1 allows for a host that is written out; allowed_ips names them instead."},
		{"models", 2, Shape{Form: OneOf, Words: []string{"deny", "allow"}},
			"Whether requests with the shape of a model protocol may go there: deny leaves them to the inference route. Default: deny."},
		{"websocket_credential_rewrite", 1, aFlag,
			"Whether placeholders in messages of a WebSocket become credentials."},
		{"request_body_credential_rewrite", 1, aFlag,
			"Whether placeholders in request bodies become credentials."},
		{"allow_uninspected_credentials", 1, aFlag,
			"Whether credentials may go over a connection that is not judged."},
		{"persisted_queries", 1, Shape{Form: OneOf, Words: []string{"deny", "allow_registered"}, Empty: true},
			"Whether GraphQL queries that are sent as a hash or id may be used."},
		{"graphql_persisted_queries", 1, Shape{Form: Map, Of: []Shape{{Form: Mapping, Section: "persisted query"}}},
			"What a registered hash or id stands for."},
		{"graphql_max_body_bytes", 1, aBody,
			"Most bytes of a GraphQL request that are read to judge it. Default: 65536."},
		{"credential_signing", 1, Shape{Form: OneOf, Words: []string{"sigv4", "sigv4:body", "sigv4:no_body"}, Empty: true},
			"How requests are signed outside."},
		{"signing_service", 1, Shape{Form: Text, Empty: true},
			"The service that a signature is for."},
		{"signing_region", 1, Shape{Form: Text, Empty: true},
			"The region that a signature is for."},
		{"credential_binding", 1, Shape{Form: Mapping, Section: "credential_binding"},
			"The provider whose credential is used."},
		{"json_rpc", 1, Shape{Form: Mapping, Section: "json_rpc"},
			"Settings of protocol json-rpc."},
		{"mcp", 1, Shape{Form: Mapping, Section: "mcp"},
			"Settings of protocol mcp."},
		{"expires_at", 2, aText,
			"The time from which on the endpoint grants nothing."},
		{"max_uses", 2, aCount,
			"How often the endpoint may be used: requests where they are judged, connections elsewhere."},
		{"limits", 2, aLimit,
			"Upper bounds of what goes through the endpoint."},
		{"unmatched", 2, anAsk,
			"What programs get that the rule does not name, and requests that no rule allows."},
	}
	binaryWords = []word{
		{"path", 1, Shape{Form: Text, Required: 1},
			"The program's absolute path as the sandbox sees it, or a glob: * does not cross /, ** does."},
		{"harness", 1, aFlag,
			"No effect; of older files."},
		{"sha256", 2, aText,
			"Digest of the program's content, 64 hexadecimal digits."},
	}
	ruleWords = []word{
		{"allow", 1, Shape{Form: Mapping, Section: "request", Required: 1},
			"The requests that the rule allows."},
	}
	requestWords = []word{
		{"method", 1, Shape{Form: Text, Words: knownMethods, Empty: true},
			"An HTTP method, or * for all; GET stands for HEAD as well. WEBSOCKET_TEXT is a message of a WebSocket client, a binary one as well; for json-rpc and mcp the method of the call."},
		{"path", 1, Shape{Form: Text, Empty: true},
			"A glob over the path: * does not cross /, ** as a whole component does, ** alone is every path."},
		{"query", 1, Shape{Form: Map, Of: []Shape{aGlob}},
			"Globs for values of query keys. Allow: every key has to be there and all its values match. Deny: one value of each is enough."},
		{"command", 1, Shape{Form: Text, Empty: true},
			"A command of protocol sql."},
		{"operation_type", 1, anOp,
			"Type of a GraphQL operation; * is taken for websocket alone."},
		{"operation_name", 1, Shape{Form: Text, Empty: true},
			"A glob over the name of a GraphQL operation."},
		{"fields", 1, texts,
			"Globs over the root fields of a GraphQL operation. Allow: every field has to match. Deny: one is enough."},
		{"tool", 1, aGlob,
			"A glob over the name of an MCP tool."},
		{"params", 1, Shape{Form: Mapping, Section: "params"},
			"Another way to write tool."},
		{"arguments", 2, Shape{Form: Map, Of: []Shape{aGlob}},
			"Globs for arguments of an MCP tool: * does not cross /. Every one has to be there as text and to match."},
		{"operation", 2, Shape{Form: OneOf, Words: []string{"fetch", "push"}, Empty: true},
			"A Git operation."},
		{"repository", 2, aText,
			"A glob over repositories, like team/app: * does not cross /."},
		{"refs", 2, texts,
			"Globs over the refs that a push may change; without refs/ before them they are branches."},
		{"force", 2, aFlag,
			"Whether a push may leave commits behind. Default: false."},
		{"delete", 2, aFlag,
			"Whether a push may remove refs. Default: false."},
		{"package", 2, aText,
			"A glob over names of packages: * does not cross /."},
		{"versions", 2, texts,
			"Globs over versions; without them every version."},
		{"min_age", 2, aText,
			"How long a version must have been published, like 72h or 7d."},
		{"publish", 2, aFlag,
			"Whether packages may be published, changed and removed. Default: false."},
		{"service", 2, aText,
			"A glob over gRPC services with their package, like acme.v1.Greeter: * does not cross a dot. method is a glob over its methods then."},
	}
	matcherWords = []word{
		{"any", 1, texts,
			"Globs, one of which has to match."},
	}
	paramWords = []word{
		{"name", 1, aGlob,
			"A glob over the name of an MCP tool."},
	}
	persistedWords = []word{
		{"operation_type", 1, Shape{Form: OneOf, Words: anOp.Words[:3], Required: 1, Empty: true},
			"query, mutation or subscription."},
		{"operation_name", 1, Shape{Form: Text, Empty: true},
			"The operation's name."},
		{"fields", 1, texts,
			"Its root fields, by their names."},
	}
	bodyWords = []word{
		{"max_body_bytes", 1, aBody,
			"Most bytes of a request that are read to judge it. Default: 65536."},
	}
	mcpWords = []word{
		{"max_body_bytes", 1, aBody,
			"Most bytes of a request that are read to judge it. Default: 65536."},
		{"strict_tool_names", 1, aFlag,
			"Whether names of tools have to be 1 to 128 letters, digits, and the signs _ - and dot. Default: true."},
		{"allow_all_known_mcp_methods", 1, aFlag,
			"Whether rules may leave the method out, and no rules at all allow every method."},
		{"pins", 2, Shape{Form: Map, Of: []Shape{aText}},
			"SHA-256 of the definition that a tool must have, by the tool's name; any takes every one."},
	}
	bindingWords = []word{
		{"provider", 1, Shape{Form: Text, Required: 1},
			"The name of a provider."},
	}
	limitWords = []word{
		{"connections", 2, Shape{Form: Number, Low: 1, High: 1 << 20},
			"Connections at once; the next one is denied."},
		{"requests", 2, Shape{Form: Mapping, Section: "rate"},
			"Requests that are judged and allowed, in a time."},
		{"bytes_out", 2, aVolume,
			"Bytes from the agent; the connection is cut before one more."},
		{"bytes_in", 2, aVolume,
			"Bytes to the agent; the connection is cut before one more."},
		{"response_types", 2, texts,
			"Media types that responses may have, like application/json or text/*."},
	}
	rateWords = []word{
		{"count", 2, Shape{Form: Number, Low: 1, High: 1 << 30, Required: 2},
			"The number."},
		{"per", 2, Shape{Form: Text, Required: 2},
			"The time: 30s, 1m, 12h, 7d."},
	}
	volumeWords = []word{
		{"size", 2, Shape{Form: Size, Required: 2},
			"The size, like 10M."},
		{"per", 2, Shape{Form: Text, Required: 2},
			"The time: 30s, 1m, 12h, 7d."},
	}
	middlewareWords = []word{
		{"name", 1, Shape{Form: Text, Empty: true},
			"A name for people; the key if absent."},
		{"middleware", 1, Shape{Form: Text, Required: 1},
			"The implementation: creel/secrets, creel/pii, openshell/regex, or a name of creel run --middleware."},
		{"order", 1, Shape{Form: Number, Low: -1 << 31, High: 1<<31 - 1},
			"Its place among the others; no two have the same. Default: 0."},
		{"config", 1, Shape{Form: Map, Of: []Shape{{Form: Anything}}},
			"Settings of the implementation."},
		{"on_error", 1, Shape{Form: OneOf, Words: []string{"fail_closed", "fail_open"}, Empty: true},
			"Whether traffic passes that it could not look at. Default: fail_closed."},
		{"endpoints", 1, Shape{Form: Mapping, Section: "middleware endpoints", Required: 1},
			"The hosts that it is applied to."},
	}
	selectionWords = []word{
		{"include", 1, texts,
			"Host names and patterns, at least one."},
		{"exclude", 1, texts,
			"Those of them that it is not applied to."},
	}
	inferenceWords = []word{
		{"backend", 2, aText,
			"Base URL of the model server."},
		{"key", 2, aText,
			"Where its key is read, outside: env:VAR or file:PATH. The key itself never stands in a policy."},
		{"model", 2, aText,
			"Every request is sent to this model."},
		{"models", 2, Shape{Form: Map, Of: []Shape{aText}},
			"The model that is sent for a model that is asked for."},
		{"hosts", 2, texts,
			"The hosts that are rerouted to the backend, instead of the built-in list."},
		{"add_hosts", 2, texts,
			"Hosts that are rerouted as well."},
		{"remove_hosts", 2, texts,
			"Hosts of the built-in list that are not."},
		{"server_tools", 2, texts,
			"Tools that the model service may run by itself, such as web_search. Without the word: none."},
		{"remote_inputs", 2, aFlag,
			"Whether inputs may be URLs, which the service fetches."},
	}
)

// nearest is the candidate closest to s, or "" if none is close: few edits
// away, or the one whose words contain s or are contained in it.
func nearest(s string, candidates []string) string {
	best, bestDistance := "", len(s)/3+2
	folded := "_" + strings.ReplaceAll(strings.ToLower(s), "-", "_") + "_"
	for _, c := range candidates {
		if word := "_" + strings.ReplaceAll(c, "-", "_") + "_"; len(s) > 2 && (strings.Contains(word, folded) || strings.Contains(folded, word)) {
			best, bestDistance = c, 2
			break
		}
	}
	for _, c := range candidates {
		if d := distance(s, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the number of single-byte edits, swaps of neighbours included,
// from a to b. Long keys are not words of the language, so they are cut off.
func distance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	var rows [3][longest + 1]int
	for j := 0; j <= len(b); j++ {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur, prev, before := &rows[i%3], &rows[(i+2)%3], &rows[(i+1)%3]
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if lower(a[i-1]) == lower(b[j-1]) {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
	}
	return rows[len(a)%3][len(b)]
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
