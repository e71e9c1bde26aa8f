package analyse

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/git"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/grpc"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/registry"
	"github.com/creel-run/creel/policy/target"
)

// Witness is one concrete connection or request.
type Witness struct {
	Traffic   Traffic  `json:"traffic"`
	Host      string   `json:"host"`
	Port      uint16   `json:"port"`
	Known     bool     `json:"known_caller"`
	Binary    string   `json:"binary,omitempty"`
	Ancestors []string `json:"ancestors,omitempty"`
	SHA256    string   `json:"sha256,omitempty"`
	Method    string   `json:"method,omitempty"`
	Path      string   `json:"path,omitempty"`    // with its query, as it goes over the wire
	Address   string   `json:"address,omitempty"` // that the host resolves to, where that matters

	// What the request holds, in the words of creel policy test.
	GraphQL   []string `json:"graphql,omitempty"` // TYPE:FIELD,FIELD, hash:KEY or id:KEY; several are a batch
	Operation string   `json:"operation,omitempty"`
	RPC       []string `json:"rpc_method,omitempty"`
	Tool      string   `json:"tool,omitempty"`
	// Arguments of the tool, all of them text, by name.
	Arguments map[string]string `json:"arguments,omitempty"`
	Response  bool              `json:"response,omitempty"` // to the server, of MCP
	Stream    bool              `json:"stream,omitempty"`   // the request opens MCP's stream from the server
	Ends      bool              `json:"ends,omitempty"`     // the request ends a session of MCP
	GRPC      bool              `json:"grpc,omitempty"`     // the request is a gRPC call of the method that its path names
	Refs      []string          `json:"ref,omitempty"`      // that a Git push changes
	Force     bool              `json:"force,omitempty"`
	Delete    bool              `json:"delete,omitempty"`
	Text      bool              `json:"text,omitempty"`     // a text message of a WebSocket that was opened with the path
	Published time.Time         `json:"published,omitzero"` // the package's version; zero: not known
	At        time.Time         `json:"at,omitzero"`        // when it is judged, where that matters
}

// String is the witness on one line.
func (w Witness) String() string {
	who := "a program that is not known"
	if w.Known {
		who = w.Binary
		if w.SHA256 != "" {
			who += " (sha256 " + w.SHA256[:min(12, len(w.SHA256))] + "…)"
		}
		for _, a := range w.Ancestors {
			who += ", started by " + a
		}
	}
	what := ""
	switch w.Traffic {
	case HTTP:
		what = " " + w.request()
	case Bound:
		what = " a request with a credential that is bound to the host"
	case Bytes:
		what = " any bytes"
	case Opaque:
		what = " TLS with any server name"
	}
	if w.Address != "" {
		what += " at address " + w.Address
	}
	if !w.At.IsZero() {
		what += " at " + w.At.UTC().Format(time.RFC3339)
	}
	host := w.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s → %s:%d%s", who, host, w.Port, what)
}

// request is what is sent, in words.
func (w Witness) request() string {
	text := w.Method + " " + w.Path
	if w.Text {
		text = "text message on " + w.Path
	}
	if len(w.GraphQL) > 0 {
		text += " with " + strings.Join(w.GraphQL, " and ")
		if w.Operation != "" {
			text += " named " + w.Operation
		}
	}
	if len(w.RPC) > 0 {
		text += " calling " + strings.Join(w.RPC, " and ")
		if w.Tool != "" {
			text += " of tool " + w.Tool
			for i, name := range slices.Sorted(maps.Keys(w.Arguments)) {
				text += []string{" with ", " and "}[min(i, 1)] + name + "=" + strconv.Quote(w.Arguments[name])
			}
		}
	}
	switch {
	case w.Response:
		text += " with a response to the server"
	case w.Stream:
		text += " for the server's stream"
	case w.Ends:
		text += " to end the session"
	case w.GRPC:
		text += " as a gRPC call"
	}
	if len(w.Refs) > 0 {
		how := "changing"
		switch {
		case w.Delete:
			how = "deleting"
		case w.Force:
			how = "forcing"
		}
		text += " " + how + " " + strings.Join(w.Refs, " and ")
	}
	if !w.Published.IsZero() {
		text += " published " + w.Published.UTC().Format(time.RFC3339)
	}
	return text
}

// connection is the witness as the engine takes it.
func (w Witness) connection() (policy.Connection, error) {
	h, err := netname.ParseHost(w.Host)
	if err != nil {
		return policy.Connection{}, err
	}
	return policy.Connection{
		Host: h, Port: w.Port, Binary: w.Binary, Ancestors: w.Ancestors, KnownCaller: w.Known, SHA256: w.SHA256,
		Now: w.now(), Uses: new(policy.Uses), // nothing was used before
	}, nil
}

// now is a time for rules that end; where none does, any is as good.
func (w Witness) now() time.Time {
	if w.At.IsZero() {
		return anyTime
	}
	return w.At
}

