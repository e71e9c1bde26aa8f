package egress

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
)

// denial is an answer that Creel gives itself. It has one shape on every way in.
type denial struct {
	status int
	code   string // error, for programs
	layer  string
	reason string // of the decision, for people
	rule   policy.Rule
	method string
	path   string              // canonical, without query
	query  map[string][]string // decoded, for what would allow it; never recorded. nil: not known, or none
	addr   string              // that the address rules refused
	cause  error               // why the upstream gave no answer, as gRPC tells it

	says    map[string]string // what was read of the message, for the record
	missing *ruleMissing      // what would allow the message; nil: method and path are all
	calls   *pending          // nil: the answer is one of HTTP

	middleware string // that denied
	unsaid     bool   // the record does not have the path
}

// Codes and layers of denials.
const (
	codePolicy     = "policy_denied"
	codeAddress    = "address_denied"
	codeRequest    = "invalid_request"
	codeAuthority  = "authority_mismatch"
	codeUpgrade    = "upgrade_refused"
	codeCredential = "credential_refused"
	codeUpstream   = "upstream_unreachable"
	codeAudit      = "audit_unavailable"
	codeProtocol   = "protocol_refused"
	codeLimit      = "limit_reached"
	codeModel      = "model_refused"
	codeInternal   = "internal_error"

	codeMiddleware       = "middleware_denied"
	codeMiddlewareFailed = "middleware_failed"

	layerConnection = "connection"
	layerRequest    = "request"
	layerAddress    = "address"
	layerHTTP       = "http"
	layerTLS        = "tls"
	layerCredential = "credential"
	layerUpstream   = "upstream"
	layerAudit      = "audit"
	layerMiddleware = "middleware"
)

const guidance = "The operator of this sandbox decides what it may reach, and this is that decision, not a fault to get around. " +
	"Do not retry, and do not try another host, address, port, protocol, encoding, tool or proxy for the same purpose. " +
	"Go on without it, or tell the user what you needed and why, with the host, port, method and path above."

const guidanceUpstream = "The policy allows this request; the server behind it did not answer. A later retry may succeed. " +
	"Do not change proxy, DNS or certificate settings because of it."

type denialBody struct {
	Error       string       `json:"error"`
	Detail      string       `json:"detail"`
	Reason      string       `json:"reason"`
	Policy      string       `json:"policy"`
	RuleAt      string       `json:"rule_at"`
	Middleware  string       `json:"middleware,omitempty"` // its key in the policy
	Layer       string       `json:"layer"`
	Method      string       `json:"method"`
	Path        string       `json:"path"`
	Host        string       `json:"host"`
	Port        uint16       `json:"port"`
	Binary      string       `json:"binary"`
	Unverified  bool         `json:"unverified,omitempty"` // the binary is no file of the host: no rule matches it
	Script      string       `json:"script,omitempty"`     // by the program's own word
	RuleMissing *ruleMissing `json:"rule_missing"`
	NextSteps   []string     `json:"next_steps"`
	Guidance    string       `json:"agent_guidance"`
}

