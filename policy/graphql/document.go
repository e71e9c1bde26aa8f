package graphql

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// maxTokens is the bound of version 1 policies.
const maxTokens = 20_000

// parseDocument gives the operation of a document that a server will run. Name
// is operationName, or empty.
func parseDocument(text, name string) (Operation, error) {
	if err := scan(text); err != nil {
		return Operation{}, err
	}
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, maxTokens)
	if err != nil {
		return Operation{}, fault(Syntax) // the parser's error repeats the text
	}
	op, err := choose(doc.Operations, name)
	if err != nil {
		return Operation{}, err
	}
	x := expansion{fragments: map[string]*fragment{}, fields: map[string]bool{}}
	for _, f := range doc.Fragments {
		if x.fragments[f.Name] != nil {
			return Operation{}, fault(TwoNames)
		}
		x.fragments[f.Name] = &fragment{set: f.SelectionSet}
	}
	if err := x.add(op.SelectionSet); err != nil {
		return Operation{}, err
	}
	out := Operation{Name: op.Name, Fields: make([]string, 0, len(x.fields))}
	switch op.Operation {
	case ast.Query:
		out.Type = "query"
	case ast.Mutation:
		out.Type = "mutation"
	case ast.Subscription:
		out.Type = "subscription"
	default:
		return Operation{}, fault(Syntax)
	}
	for f := range x.fields {
		out.Fields = append(out.Fields, f)
	}
	slices.Sort(out.Fields)
	return out, nil
}

// choose selects the operation that runs. All names are looked at, not only
// until one fits: of two with one name, another server may take the other.
func choose(list ast.OperationList, name string) (*ast.OperationDefinition, error) {
	var chosen *ast.OperationDefinition
	seen := map[string]bool{}
	for _, op := range list {
		switch {
		case op.Name == "" && len(list) > 1:
			return nil, fault(Anonymous)
		case seen[op.Name]:
			return nil, fault(TwoNames)
		case op.Name == name || name == "" && len(list) == 1:
			chosen = op
		}
		seen[op.Name] = true
	}
	if chosen == nil {
		return nil, fault(Choice)
	}
	return chosen, nil
}

// expansion collects the fields of a selection through fragments.
type expansion struct {
	fragments map[string]*fragment
	fields    map[string]bool
}

type fragment struct {
	set   ast.SelectionSet
	state state
}

type state uint8

const (
	untouched state = iota
	open            // being expanded: meeting it again is a cycle
	done            // its fields are in
)

// add recurses as deep as fragments nest, which the bounds on tokens and depth
// keep to some thousands.
func (x *expansion) add(set ast.SelectionSet) error {
	for _, s := range set {
		var err error
		switch s := s.(type) {
		case *ast.Field:
			if s.Name == "" {
				return fault(Syntax)
			}
			x.fields[s.Name] = true
		case *ast.InlineFragment:
			err = x.add(s.SelectionSet)
		case *ast.FragmentSpread:
			err = x.spread(s.Name)
		default:
			return fault(Syntax)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *expansion) spread(name string) error {
	f := x.fragments[name]
	switch {
	case f == nil:
		return fault(NoFragment)
	case f.state == done:
		return nil
	case f.state == open:
		return fault(CyclicFragment)
	}
	f.state = open
	if err := x.add(f.set); err != nil {
		return err
	}
	f.state = done
	return nil
}
