package websocket

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"sync"
)

// window is how far back compressed data refers, in bytes. The decompressor of
// the standard library has one size; a peer that uses a smaller one is read as well.
const window = 32 << 10

// tail is what a sender takes away from a message (RFC 7692 §7.2.1), and an
// empty last block, at which the decompressor ends.
const tail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

// inflater decompresses messages one after the other.
type inflater struct {
	context bool   // messages refer to those before
	dict    []byte // the last window of what came out
	flate   io.ReadCloser
	in      compressedBytes
	streams int // that ended inside the message
}

// maxStreams bounds the compressed streams of a message: each costs a copy of
// the window, however short it is, and senders have one.
const maxStreams = 16

func newInflater(context bool) *inflater { return &inflater{context: context} }

// message decompresses one message, whose compressed bytes r gives.
func (f *inflater) message(r io.Reader) io.Reader {
	if !f.context {
		f.dict = f.dict[:0]
	}
	f.in, f.streams = compressedBytes{r: r, buf: f.in.buf}, 0
	f.restart()
	return f
}

func (f *inflater) restart() {
	if f.flate == nil {
		f.flate = flate.NewReaderDict(&f.in, f.dict)
	} else {
		_ = f.flate.(flate.Resetter).Reset(&f.in, f.dict) // never fails
	}
}

func (f *inflater) Read(p []byte) (int, error) {
	for {
		n, err := f.flate.Read(p)
		f.remember(p[:n])
		switch {
		case f.in.err != nil: // of the frames, and not of the compression
			return n, f.in.err
		case errors.Is(err, io.EOF):
			if f.in.done() {
				return n, io.EOF
			}
			// The sender ended a stream inside the message (RFC 7692 §7.2.3.4).
			if f.streams++; f.streams > maxStreams {
				return 0, &Fault{CodeData, "a message of too many compressed streams"}
			}
			f.restart()
			if n > 0 {
				return n, nil
			}
		case err != nil:
			return 0, &Fault{CodeData, "a message is not compressed as was agreed"}
		case n > 0:
			return n, nil
		}
	}
}

func (f *inflater) remember(b []byte) {
	if len(b) >= window {
		f.dict = append(f.dict[:0], b[len(b)-window:]...)
		return
	}
	if over := len(f.dict) + len(b) - window; over > 0 {
		f.dict = f.dict[:copy(f.dict, f.dict[over:])]
	}
	f.dict = append(f.dict, b...)
}

// compressedBytes gives bytes one by one, so that the decompressor takes none
// beyond the end of a stream.
type compressedBytes struct {
	r    io.Reader
	buf  []byte
	have []byte
	tail int // bytes of tail that were given
	end  bool
	err  error
}

func (c *compressedBytes) ReadByte() (byte, error) {
	for len(c.have) == 0 {
		if c.end {
			if c.tail == len(tail) {
				return 0, io.EOF
			}
			c.tail++
			return tail[c.tail-1], nil
		}
		if c.buf == nil {
			c.buf = make([]byte, 1024)
		}
		n, err := c.r.Read(c.buf)
		c.have = c.buf[:n]
		switch {
		case errors.Is(err, io.EOF):
			c.end = true
		case err != nil:
			c.err = err
			return 0, err
		}
	}
	b := c.have[0]
	c.have = c.have[1:]
	return b, nil
}

func (c *compressedBytes) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := c.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}

// done reports whether everything was given, the tail as well.
func (c *compressedBytes) done() bool { return c.end && len(c.have) == 0 && c.tail == len(tail) }

// compressors are for messages that do not refer to each other, so that one
// serves all connections: each holds about 1 MB.
var compressors = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil { // of the level alone
		panic(err)
	}
	return w
}}

// Compress is the payload of a compressed message, which refers to no other.
func Compress(message []byte) []byte {
	w := compressors.Get().(*flate.Writer)
	defer compressors.Put(w)
	var b bytes.Buffer
	w.Reset(&b)
	_, _ = w.Write(message) // into memory: never fails
	_ = w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte(tail[:4]))
}
