package egress

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/git"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/registry"
)

// maxSays bounds a text of says, in bytes: the log is no place for a message.
const maxSays = 512

// says is what the audit keeps of a message beside method and path: what it asks
// for by name. Arguments, variables and documents are not in it; a denial has of
// them what a rule would name, in its ruleMissing.
// Where the path is not recorded, what was read of it is not, either.
func (x *exchange) says() map[string]string {
	if !x.unsaid {
		return says(&x.request)
	}
	asked := x.request
	asked.Git, asked.Package, asked.GRPC = nil, nil, nil
	return says(&asked)
}

func says(asked *policy.Request) map[string]string {
	m := map[string]string{}
	note := func(key string, list []string) {
		text := strings.Join(list, ", ")
		if len(text) > maxSays {
			text = strings.ToValidUTF8(text[:maxSays], "") + "…"
		}
		if text != "" {
			m[key] = text
		}
	}
	if r := asked.GraphQL; r != nil {
		note("graphql", each(r.Operations, operationText))
	}
	if r := asked.RPC; r != nil {
		note("rpc", append(each(r.Calls, callText), otherText(r)...))
	}
	if r := asked.Git; r != nil {
		note("git", []string{gitText(r)})
	}
	if r := asked.Package; r != nil {
		note("package", []string{packageText(r)})
	}
	if r := asked.GRPC; r != nil {
		note("grpc", []string{r.Service + "/" + r.Method})
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

func each[T any](list []T, text func(T) string) []string {
	var all []string
	for i := 0; i < len(list) && i < maxSays; i++ {
		all = append(all, text(list[i]))
	}
	return all
}

func operationText(op graphql.Operation) string {
	text := strings.TrimSpace(op.Type + " " + op.Name)
	if len(op.Fields) > 0 {
		text += "{" + strings.Join(op.Fields, " ") + "}"
	}
	if op.Hash != "" {
		text += " hash " + op.Hash
	}
	if op.ID != "" {
		text += " id " + op.ID
	}
	return strings.TrimSpace(text)
}

func callText(c jsonrpc.Call) string {
	if c.Tool != "" {
		return c.Method + " " + c.Tool
	}
	return c.Method
}

func gitText(r *git.Request) string {
	text := "fetch " + r.Repository
	switch {
	case r.Push && r.Discovery:
		text = "refs for a push to " + r.Repository
	case r.Push:
		text = "push " + r.Repository
	case r.Discovery:
		text = "refs for a fetch of " + r.Repository
	}
	for i := 0; i < len(r.Updates) && len(text) < maxSays; i++ {
		u := &r.Updates[i]
		text += " " + u.Ref
		switch {
		case u.Delete:
			text += " (deleted)"
		case u.Unproved:
			text += " (not known to be a fast forward)"
		case u.Forced:
			text += " (forced)"
		}
	}
	return text
}

func packageText(r *registry.Request) string {
	text := r.Action.String()
	if r.Name != "" {
		text += " " + r.Name
	}
	if r.Version != "" {
		text += " " + r.Version
	}
	if !r.Published.IsZero() {
		text += " of " + r.Published.UTC().Format(time.RFC3339)
	}
	return text
}

func otherText(r *jsonrpc.Request) []string {
	switch {
	case r.ReceiveStream:
		return []string{"stream"}
	case r.Response:
		return []string{"response"}
	}
	return nil
}

// pending are the calls of a denied request that wait for an answer: their ids as
// the client wrote them.
type pending struct {
	ids   []json.RawMessage
	batch bool
}

// maxPending bounds the calls of one batch that are each told: a denial is some
// 3 KB long.
const maxPending = 64

// pending is nil where nobody waits, or where the calls were not understood.
func (x *exchange) pending() *pending {
	if x.request.RPC == nil || len(x.request.RPC.Calls) == 0 || x.body == nil {
		return nil
	}
	type call struct {
		ID     json.RawMessage `json:"id"`
		Method *string         `json:"method"`
	}
	// The body was read strictly: no second reading of it differs.
	calls := make([]call, 1)
	err := json.Unmarshal(x.body, &calls[0])
	if x.request.RPC.Batch {
		err = json.Unmarshal(x.body, &calls)
	}
	if err != nil {
		return nil
	}
	p := &pending{batch: x.request.RPC.Batch}
	for _, c := range calls {
		if c.Method != nil && c.ID != nil {
			p.ids = append(p.ids, c.ID)
		}
	}
	if len(p.ids) == 0 || len(p.ids) > maxPending {
		return nil
	}
	return p
}

// rpcDenied is the code of an error that says that the policy denies a call. It
// is outside of the range that JSON-RPC and MCP keep for themselves.
const rpcDenied = 403

// answer is a denial as JSON-RPC has it: an error for each call that waits. It
// goes with status 200, because clients of MCP take other statuses for faults of
// the transport, and some never tell who made the call. body is the denial as
// every other client gets it.
func (p *pending) answer(d *denial, body []byte) []byte {
	type failure struct {
		Code    int             `json:"code"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	type message struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   failure         `json:"error"`
	}
	f := failure{Code: rpcDenied, Message: fmt.Sprintf("denied by the policy of this sandbox: %s. %s", d.reason, guidance), Data: body}
	var out any
	list := make([]message, len(p.ids))
	for i, id := range p.ids {
		list[i] = message{"2.0", id, f}
	}
	if out = list[0]; p.batch {
		out = list
	}
	b, err := json.Marshal(out)
	if err != nil { // ids and body are JSON: cannot be
		return body
	}
	return append(b, '\n')
}
