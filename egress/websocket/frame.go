package websocket

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Opcode is what a frame is (RFC 6455 §5.2). The zero value is a continuation.
type Opcode byte

const (
	Continuation Opcode = 0
	Text         Opcode = 1
	Binary       Opcode = 2
	Close        Opcode = 8
	Ping         Opcode = 9
	Pong         Opcode = 10
)

func (o Opcode) control() bool { return o >= Close }

// Close codes (RFC 6455 §7.4.1) that are sent from here.
const (
	CodeNormal    = 1000
	CodeGoingAway = 1001
	CodeProtocol  = 1002
	CodeData      = 1007
	CodePolicy    = 1008
	CodeTooBig    = 1009
	CodeInternal  = 1011
	// CodeNone stands for a close frame without a code, and is never sent.
	CodeNone = 1005
)

// MaxControl is the longest payload of a control frame, in bytes.
const MaxControl = 125

// Fault is what ends a connection because of what its peer sent.
type Fault struct {
	Code   uint16 // for the close frame
	Reason string // one line, without foreign text
}

func (f *Fault) Error() string { return f.Reason }

func broken(reason string) *Fault { return &Fault{CodeProtocol, reason} }

// ErrClosed is the end of messages: the peer sent a close frame.
var ErrClosed = errors.New("the peer closed the WebSocket")

// Limits bound what a Reader takes. A zero value takes only empty messages.
type Limits struct {
	Text, Binary int64 // bytes of a message, inflated
	Fragments    int   // frames of a message behind the first; 0: any number
}

// Reader reads what one side of a WebSocket sends.
type Reader struct {
	in     *bufio.Reader
	masked bool // the peer is a client
	limits Limits

	// Control is called for every control frame, in its place in the stream, with a
	// payload that is only lent. A close frame has been checked; see ParseClose.
	Control func(op Opcode, payload []byte) error

	inflate *inflater // nil: compression was not negotiated

	closed bool // a close frame was read
	head   bool // a frame was begun, and its head or control payload is not complete

	// The frame that is being read.
	fin  bool
	left int64
	mask [4]byte
	pos  int // in mask

	// The message that is being read.
	kind       Opcode // 0: none
	compressed bool
	content    io.Reader
	size       int64 // given out
	wire       int64 // of its frames
	fragments  int
	utf8       utf8State
}

// NewReader reads from in, whose buffer must hold MaxControl bytes. masked: the
// peer is a client, and has to mask.
func NewReader(in *bufio.Reader, masked bool, limits Limits) *Reader {
	return &Reader{in: in, masked: masked, limits: limits}
}

// Deflate takes compressed messages from here on. context: the peer may refer
// to earlier messages.
func (r *Reader) Deflate(context bool) { r.inflate = newInflater(context) }

// Started reports whether a part of a frame or of a message was read: then its
// end is due.
func (r *Reader) Started() bool { return r.kind != 0 || r.head || r.in.Buffered() > 0 }

// Next waits for a message and gives its kind; Read gives its content, which
// must have been read to its end. After a close frame it gives ErrClosed, and at
// the next call what came of the stream: io.EOF, if the peer kept to the rules.
func (r *Reader) Next() (kind Opcode, err error) {
	if r.kind != 0 {
		return 0, errors.New("read WebSocket: the last message was not read to its end")
	}
	if r.closed {
		switch _, err := r.in.ReadByte(); {
		case err == nil:
			return 0, broken("data after a close frame")
		default:
			return 0, err
		}
	}
	for r.kind == 0 {
		if err := r.frame(); err != nil {
			return 0, err
		}
	}
	return r.kind, nil
}

// Compressed reports whether the peer compressed the message that Next gave.
func (r *Reader) Compressed() bool { return r.compressed }

// Read gives the content of a message, and io.EOF at its end.
func (r *Reader) Read(p []byte) (int, error) {
	if r.kind == 0 || len(p) == 0 {
		return 0, io.EOF
	}
	n, err := r.content.Read(p)
	if r.size += int64(n); r.size > r.limit() {
		return 0, r.tooBig()
	}
	if r.kind == Text && !r.utf8.take(p[:n]) {
		return 0, &Fault{CodeData, "a text message is not UTF-8"}
	}
	switch {
	case errors.Is(err, io.EOF):
		if r.kind == Text && !r.utf8.whole() {
			return 0, &Fault{CodeData, "a text message is not UTF-8"}
		}
		r.kind, r.content = 0, nil
		return n, io.EOF
	case err != nil:
		return 0, err
	}
	return n, nil
}