// ruleMissing is what a policy would have to say, for a person who may change it.
type ruleMissing struct {
	Type   string `json:"type"` // connection, rest_allow or message_allow
	Host   string `json:"host"`
	Port   uint16 `json:"port"`
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`
	Binary string `json:"binary,omitempty"`
	Lines  string `json:"lines"` // YAML to be merged into the policy
}

// describe says what a denial means, for programs and for people.
func (c *conn) describe(d *denial) denialBody {
	b := denialBody{
		Error: d.code, Reason: d.reason, Policy: d.rule.Policy, Middleware: d.middleware, Layer: d.layer,
		Method: d.method, Path: d.path,
		Host: c.facts.Host.String(), Port: c.facts.Port, Binary: c.who.Binary, Script: c.who.Script,
		Unverified: c.who.Binary != "" && !c.who.Known,
		Guidance:   guidance, NextSteps: []string{},
	}
	if d.rule.At.Line > 0 {
		b.RuleAt = d.rule.At.String()
	}
	what := authority{c.facts.Host, c.facts.Port}.text("")
	if d.method != "" {
		what = d.method + " " + d.path + " on " + what
	}
	switch d.code {
	case codeUpstream:
		b.Detail = what + " is allowed, but cannot be reached: " + d.reason
		b.Guidance = guidanceUpstream
		b.NextSteps = append(b.NextSteps, "Try again later, or tell the user that the server cannot be reached.")
	case codePolicy:
		b.Detail = what + " is not permitted by the policy of this sandbox"
		if b.RuleMissing = d.missing; b.RuleMissing == nil {
			b.RuleMissing = c.missing(d, nil)
		}
		b.NextSteps = append(b.NextSteps,
			"Work without this access if you can.",
			"Otherwise tell the user that this access is missing. The operator can add the lines in rule_missing to the policy file; it takes effect while the sandbox runs.")
	case codeLimit:
		b.Detail = what + " is allowed, but a limit of the policy is reached: " + d.reason
		b.NextSteps = append(b.NextSteps, "Go on without it, or tell the user that the limit above was reached. One that is counted per time passes by itself.")
	case codeModel:
		b.Detail = what + " is a model call, and goes to no other place than the model that the operator chose"
		b.NextSteps = append(b.NextSteps,
			"Use the model at https://inference.local if this sandbox has one.",
			"Otherwise tell the user. The operator can give the sandbox a model (creel run --inference URL), or accept models at this host: models: allow on its endpoint, in a policy of version: 2.")
	case codeMiddleware:
		b.Detail = what + " is allowed, but a middleware of the policy refuses what this message holds: " + d.reason
		b.NextSteps = append(b.NextSteps, "Do not send what is named above in any form: not encoded, split or renamed, and to no other host.",
			"Leave it out if the task can be done without it, else tell the user.")
	case codeMiddlewareFailed:
		b.Detail = what + " is allowed, but a middleware of the policy has to look at it first, and could not: " + d.reason
		b.NextSteps = append(b.NextSteps, "Tell the user about the reason above. A body that is too large may be sent in parts, if the server takes that.")
	case codeAudit:
		b.Detail = "this sandbox has no network access while its audit log cannot be written"
		b.NextSteps = append(b.NextSteps, "Tell the user that the audit log of this sandbox cannot be written (a full disk, perhaps).")
	default:
		b.Detail = what + " was refused: " + d.reason
		b.NextSteps = append(b.NextSteps, "Tell the user about the reason above if you need this access.")
	}
	return b
}

func (c *conn) denialBody(d *denial) []byte {
	out, err := json.MarshalIndent(c.describe(d), "", "  ")
	if err != nil { // strings and numbers only: cannot be
		return []byte("{}\n")
	}
	return append(audit.PrintableJSON(out), '\n')
}

// missing is made of method and path, or of a request with its message.
func (c *conn) missing(d *denial, asked *policy.Request) *ruleMissing {
	m := &ruleMissing{
		Type: "connection", Host: c.facts.Host.String(), Port: c.facts.Port,
		Method: d.method, Path: d.path, Binary: c.facts.Binary,
	}
	switch {
	case asked != nil:
		m.Type = "message_allow"
		m.Lines = c.s.conf.Engine().SuggestRequest(*asked)
		return m
	case d.method != "":
		m.Type = "rest_allow"
	}
	r := policy.Request{Connection: c.facts, Method: d.method}
	r.Target.Path, r.Target.Query, r.Target.HasQuery = d.path, d.query, d.query != nil
	m.Lines = c.s.conf.Engine().SuggestRequest(r)
	return m
}

// record is what the log keeps of the lines. Shortened they could allow something
// else: they are there as a whole or not at all.
func (m *ruleMissing) record() string {
	if len(m.Lines) > audit.MaxRuleMissing {
		return "# the lines that would allow it are too long for the log: the answer to the program has them, as rule_missing\n"
	}
	return m.Lines
}

// policyHeader names the rule that denied, in a response header.
const policyHeader = "X-Creel-Policy"

func (d *denial) policyName() string {
	name := d.rule.Policy
	if name == "" {
		return "none"
	}
	for _, r := range name {
		if r < ' ' || r > '~' {
			return strconv.QuoteToASCII(name)
		}
	}
	return name
}

// answer writes a denial as a response.
func (c *conn) answer(w http.ResponseWriter, d *denial) {
	body := c.denialBody(d)
	if d.calls != nil {
		body = d.calls.answer(d, body)
	}
	h := w.Header()
	clear(h)
	one, ok := w.(*streamWriter)
	if ok && one.grpc {
		one.answer(c, d)
		return
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if !ok { // of several requests only the one that is denied ends
		h.Set("Connection", "close")
	}
	h.Set("Cache-Control", "no-store")
	h.Set(policyHeader, d.policyName())
	w.WriteHeader(d.status)
	_, _ = w.Write(body)
}

// answerRaw writes a denial where there is no HTTP server yet, and closes.
func (c *conn) answerRaw(nc net.Conn, d *denial) {
	body := c.denialBody(d)
	text := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\nCache-Control: no-store\r\n%s: %s\r\n\r\n",
		d.status, http.StatusText(d.status), len(body), policyHeader, d.policyName())
	_ = nc.SetWriteDeadline(time.Now().Add(headTimeout))
	n, _ := nc.Write(append(text, body...))
	c.in.Add(int64(n))
	lingeringClose(nc)
}
