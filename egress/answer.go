package egress

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// answer writes the response to one HTTP/1 request. It is the http.ResponseWriter
// of its handler and adds no field but those of the framing: where no length is
// set, the body goes in chunks.
type answer struct {
	r        *requests
	method   string
	minor    int
	body     *requestBody
	header   http.Header
	out      *bufio.Writer
	hijacked bool
	close    bool // no request may follow

	mu     sync.Mutex // of out, until the head is written: a 100 comes from who reads the body
	wrote  bool
	status int
	how    framing
	left   int64 // byLength: bytes that are still to come
	err    error // of the connection; it stays
}

// answerBuffer takes one piece of a response with its framing.
const answerBuffer = 33 << 10

var answerBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, answerBuffer) }}

func newAnswer(r *requests, h *head) *answer {
	w := &answer{r: r, header: make(http.Header, 8), out: answerBuffers.Get().(*bufio.Writer), close: true}
	w.out.Reset(answerConn{r})
	if h != nil {
		w.method, w.minor = h.verb(), h.minor
		w.close = h.close || h.minor == 0 && !h.keepAlive
	} else {
		w.minor = 1
	}
	return w
}

func (w *answer) free() {
	w.out.Reset(nil)
	answerBuffers.Put(w.out)
	w.out = nil
}

// answerConn counts what the agent is sent.
type answerConn struct{ r *requests }

func (a answerConn) Write(b []byte) (int, error) {
	n, err := a.r.nc.Write(b)
	a.r.c.in.Add(int64(n))
	return n, err
}

func (w *answer) Header() http.Header { return w.header }

// proceed asks the client for the body, if the answer has not begun.
func (w *answer) proceed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrote || w.err != nil {
		return nil
	}
	_, _ = w.out.WriteString("HTTP/1.1 100 Continue\r\n\r\n")
	return w.flush()
}

func (w *answer) flush() error {
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return w.err
}

// WriteHeader writes the head of the response, or an interim one.
func (w *answer) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.wrote || w.hijacked:
		return
	case status < 200 && status != http.StatusSwitchingProtocols:
		if w.minor == 0 || status == http.StatusContinue {
			return // HTTP/1.0 knows none, and proceed writes the other
		}
		w.begin(status)
		_, _ = w.out.WriteString("\r\n")
		_ = w.flush()
		return
	}
	w.wrote, w.status = true, status
	w.frame()
	w.begin(status)
	switch {
	case status == http.StatusSwitchingProtocols:
	case w.how == byChunks:
		_, _ = w.out.WriteString("Transfer-Encoding: chunked\r\n")
	case w.how == byClose:
		w.close = true
	}
	switch {
	case status == http.StatusSwitchingProtocols:
	case w.close:
		_, _ = w.out.WriteString("Connection: close\r\n")
	case w.minor == 0:
		_, _ = w.out.WriteString("Connection: keep-alive\r\n")
	}
	_, _ = w.out.WriteString("\r\n")
}

// frame decides how the end of the body is told.
func (w *answer) frame() {
	for _, v := range w.header["Connection"] {
		w.close = w.close || strings.EqualFold(v, "close")
	}
	if w.status != http.StatusSwitchingProtocols {
		w.header.Del("Connection")
	}
	w.header.Del("Transfer-Encoding")
	length := int64(-1)
	if v := w.header["Content-Length"]; len(v) == 1 {
		if n, err := strconv.ParseInt(v[0], 10, 64); err == nil && n >= 0 {
			length = n
		} else {
			w.header.Del("Content-Length")
		}
	}
	switch {
	case w.method == http.MethodHead || w.status == http.StatusNotModified:
		w.how = noBody
	case w.status == http.StatusNoContent || w.status < 200:
		w.how = noBody
		w.header.Del("Content-Length")
	case length >= 0:
		w.how, w.left = byLength, length
	case w.minor == 1:
		w.how = byChunks
	default:
		w.how = byClose
	}
}