func (r *Reader) limit() int64 {
	if r.kind == Text {
		return r.limits.Text
	}
	return r.limits.Binary
}

func (r *Reader) tooBig() error {
	return &Fault{CodeTooBig, fmt.Sprintf("a message is longer than %d bytes", r.limit())}
}

// frame reads one head. A control frame is read whole and given to Control; a
// data frame opens or continues the message.
func (r *Reader) frame() error {
	var head [2]byte
	if _, err := io.ReadFull(r.in, head[:1]); err != nil {
		if r.kind != 0 {
			return unexpected(err)
		}
		return err // a clean end, if it is io.EOF
	}
	r.head = true
	if _, err := io.ReadFull(r.in, head[1:]); err != nil {
		return unexpected(err)
	}
	op, fin, rsv1 := Opcode(head[0]&0x0f), head[0]&0x80 != 0, head[0]&0x40 != 0
	switch {
	case op > Binary && op < Close || op > Pong:
		return broken("a reserved opcode")
	case head[0]&0x30 != 0, rsv1 && (r.inflate == nil || op != Text && op != Binary):
		return broken("a reserved bit without an extension that gives it a meaning")
	case op.control() && (!fin || head[1]&0x7f > MaxControl):
		return broken("a control frame that is fragmented or too long")
	case r.masked && head[1]&0x80 == 0:
		return broken("a frame of a client is not masked")
	case !r.masked && head[1]&0x80 != 0:
		return broken("a frame of a server is masked")
	case op == Continuation && r.kind == 0:
		return broken("a continuation without a message")
	case (op == Text || op == Binary) && r.kind != 0:
		return broken("a message inside another")
	}
	length, err := r.length(head[1] & 0x7f)
	if err != nil {
		return err
	}
	if r.pos = 0; r.masked {
		if _, err := io.ReadFull(r.in, r.mask[:]); err != nil {
			return unexpected(err)
		}
	}
	if op.control() {
		return r.control(op, int(length))
	}
	r.head = false
	if op == Continuation {
		if r.fragments++; r.limits.Fragments > 0 && r.fragments > r.limits.Fragments {
			return broken(fmt.Sprintf("a message of more than %d fragments", r.limits.Fragments+1))
		}
	} else {
		r.kind, r.compressed, r.size, r.wire, r.fragments, r.utf8 = op, rsv1, 0, 0, 0, utf8State{}
		r.content = (*payload)(r)
		if rsv1 {
			r.content = r.inflate.message((*payload)(r))
		}
	}
	r.fin, r.left = fin, length
	// Incompressible data grows by 5 bytes for 64 KB and a few more.
	limit := r.limit()
	if r.compressed {
		limit += limit>>10 + 64
	}
	if length > limit || r.wire > limit-length {
		return r.tooBig()
	}
	r.wire += length
	return nil
}

// length reads the extended length; it has to be the shortest form.
func (r *Reader) length(short byte) (int64, error) {
	var b [8]byte
	switch short {
	case 126:
		if _, err := io.ReadFull(r.in, b[:2]); err != nil {
			return 0, unexpected(err)
		}
		n := int64(binary.BigEndian.Uint16(b[:]))
		if n < 126 {
			return 0, broken("a length that is not in its shortest form")
		}
		return n, nil
	case 127:
		if _, err := io.ReadFull(r.in, b[:]); err != nil {
			return 0, unexpected(err)
		}
		n := binary.BigEndian.Uint64(b[:])
		if n>>63 != 0 || n <= 0xffff {
			return 0, broken("a length that is not in its shortest form")
		}
		return int64(n), nil
	}
	return int64(short), nil
}

// control takes a control frame, which may stand between the frames of a message.
func (r *Reader) control(op Opcode, n int) error {
	buf := make([]byte, n)
	if _, err := io.ReadFull(r.in, buf); err != nil {
		return unexpected(err)
	}
	r.head = false
	if r.masked {
		xor(buf, r.mask, 0)
	}
	if op == Close {
		if _, _, err := ParseClose(buf); err != nil {
			return err
		}
	}
	if r.Control != nil {
		if err := r.Control(op, buf); err != nil {
			return err
		}
	}
	if op == Close {
		r.closed, r.kind = true, 0
		return ErrClosed
	}
	return nil
}

