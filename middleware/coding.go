package middleware

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxCodings bounds content codings on top of each other.
const maxCodings = 3

// identity gives header and body without content coding. A coding that cannot
// be undone, is cut short, has something behind its end, or gives more than most
// bytes is an error: servers differ in what they make of it.
func identity(h http.Header, body []byte, most int) (http.Header, []byte, error) {
	if len(body) > most {
		return nil, nil, fmt.Errorf("the body has more than %d bytes", most)
	}
	var codings []string
	for _, line := range h.Values("Content-Encoding") {
		for c := range strings.SplitSeq(line, ",") {
			if c = strings.ToLower(strings.TrimSpace(c)); c != "" && c != "identity" {
				codings = append(codings, c)
			}
		}
	}
	if len(codings) > maxCodings {
		return nil, nil, fmt.Errorf("the body has more than %d content codings", maxCodings)
	}
	if len(codings) == 0 || len(body) == 0 {
		return h, body, nil
	}
	for i := len(codings) - 1; i >= 0; i-- { // the last one was put on last
		var err error
		if body, err = undo(codings[i], body, most); err != nil {
			return nil, nil, err
		}
	}
	h = h.Clone()
	h.Del("Content-Encoding")
	return h, body, nil
}

func undo(coding string, body []byte, most int) ([]byte, error) {
	from := bytes.NewReader(body)
	var plain io.Reader
	var err error
	switch coding {
	case "gzip", "x-gzip":
		plain, err = gzip.NewReader(from)
	case "deflate":
		plain, err = zlib.NewReader(from)
	default:
		// A name of the agent's choice is not repeated.
		return nil, errors.New("the body has a content coding that cannot be undone; gzip, deflate and identity can")
	}
	if err != nil {
		return nil, errors.New("the body is not what its content coding says")
	}
	out, err := io.ReadAll(io.LimitReader(plain, int64(most)+1))
	switch {
	case len(out) > most:
		return nil, fmt.Errorf("the body has more than %d bytes without its content coding", most)
	case err != nil || from.Len() > 0:
		return nil, errors.New("the body is not what its content coding says")
	}
	return out, nil
}
