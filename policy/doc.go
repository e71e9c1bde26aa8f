// Package policy is the policy language: it decodes a YAML document strictly,
// reports all faults with their positions, and compiles it into an Engine that
// judges connections and requests. version 1 is the OpenShell schema and means
// the same; version 2 has safe defaults and more words (design.md §6).
//
// It is a leaf: it may import netname, protected and policy/*, and it
// touches no socket; Load and Beside alone read files. Documents and engines are
// immutable after they were made and safe for concurrent use. Zero values
// deny; errors deny.
//
// The way of a document: Parse (decode*.go: words, types, values; lint.go:
// warnings; ambiguity.go: endpoints that contradict each other) → Document →
// Compile → Engine. What a document extends is read and merged in between
// (layers.go: the chain and what is open; merge.go: one layer below another;
// cover.go: is a rule surely no wider). What is judged here and not enforced by the
// egress path is no fault of a document: Unenforced names it, as NotYet, and whoever
// runs a sandbox refuses it. Messages repeat foreign values escaped and
// shortened, and never what could be a secret.
//
// A file per protocol reads its rules (decode_rest.go, decode_websocket.go,
// decode_graphql.go, decode_rpc.go, decode_sql.go), and a file judges them
// (engine.go by method and path, engine_graphql.go, engine_rpc.go). Of the
// endpoints that take a request's path the most specific one governs: its
// protocol says how the request is read (Governing) and judged.
//
// Where version 2 differs from version 1:
//
//   - enforcement is enforce and landlock a hard requirement unless written otherwise;
//   - binaries has to be written; "any" takes every caller, also an unknown one;
//     an entry may be the path alone; ancestors of the caller do not count;
//   - a host by name has to resolve to public addresses, unless allowed_ips says
//     which internal ones;
//   - {path: /x, optional: true} excuses the absence of one path;
//   - {expires_at, max_uses}: a rule that ends takes away and opens nothing (lapse.go);
//     the engine is given the time and the counts, and grants nothing without them;
//   - unmatched and enforcement: ask give the verdict Ask;
//   - limits are no part of a verdict: Engine.Limits says which hold, and whoever
//     acts on the verdict counts;
//   - models: allow lets model calls go to an endpoint itself (models.go);
//   - ancestors and internal_addresses say what version 1 always grants;
//   - rules that can never match are faults, as are protocols in upper case.
//
// In both versions, what would promise a limit that nothing enforces is a fault:
// rules without protocol, tls: skip on an inspected endpoint, deny rules that
// can never fire, unknown values.
//
// Sources: the OpenShell policy schema (github.com/NVIDIA/OpenShell, August 2026), whose
// facts testdata/vectors holds as data.
package policy
