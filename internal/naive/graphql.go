package naive

import "strings"

// graphqlAllows: there are operations, and each is taken by an allow rule.
func graphqlAllows(e Endpoint, g GraphQL) bool {
	if g.Faulty || len(g.Operations) == 0 {
		return false
	}
	for _, o := range g.Operations {
		runs, known := resolve(e, o)
		if !known {
			return false
		}
		for _, o := range runs {
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
		runs, _ := resolve(e, o) // what is not known is allowed by nothing
		for _, o := range runs {
			for _, r := range e.Deny {
				if operationTaken(r, o) && (len(r.Fields) == 0 || someField(r.Fields, o.Fields)) {
					return true
				}
			}
		}
	}
	return false
}

// resolve says what the server may run: the document that was sent, and what
// the registry says of one that was not. Creel: with a hash and another id, or a
// document and an id, it may be either; all has to be known and allowed.
func resolve(e Endpoint, o Operation) (runs []Operation, known bool) {
	known = true
	var keys []string
	switch {
	case o.Type != "":
		runs = append(runs, o)
		if o.ID != "" {
			keys = []string{o.ID}
		}
	case o.Hash != "" && o.ID != "" && o.Hash != o.ID:
		return nil, false
	case o.Hash != "":
		keys = []string{o.Hash}
	default:
		keys = []string{o.ID}
	}
	for _, key := range keys {
		r, ok := e.Registry[key]
		if !ok || key == "" || !e.Registered {
			known = false
			continue
		}
		runs = append(runs, Operation{Type: r.OperationType, Name: r.OperationName, Fields: r.Fields})
	}
	return runs, known
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
