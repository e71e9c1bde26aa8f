package graphql

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/creel-run/creel/policy/internal/strictjson"
)

var (
	// idKeys are the names under which clients send the ID of a stored operation.
	idKeys = []string{"id", "documentId", "queryId"}
	// unknownIDKeys are those of other frameworks. A server that knows them may
	// run the stored operation, whatever document stands beside.
	unknownIDKeys = []string{"doc_id", "operationId"}
)

// envelope is one request, of JSON or of URL parameters. What is empty was not
// given.
type envelope struct {
	query, name, hash string
	ids               []string
}

func parseEnvelope(v strictjson.Value) (Operation, error) {
	if v.Kind != strictjson.Object {
		return Operation{}, fault(NotEnvelope)
	}
	names := append([]string{"query", "operationName", "extensions"}, idKeys...)
	m, err := v.Pick(append(names, unknownIDKeys...)...)
	if err != nil {
		return Operation{}, &Error{Keys, err}
	}
	var e envelope
	if e.query, err = text(m[0]); err != nil {
		return Operation{}, err
	}
	if e.name, err = text(m[1]); err != nil {
		return Operation{}, err
	}
	if e.hash, err = hashOf(m[2]); err != nil {
		return Operation{}, err
	}
	for _, id := range m[3 : 3+len(idKeys)] {
		s, err := text(id)
		if err != nil {
			return Operation{}, err
		}
		e.ids = append(e.ids, s)
	}
	for _, id := range m[3+len(idKeys):] {
		if id.Given() {
			return Operation{}, fault(UnknownID)
		}
	}
	return e.operation()
}

// text is the text of a member that is a string, null or absent.
func text(v strictjson.Value) (string, error) {
	if v.Given() && v.Kind != strictjson.String {
		return "", fault(WrongType)
	}
	return v.Text, nil
}

// hashOf is persistedQuery.sha256Hash of the extensions.
func hashOf(extensions strictjson.Value) (string, error) {
	v := extensions
	for _, key := range []string{"persistedQuery", "sha256Hash"} {
		if !v.Given() {
			return "", nil
		}
		if v.Kind != strictjson.Object {
			return "", fault(WrongType)
		}
		m, err := v.Pick(key)
		if err != nil {
			return "", &Error{Keys, err}
		}
		v = m[0]
	}
	return text(v)
}

func (e envelope) operation() (Operation, error) {
	id := ""
	for _, one := range e.ids {
		if one != "" && id != "" {
			return Operation{}, fault(TwoIDs)
		}
		id += one
	}
	if strings.TrimSpace(e.query) == "" {
		if e.hash == "" && id == "" {
			return Operation{}, fault(NoOperation)
		}
		if e.hash != "" && id != "" {
			return Operation{}, fault(TwoIDs)
		}
		return Operation{Name: e.name, Hash: e.hash, ID: id}, nil
	}
	if e.hash != "" {
		sum := sha256.Sum256([]byte(e.query))
		if !strings.EqualFold(e.hash, hex.EncodeToString(sum[:])) {
			return Operation{}, fault(WrongHash)
		}
	}
	op, err := parseDocument(e.query, e.name)
	if err != nil {
		return Operation{}, err
	}
	op.Hash, op.ID = e.hash, id
	return op, nil
}