// payload reads the content of a message as it is on the wire, over all of its frames.
type payload Reader

func (p *payload) Read(b []byte) (int, error) {
	r := (*Reader)(p)
	for r.left == 0 {
		if r.fin {
			return 0, io.EOF
		}
		if err := r.frame(); err != nil {
			return 0, err
		}
	}
	if int64(len(b)) > r.left {
		b = b[:r.left]
	}
	n, err := r.in.Read(b)
	if r.masked {
		r.pos = xor(b[:n], r.mask, r.pos)
	}
	r.left -= int64(n)
	switch {
	case n == 0:
		return 0, unexpected(err)
	case r.left == 0 && r.fin:
		return n, io.EOF
	}
	return n, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ParseClose reads the payload of a close frame. A code that may not stand on
// the wire is a fault; CodeNone: there is none.
func ParseClose(b []byte) (code uint16, reason string, err error) {
	switch {
	case len(b) == 0:
		return CodeNone, "", nil
	case len(b) == 1:
		return 0, "", broken("a close frame with half a code")
	}
	code = binary.BigEndian.Uint16(b)
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
	default:
		return 0, "", broken("a close code that may not be sent")
	}
	if !utf8.Valid(b[2:]) {
		return 0, "", &Fault{CodeData, "the reason of a close frame is not UTF-8"}
	}
	return code, string(b[2:]), nil
}

// ClosePayload is the payload of a close frame; a reason that is too long is cut.
func ClosePayload(code uint16, reason string) []byte {
	if code == CodeNone || code == 0 {
		return nil
	}
	for len(reason) > MaxControl-2 {
		_, n := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-n]
	}
	return append(binary.BigEndian.AppendUint16(nil, code), reason...)
}

// AppendHead appends the head of a frame to b in the one form that is sent: the
// shortest length, and a key to mask with if there is one (a server gets frames
// with one, a client without).
func AppendHead(b []byte, op Opcode, fin, compressed bool, key *[4]byte, length int) []byte {
	first, second := byte(op), byte(0)
	if fin {
		first |= 0x80
	}
	if compressed {
		first |= 0x40
	}
	if key != nil {
		second = 0x80
	}
	switch {
	case length < 126:
		b = append(b, first, second|byte(length))
	case length <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, first, second|126), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, first, second|127), uint64(length))
	}
	if key != nil {
		b = append(b, key[:]...)
	}
	return b
}

// piece is how much of a frame is written at once, in bytes.
const piece = 16 << 10

// Writer writes frames to one side.
type Writer struct {
	To     io.Writer
	Masked bool // the peer is a server
	buf    []byte
}

// Frame writes one frame; the payload is left as it is. After an error nothing
// more may be written: the peer has a part of a frame.
func (w *Writer) Frame(op Opcode, fin, compressed bool, payload []byte) error {
	var key *[4]byte
	if w.Masked {
		key = new([4]byte)
		if _, err := rand.Read(key[:]); err != nil {
			return err
		}
	}
	w.buf = AppendHead(w.buf[:0], op, fin, compressed, key, len(payload))
	for pos := 0; ; {
		at := len(w.buf)
		n := min(len(payload), piece-at)
		w.buf = append(w.buf, payload[:n]...)
		if key != nil {
			pos = xor(w.buf[at:], *key, pos)
		}
		if _, err := w.To.Write(w.buf); err != nil {
			return err
		}
		if payload, w.buf = payload[n:], w.buf[:0]; len(payload) == 0 {
			return nil
		}
	}
}

// xor masks in place, beginning at a place in the key, and gives the next place.
func xor(b []byte, key [4]byte, pos int) int {
	for len(b) > 0 && pos&3 != 0 {
		b[0] ^= key[pos&3]
		b, pos = b[1:], pos+1
	}
	if len(b) == 0 {
		return pos & 3
	}
	k := uint64(binary.LittleEndian.Uint32(key[:]))
	k |= k << 32
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= key[i&3]
	}
	return len(b) & 3
}
