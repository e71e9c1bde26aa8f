package policy

import "strings"

// word is one key of the language. since is the version that brought it; a
// word that is not built is known, so that its fault says "not yet" and not
// "unknown".
type word struct {
	name  string
	since int
	built bool
}

// The whole language, section by section (openshell-v1.md §1, design.md §6).
var (
	documentWords = []word{
		{"version", 1, true},
		{"filesystem_policy", 1, true},
		{"landlock", 1, true},
		{"process", 1, true},
		{"network_policies", 1, true},
		{"network_middlewares", 1, true},
		{"inference", 2, true},
		{"extends", 2, true},
		{"open", 2, true},
		{"unmatched", 2, true},
		{"limits", 2, true},
		{"resources", 2, true},
		{"syscalls", 2, true},
		{"dns", 2, false},
	}
	filesystemWords = []word{
		{"include_workdir", 1, true},
		{"read_only", 1, true},
		{"read_write", 1, true},
		{"hidden", 2, true},
		{"noexec", 2, true},
		{"workspace", 2, true},
	}
	workspaceWords = []word{
		{"mode", 2, true},
		{"writable_protected", 2, true},
	}
	pathWords = []word{
		{"path", 2, true},
		{"optional", 2, true},
	}
	landlockWords = []word{
		{"compatibility", 1, true},
	}
	processWords = []word{
		{"run_as_user", 1, true},
		{"run_as_group", 1, true},
	}
	// The switches of the system call filter (sandbox/seccomp, Switches).
	syscallWords = []word{
		{"nested_namespaces", 2, true},
		{"io_uring", 2, true},
		{"ptrace_children", 2, true},
		{"perf", 2, true},
		{"userfaultfd", 2, true},
		{"keyrings", 2, true},
		{"unix_datagrams", 2, true},
		{"memfd_exec", 2, true},
	}
	resourceWords = []word{
		{"memory", 2, true},
		{"cpu", 2, true},
		{"pids", 2, true},
		{"disk", 2, true},
		{"open_files", 2, true},
		{"compatibility", 2, true},
	}
	networkWords = []word{
		{"name", 1, true},
		{"endpoints", 1, true},
		{"binaries", 1, true},
		{"ancestors", 2, true},
		{"expires_at", 2, true},
		{"max_uses", 2, true},
		{"limits", 2, true},
		{"unmatched", 2, true},
	}
	endpointWords = []word{
		{"host", 1, true},
		{"port", 1, true},
		{"ports", 1, true},
		{"protocol", 1, true},
		{"path", 1, true},
		{"tls", 1, true},
		{"enforcement", 1, true},
		{"access", 1, true},
		{"rules", 1, true},
		{"deny_rules", 1, true},
		{"allowed_ips", 1, true},
		{"allow_encoded_slash", 1, true},
		{"internal_addresses", 2, true},
		{"websocket_credential_rewrite", 1, true},
		{"request_body_credential_rewrite", 1, true},
		{"allow_uninspected_credentials", 1, true},
		{"persisted_queries", 1, true},
		{"graphql_persisted_queries", 1, true},
		{"graphql_max_body_bytes", 1, true},
		{"credential_signing", 1, true},
		{"signing_service", 1, true},
		{"signing_region", 1, true},
		{"credential_binding", 1, true},
		{"json_rpc", 1, true},
		{"mcp", 1, true},
		{"expires_at", 2, true},
		{"max_uses", 2, true},
		{"limits", 2, true},
		{"unmatched", 2, true},
	}
	limitWords = []word{
		{"connections", 2, true},
		{"requests", 2, true},
		{"bytes_out", 2, true},
		{"bytes_in", 2, true},
		{"response_types", 2, true},
	}
	binaryWords = []word{
		{"path", 1, true},
		{"harness", 1, true},
		{"sha256", 2, true},
	}
	ruleWords = []word{
		{"allow", 1, true},
	}
	requestWords = []word{
		{"method", 1, true},
		{"path", 1, true},
		{"query", 1, true},
		{"command", 1, true},
		{"operation_type", 1, true},
		{"operation_name", 1, true},
		{"fields", 1, true},
		{"tool", 1, true},
		{"params", 1, true},
	}
	matcherWords = []word{
		{"any", 1, true},
	}
	paramWords = []word{
		{"name", 1, true},
	}
	persistedWords = []word{
		{"operation_type", 1, true},
		{"operation_name", 1, true},
		{"fields", 1, true},
	}
	bodyWords = []word{
		{"max_body_bytes", 1, true},
	}
	mcpWords = []word{
		{"max_body_bytes", 1, true},
		{"strict_tool_names", 1, true},
		{"allow_all_known_mcp_methods", 1, true},
	}
	bindingWords = []word{
		{"provider", 1, true},
	}
	middlewareWords = []word{
		{"name", 1, true},
		{"middleware", 1, true},
		{"order", 1, true},
		{"config", 1, true},
		{"on_error", 1, true},
		{"endpoints", 1, true},
	}
	selectionWords = []word{
		{"include", 1, true},
		{"exclude", 1, true},
	}
	inferenceWords = []word{
		{"backend", 2, true},
		{"key", 2, true},
		{"model", 2, true},
		{"models", 2, true},
		{"hosts", 2, true},
		{"add_hosts", 2, true},
		{"remove_hosts", 2, true},
		{"server_tools", 2, true},
		{"remote_inputs", 2, true},
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