// anyTime stands for every time where no rule tells times apart.
var anyTime = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// asked is the witness's request as a reader of messages gives it.
func (w Witness) asked(e *policy.Engine, c policy.Connection, t target.Target) policy.Request {
	r := policy.Request{Connection: c, Method: w.Method, Target: t, Text: w.Text}
	for _, text := range w.GraphQL {
		o := graphql.Operation{Name: w.Operation}
		switch kind, rest, _ := strings.Cut(text, ":"); kind {
		case "hash":
			o.Hash = rest
		case "id":
			o.ID = rest
		default:
			o.Type, o.Fields = kind, strings.Split(rest, ",")
		}
		if r.GraphQL == nil {
			r.GraphQL = &graphql.Request{}
		}
		r.GraphQL.Operations = append(r.GraphQL.Operations, o)
	}
	governs := e.Governing(c, t.Path)
	if len(w.RPC) > 0 || w.Response || w.Stream || w.Ends {
		r.RPC = &jsonrpc.Request{Response: w.Response, ReceiveStream: w.Stream, EndSession: w.Ends, Batch: len(w.RPC) > 1}
		for _, m := range w.RPC {
			one := jsonrpc.Call{Method: m}
			if m == toolsCall && governs != nil && governs.Protocol == policy.MCP {
				one.Tool, one.Arguments = w.Tool, jsonrpc.TextArguments(w.Arguments) // another reader does not look for them
			}
			r.RPC.Calls = append(r.RPC.Calls, one)
		}
	}
	if governs == nil || w.Text {
		return r
	}
	switch method := strings.ToUpper(w.Method); governs.Protocol {
	case policy.Git:
		g, err := git.ParseTarget(method, t.Path, t.Query)
		if err != nil {
			break
		}
		for _, ref := range w.Refs {
			g.Updates = append(g.Updates, git.Update{Ref: ref, Forced: w.Force, Delete: w.Delete})
		}
		r.Git = g
	case policy.GRPC:
		if g, err := grpc.Parse(method, t.Path, t.HasQuery); err == nil && w.GRPC {
			r.GRPC = &g
		}
	case policy.Package:
		p, err := registry.Parse(governs.Registry, governs.RegistryPath, method, t.Path)
		if err != nil {
			break
		}
		p.Published = w.Published
		r.Package = p
	}
	return r
}

// Judge asks an engine about a witness, as the egress would.
func Judge(e *policy.Engine, w Witness) (Grant, error) {
	c, err := w.connection()
	if err != nil {
		return Denied, err
	}
	d := e.Connect(c)
	if d.Verdict != policy.Allow {
		return Denied, nil
	}
	if w.Address != "" {
		addr, err := netip.ParseAddr(w.Address)
		if err != nil {
			return Denied, err
		}
		if d.Destination.Check(c.Host, c.Port, []netip.Addr{addr}) != nil {
			return Denied, nil
		}
	}
	switch {
	case w.Traffic == Bytes && d.Inspect, w.Traffic == Opaque && (d.Inspect || !d.SkipTLS):
		return Denied, nil
	case w.Traffic != HTTP || !d.Inspect:
		return Allowed, nil
	}
	t, err := target.Parse(w.Path, d.AllowEncodedSlash)
	if err != nil {
		return Denied, nil // the egress refuses it
	}
	r := e.Request(w.asked(e, c, t))
	switch {
	case r.Verdict != policy.Allow:
		return Denied, nil
	case r.Audited:
		return Audited, nil
	}
	return Allowed, nil
}

// witness makes an example of a place, a caller and, with one, a request.
func (c *cell) witness(at place, who *caller, t Traffic, q *request) Witness {
	w := Witness{Traffic: t, Host: at.host.witness.String(), Port: at.ports[0], Known: who.known, At: c.at}
	if w.Port == anyPort {
		w.Port = freePort(at)
	}
	if who.known {
		w.Binary = c.who.classes.List[who.program].Witness
		w.SHA256 = who.sha256
		for _, a := range who.ancestors {
			w.Ancestors = append(w.Ancestors, c.who.classes.List[a].Witness)
		}
	}
	if q == nil {
		return w
	}
	w.Method = c.requests.methods[q.method].example(c.requests.methods)
	if w.Method == textMethod {
		w.Method, w.Text = "", true
	}
	w.Path = c.requests.classes.List[q.path].Witness
	var pairs []string
	add := func(key, value string) {
		pairs = append(pairs, url.QueryEscape(key)+"="+url.QueryEscape(value))
	}
	if q.message == nil || q.message.query == nil {
		for i, v := range c.requests.byPlace[[2]int{q.path, q.method}].keys {
			for _, value := range q.query[i].example {
				add(v.key, value)
			}
		}
	}
	if q.message != nil {
		if q.message.path != "" {
			w.Path = q.message.path
		}
		for key, values := range q.message.query {
			for _, value := range values {
				add(key, value)
			}
		}
		if q.message.other {
			add("other", "x")
		}
		w.hold(q.message)
	}
	if len(pairs) > 0 {
		w.Path += "?" + strings.Join(pairs, "&")
	}
	return w
}

// hold makes the witness one with a message.
func (w *Witness) hold(m *message) {
	switch m.form {
	case operation:
		w.GraphQL, w.Operation = []string{m.kind + ":" + strings.Join(m.fields, ",")}, m.name
	case stored:
		w.GraphQL = []string{"hash:" + m.key}
	case call:
		w.RPC, w.Tool, w.Arguments = []string{m.method}, m.tool, m.texts
	case answer:
		w.Response = true
	case stream:
		w.Stream = true
	case ending:
		w.Ends = true
	case called:
		w.GRPC = true
	case push:
		if m.ref != "" {
			w.Refs, w.Force, w.Delete = []string{m.ref}, m.forced, m.delete
		}
	case unread, fetch, packaged:
	}
	if m.ageKnown {
		w.Published = w.now().Add(-m.age)
	}
}

// freePort is a port that no endpoint of the host names.
func freePort(at place) uint16 {
	for p := uint16(9999); p > 0; p-- {
		if !slices.ContainsFunc(at.host.endpoints, func(ep *endpoint) bool { return slices.Contains(ep.ports, p) }) {
			return p
		}
	}
	return 1
}
