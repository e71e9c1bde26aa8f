package egress

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Fields behind the body of a request come over HTTP/2 alone, and go on over HTTP/2
// alone: chunks of HTTP/1 have a place for them, but servers differ in whether they
// take them for fields of the head. They go on by the rules of those, and only where
// nobody has to know all of the request before it is sent.

// maxTrailerFields is how many there may be; those that are known have one to three.
const maxTrailerFields = 32

// late says which of the fields that are announced (RFC 9110 §6.6.2) go on: nil if
// none do. The server of net/http drops those that are not announced, and resets a
// stream with one that routes, frames or authenticates.
func (x *exchange) late() http.Header {
	if !x.streamed() || !x.h.hasBody() || x.body != nil || x.bound() || !x.unseen {
		return nil
	}
	var names http.Header
	for name := range x.r.Trailer {
		if !isToken(name) || dropped(strings.ToLower(name)) {
			continue
		}
		if names == nil {
			names = make(http.Header)
		}
		names[name] = nil
	}
	return names
}

// trailed reads the body of a request, and at its end takes what came behind it.
type trailed struct {
	io.ReadCloser
	x   *exchange
	out *http.Request
}

func (b *trailed) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if fault := b.take(); fault != nil {
		return n, fault
	}
	return n, err
}

// take puts the fields into the request that is sent, or says why it may not become
// complete.
func (b *trailed) take() error {
	got := make(http.Header, len(b.out.Trailer))
	fields, size := 0, 0
	for name := range b.out.Trailer {
		for _, v := range b.x.r.Trailer[name] {
			if !validValue(v) || v != strings.Trim(v, " \t") {
				return bad("a trailer field is malformed")
			}
			fields, size = fields+1, size+len(name)+len(v)+len(": \r\n")
			if fields > maxTrailerFields || size > maxTrailer {
				return &httpFault{http.StatusRequestHeaderFieldsTooLarge,
					"the trailer section is longer than " + strconv.Itoa(maxTrailerFields) + " fields or " + strconv.Itoa(maxTrailer) + " bytes"}
			}
			got.Add(name, v)
		}
	}
	if secrets := b.x.c.s.conf.Secrets; secrets != nil {
		// No credential is bound to the host: this looks for those that may not stand there.
		probe := &http.Request{Method: b.out.Method, URL: b.out.URL, Host: b.out.Host, Header: http.Header{}, Trailer: got}
		if _, err := secrets.Apply(b.x.c.facts.Host, probe); err != nil {
			return err
		}
	}
	for name, values := range got {
		b.out.Trailer[name] = values
	}
	return nil
}
