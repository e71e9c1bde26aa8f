package naive

import "strings"

// graphqlAllows: there are operations, and each is taken by an allow rule.
func graphqlAllows(e Endpoint, g GraphQL) bool {
	if g.Faulty || len(g.Operations) == 0 {
		return false
	}
	for _, o := range g.Operations {
		list, known := mayRun(e, o)
		if !known {
			return false
		}
		for _, o := range list {
			taken := false
			for _, r := range rulesOf(e) {
				taken = taken || operationTaken(r, o) && allFields(r.Fields, o.Fields)
			}
			if !taken {
				return false
			}
		}
	}
	return true
}

// graphqlDenies: a deny rule takes one of the operations.
func graphqlDenies(e Endpoint, g GraphQL) bool {
	for _, o := range g.Operations {
		list, _ := mayRun(e, o) // what is not known is allowed by nothing
		for _, o := range list {
			for _, r := range e.Deny {
				if operationTaken(r, o) && (len(r.Fields) == 0 || someField(r.Fields, o.Fields)) {
					return true
				}
			}
		}
	}
	return false
}

// mayRun is what a server may run: the document that was sent, and what the
// registry says of one that was not, or that is named beside it by an id.
func mayRun(e Endpoint, o Operation) (list []Operation, known bool) {
	names := []string{o.Hash, o.ID}
	if o.Type != "" {
		list, names = append(list, o), []string{o.ID}
		if o.ID == "" {
			return list, true
		}
	}
	if !e.Registered {
		return list, false
	}
	for _, name := range names {
		if r, ok := e.Registry[name]; ok && name != "" {
			return append(list, Operation{Type: r.OperationType, Name: r.OperationName, Fields: r.Fields}), true
		}
	}
	return list, false
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