// begin writes status line and fields.
func (w *answer) begin(status int) {
	_, _ = w.out.WriteString("HTTP/1.1 ")
	_, _ = w.out.WriteString(strconv.Itoa(status))
	_ = w.out.WriteByte(' ')
	_, _ = w.out.WriteString(http.StatusText(status))
	_, _ = w.out.WriteString("\r\n")
	writeFields(w.out, w.header)
}

// writeFields writes header fields in the order of their names. A name or value
// that cannot be one is left out: nothing but fields comes of it.
func writeFields(out io.StringWriter, header http.Header) {
	var few [24]string
	names := few[:0]
	for name := range header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !isToken(name) {
			continue
		}
		for _, v := range header[name] {
			if !validValue(v) {
				continue
			}
			_, _ = out.WriteString(name)
			_, _ = out.WriteString(": ")
			_, _ = out.WriteString(v)
			_, _ = out.WriteString("\r\n")
		}
	}
}

// validValue: RFC 9110 §5.5.
func validValue(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func (w *answer) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.hijacked:
		return 0, http.ErrHijacked
	case w.err != nil:
		return 0, w.err
	case len(p) == 0:
		return 0, nil
	}
	switch w.how {
	case byLength:
		if int64(len(p)) > w.left {
			return 0, http.ErrContentLength
		}
		w.left -= int64(len(p))
		return w.put(p)
	case byClose:
		return w.put(p)
	case byChunks:
		var line [18]byte
		if _, err := w.put(append(strconv.AppendInt(line[:0], int64(len(p)), 16), "\r\n"...)); err != nil {
			return 0, err
		}
		n, err := w.put(p)
		if err == nil {
			_, err = w.put([]byte("\r\n"))
		}
		return n, err
	default: // of HEAD and the like
		if w.method == http.MethodHead {
			return len(p), nil
		}
		return 0, http.ErrBodyNotAllowed
	}
}

func (w *answer) put(p []byte) (int, error) {
	n, err := w.out.Write(p)
	if err != nil {
		w.err = err
	}
	return n, err
}

// Flush is FlushError for those who do not want to know.
func (w *answer) Flush() { _ = w.FlushError() }

// FlushError sends what was written.
func (w *answer) FlushError() error {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.flush()
}

// SetReadDeadline and SetWriteDeadline are for http.ResponseController.
func (w *answer) SetReadDeadline(t time.Time) error  { return w.r.nc.SetReadDeadline(t) }
func (w *answer) SetWriteDeadline(t time.Time) error { return w.r.nc.SetWriteDeadline(t) }

// Hijack gives the connection to the handler, which closes it. What the client
// sent already stands in the reader.
func (w *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.hijacked {
		return nil, nil, http.ErrHijacked
	}
	w.r.settle()
	if err := w.flush(); err != nil {
		return nil, nil, err
	}
	w.hijacked = true
	ahead := slices.Clone(w.r.in.ahead())
	w.r.in.skip(len(ahead))
	nc := &prefixed{Conn: w.r.nc, ahead: ahead}
	return nc, bufio.NewReadWriter(bufio.NewReader(nc), bufio.NewWriter(nc)), nil
}

var errShortAnswer = errors.New("the answer is shorter than it said")

// finish completes the response.
func (w *answer) finish() error {
	if !w.wrote {
		if w.header["Content-Length"] == nil {
			w.header["Content-Length"] = []string{"0"}
		}
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.err != nil:
		return w.err
	case w.how == byLength && w.left > 0:
		return errShortAnswer
	case w.how == byChunks:
		_, _ = w.put([]byte("0\r\n"))
		writeFields(w.out, w.trailers())
		if _, err := w.put([]byte("\r\n")); err != nil {
			return err
		}
	}
	return w.flush()
}

// trailers are the fields behind the body, which the handler wrote as net/http
// takes them.
func (w *answer) trailers() http.Header {
	var t http.Header
	for name, values := range w.header {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			if t == nil {
				t = make(http.Header)
			}
			t[name] = values
		}
	}
	return t
}

var _ io.Writer = (*answer)(nil)
