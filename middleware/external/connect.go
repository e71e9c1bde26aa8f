package external

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/creel-run/creel/middleware"
)

// json writes the request as the JSON form of protobuf has it.
func (q request) json() ([]byte, error) {
	_, d := direction(q.m.Direction)
	for _, h := range q.headers() {
		if !utf8.ValidString(h.Value) {
			return nil, errors.New("a header is no text")
		}
	}
	return json.Marshal(struct {
		Middleware string   `json:"middleware"`
		Config     string   `json:"config,omitempty"`
		Direction  string   `json:"direction"`
		Method     string   `json:"method,omitempty"`
		Scheme     string   `json:"scheme,omitempty"`
		Host       string   `json:"host"`
		Port       uint16   `json:"port"`
		Path       string   `json:"path,omitempty"`
		Query      string   `json:"query,omitempty"`
		Status     int      `json:"status,omitempty"`
		Headers    []header `json:"headers,omitempty"`
		Body       []byte   `json:"body,omitempty"`
		Binary     bool     `json:"binary,omitempty"`
	}{q.entry.service.r.Name, q.entry.config, d, q.m.Method, q.m.Scheme, q.m.Host.String(), q.m.Port, q.m.Path, q.m.RawQuery,
		q.m.Status, q.headers(), q.m.Body, q.m.Binary})
}

func (e *entry) connectAnswer(resp *http.Response) (middleware.Answer, error) {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode != http.StatusOK:
		return middleware.Answer{}, fmt.Errorf("its endpoint answered with status %d", resp.StatusCode)
	case kind != "application/json":
		return middleware.Answer{}, errors.New("its answer is not of type application/json")
	case resp.Header.Get("Content-Encoding") != "" && resp.Header.Get("Content-Encoding") != "identity":
		return middleware.Answer{}, errors.New("its answer is encoded though it was not asked for that")
	}
	// In base64 a body has four thirds of its bytes.
	data, err := read(resp.Body, base64.StdEncoding.EncodedLen(e.service.r.MaxBody)+beside)
	if err != nil {
		return middleware.Answer{}, err
	}
	r, err := readJSON(data)
	if err != nil {
		return middleware.Answer{}, err
	}
	return r.answer()
}

var errJSON = errors.New("its answer is not the JSON of the protocol")

// readJSON reads the JSON form of an answer. Keys that are not known, that
// stand twice or that are spelled otherwise are a fault: a verdict must not
// depend on who reads it.
func readJSON(data []byte) (*response, error) {
	var r response
	err := object(data, map[string]func([]byte) error{
		"verdict": func(v []byte) error {
			var name string
			if json.Unmarshal(v, &name) == nil {
				n := slices.Index(verdicts, name)
				if n < 0 {
					return errVerdict
				}
				r.verdict = uint64(n)
				return nil
			}
			n, err := strconv.ParseUint(string(v), 10, 8)
			r.verdict = n
			return err
		},
		"reason": func(v []byte) error { return json.Unmarshal(v, &r.reason) },
		"body":   func(v []byte) error { return json.Unmarshal(v, &r.body) },
		"findings": func(v []byte) error {
			var list []json.RawMessage
			if err := json.Unmarshal(v, &list); err != nil || len(list) > maxFindings {
				return errJSON
			}
			for _, item := range list {
				var f finding
				err := object(item, map[string]func([]byte) error{
					"rule": func(v []byte) error { return json.Unmarshal(v, &f.rule) },
					"part": func(v []byte) error { return json.Unmarshal(v, &f.part) },
					"name": func(v []byte) error { return json.Unmarshal(v, &f.name) },
					"from": func(v []byte) error { return json.Unmarshal(v, &f.from) },
					"to":   func(v []byte) error { return json.Unmarshal(v, &f.to) },
				})
				if err != nil {
					return err
				}
				r.findings = append(r.findings, f)
			}
			return nil
		},
	})
	if err != nil {
		return nil, errJSON
	}
	return &r, nil
}

// object reads an object whose keys are all known.
func object(data []byte, keys map[string]func([]byte) error) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errJSON
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok || seen[name] || keys[name] == nil {
			return errJSON
		}
		seen[name] = true
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return errJSON
		}
		if err := keys[name](v); err != nil {
			return errJSON
		}
	}
	if _, err := dec.Token(); err != nil {
		return errJSON
	}
	if _, err := dec.Token(); err != io.EOF {
		return errJSON
	}
	return nil
}
