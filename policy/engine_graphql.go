package policy

import (
	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/graphql"
)

// operations are the rules of an endpoint about GraphQL operations.
type operations struct {
	allow, deny []operationRule
	registry    map[string]*graphql.Operation // empty unless allow_registered
	messages    bool                          // of a WebSocket
}

type operationRule struct {
	cited
	kind   string // query, mutation, subscription or "*"
	named  bool
	name   glob.Glob
	fields []glob.Glob
}

const (
	reasonGraphQLMethod = "GraphQL comes with GET or POST alone"
	reasonNoOperation   = "the request holds no GraphQL operation that could be read"
	reasonOperation     = "no rule of the network policies allows this GraphQL operation"
	reasonPersisted     = "the persisted query is not registered in the network policies"
	reasonOpAudit       = "no rule allows this GraphQL operation; enforcement is audit, so it is forwarded"
)

// operations compiles the rules about operations; others are left out.
func (c *compiler) operations(allow []RequestRule, ep *endpoint) (operations, error) {
	o := operations{messages: ep.spec.GraphQLMessages()}
	var err error
	if o.allow, err = c.operationRules(allow, ep, "allows"); err != nil {
		return o, err
	}
	if o.deny, err = c.operationRules(ep.spec.Deny, ep, "denies"); err != nil {
		return o, err
	}
	if !ep.spec.GraphQL.AllowRegistered {
		return o, nil
	}
	o.registry = make(map[string]*graphql.Operation, len(ep.spec.GraphQL.Registry))
	for _, p := range ep.spec.GraphQL.Registry {
		if p.Key != "" && p.Type != "" {
			o.registry[p.Key] = &graphql.Operation{Type: p.Type, Name: p.Name, Fields: p.Fields}
		}
	}
	return o, nil
}

func (c *compiler) operationRules(specs []RequestRule, ep *endpoint, verb string) ([]operationRule, error) {
	var list []operationRule
	for _, s := range specs {
		if s.OperationType == "" {
			continue // by method and path, or matching nothing
		}
		r := operationRule{cited: cite(s, ep, verb, operationText(s)), kind: s.OperationType, named: s.OperationName != ""}
		var err error
		if r.named {
			if r.name, err = glob.Compile(s.OperationName, '.'); err != nil {
				return nil, err
			}
		}
		for _, f := range s.Fields {
			g, err := glob.Compile(f, '.')
			if err != nil {
				return nil, err
			}
			r.fields = append(r.fields, g)
		}
		list = append(list, r)
	}
	return list, nil
}

func operationText(s RequestRule) string {
	text := "the GraphQL operation " + s.OperationType
	if s.OperationType == "*" {
		text = "every GraphQL operation"
	}
	if s.OperationName != "" {
		text += " named " + show(s.OperationName)
	}
	if len(s.Fields) > 0 {
		text += " with a condition on fields"
	}
	return text
}

// judgeOperations: every graphql and websocket endpoint that takes the path has
// to allow every operation by its own rules. Such an endpoint has the last word about its
// path: a broader one does not open what it closes. What one of the other
// protocol allows opens nothing.
func (e *Engine) judgeOperations(selected *endpoint, r *Request, j *judgement) {
	j.none, j.noneAudit = reasonOperation, reasonOpAudit
	if r.GraphQL == nil || len(r.GraphQL.Operations) == 0 {
		j.hard = reasonNoOperation
		return
	}
	refused := false
	for i := range r.GraphQL.Operations {
		for _, stored := range [...]bool{false, true} {
			if !e.judgeOperation(selected, r, &r.GraphQL.Operations[i], stored, j) {
				refused = true
			}
		}
	}
	if refused {
		j.allow = nil
	}
}

// judgeOperation reports whether what an operation makes the server run, if
// anything, is allowed: the document that was sent, or the stored one.
func (e *Engine) judgeOperation(selected *endpoint, r *Request, sent *graphql.Operation, stored bool, j *judgement) bool {
	refused, nothing := false, true
	e.taking(r, func(ep *endpoint) {
		if !ep.ofOperations() {
			return
		}
		o := &ep.operations
		op, known, runs := o.resolve(sent, stored)
		if !runs {
			return
		}
		nothing = false
		if !known {
			if ep.grants(r) {
				refused, j.none = true, reasonPersisted
			}
			return
		}
		for k := range o.deny {
			if o.deny[k].takes(op, true) {
				j.denies(&o.deny[k].cited, ep)
				break
			}
		}
		if !ep.grants(r) {
			return
		}
		switch by := o.allowing(op); {
		case by == nil:
			refused = true
		case ep.spec.Protocol == selected.spec.Protocol:
			j.offers(by, ep, r)
		}
	})
	return nothing || j.settle() && !refused
}

// allowing is the rule that allows an operation, if one does.
func (o *operations) allowing(op *graphql.Operation) *cited {
	for i := range o.allow {
		if o.allow[i].takes(op, false) {
			return &o.allow[i].cited
		}
	}
	return nil
}

// resolve finds what an operation makes the server run: the document that was
// sent, and the stored one that it names. Where both may be run both are
// judged. A persisted query that names two is not known: the server may run
// either.
func (o *operations) resolve(op *graphql.Operation, stored bool) (runs *graphql.Operation, known, does bool) {
	if !stored {
		return op, true, op.Type != ""
	}
	if !op.Stored() {
		return nil, false, false
	}
	key := op.ID
	if op.Type == "" && op.Hash != "" {
		if key != "" && key != op.Hash {
			return nil, false, true
		}
		key = op.Hash
	}
	runs, known = o.registry[key]
	return runs, known && key != "", true
}

// takes: an allow rule wants every root field to match, a deny rule fires at
// the first that does.
func (rule *operationRule) takes(op *graphql.Operation, deny bool) bool {
	switch {
	case rule.kind != "*" && rule.kind != op.Type:
		return false
	case rule.named && !rule.name.Match(op.Name):
		return false
	case len(rule.fields) == 0:
		return true
	case len(op.Fields) == 0:
		return false
	}
	for _, f := range op.Fields {
		if rule.takesField(f) == deny {
			return deny
		}
	}
	return !deny
}

func (rule *operationRule) takesField(name string) bool {
	for _, g := range rule.fields {
		if g.Match(name) {
			return true
		}
	}
	return false
}
