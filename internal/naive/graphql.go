package naive

import "strings"

// graphqlAllows: there are operations, and each is taken by an allow rule.
func graphqlAllows(e Endpoint, g GraphQL) bool {
	if g.Faulty || len(g.Operations) == 0 {
		return false
	}
	for _, o := range g.Operations {
		o, known := resolve(e, o)
		if !known {
			return false
		}
		taken := false
		for _, r := range rulesOf(e) {
			taken = taken || operationTaken(r, o) && allFields(r.Fields, o.Fields)
		}
		if !taken {
			return false
		}
	}
	return true
}

// graphqlDenies: a deny rule takes one of the operations.
func graphqlDenies(e Endpoint, g GraphQL) bool {
	for _, o := range g.Operations {
		o, known := resolve(e, o)
		if !known {
			continue // allowed by nothing
		}
		for _, r := range e.Deny {
			if operationTaken(r, o) && (len(r.Fields) == 0 || someField(r.Fields, o.Fields)) {
				return true
			}
		}
	}
	return false
}

// resolve: an operation whose document was not sent is what the registry says.
func resolve(e Endpoint, o Operation) (Operation, bool) {
	if o.Type != "" {
		return o, true
	}
	if !e.Registered {
		return o, false
	}
	for _, name := range []string{o.Hash, o.ID} {
		if r, ok := e.Registry[name]; ok && name != "" {
			return Operation{Type: r.OperationType, Name: r.OperationName, Fields: r.Fields}, true
		}
	}
	return o, false
}

func operationTaken(r Rule, o Operation) bool {
	if r.OperationType == "" || r.OperationType != "*" && !strings.EqualFold(r.OperationType, o.Type) {
		return false
	}
	return r.OperationName == "" || anyGlob([]string{r.OperationName}, o.Name)
}

// allFields: a rule with fields takes operations that select some, each of them listed.
func allFields(globs, fields []string) bool {
	if len(globs) == 0 {
		return true
	}
	for _, f := range fields {
		if !anyGlob(globs, f) {
			return false
		}
	}
	return len(fields) > 0
}

func someField(globs, fields []string) bool {
	for _, f := range fields {
		if anyGlob(globs, f) {
			return true
		}
	}
	return false
}
