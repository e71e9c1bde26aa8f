package git

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

const (
	maxObjects   = 1 << 20  // in one pack
	maxCommit    = 1 << 20  // bytes of one commit; a message is a page
	maxCommits   = 64 << 20 // bytes of all commits of a pack that are held at once
	maxUnpacked  = 4 << 30  // bytes of all objects, so that a small pack cannot cost hours
	maxDeltaStep = 50       // git's own bound on a chain of differences (pack.depth)
)

// ErrPack means that a pack is not understood or is too large.
var ErrPack = errors.New("read git pack")

// Types of objects in a pack (gitformat-pack(5)).
const (
	objCommit   = 1
	objTree     = 2
	objBlob     = 3
	objTag      = 4
	objOfsDelta = 6
	objRefDelta = 7
)

// FastForward reads the pack of a push and takes Forced from the updates that
// keep every commit; none is Unproved then. r is read to the end of the pack;
// nothing may follow it. After an error the updates are as they were.
func FastForward(r io.Reader, updates []Update) error {
	p := &pack{in: &counter{r: bufio.NewReader(r)}, at: map[int64]*object{}, byID: map[string]*object{}}
	p.wide = len(updates) > 0 && len(updates[0].old) == 64
	if err := p.scan(); err != nil {
		return fmt.Errorf("%w: %w", ErrPack, err)
	}
	p.resolve()
	for i := range updates {
		u := &updates[i]
		u.Forced = u.Forced && !p.leads(u.new, u.old)
		u.Unproved = false
	}
	return nil
}

// object is a commit, or what may be one.
type object struct {
	text    []byte // of a commit; nil: it is none, or not known
	delta   []byte // to base
	base    int64  // place in the pack
	baseID  string // or id
	parents []string
}

type pack struct {
	in       *counter
	wide     bool // SHA-256
	at       map[int64]*object
	byID     map[string]*object
	held     int64
	unpacked int64
}

// counter counts what is read byte by byte, as zlib wants it.
type counter struct {
	r *bufio.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func (p *pack) newHash() hash.Hash {
	if p.wide {
		return sha256.New()
	}
	return sha1.New() // Git's own ids
}

func (p *pack) scan() error {
	var head [12]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return err
	}
	version, count := binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint32(head[8:])
	if string(head[:4]) != "PACK" || version != 2 && version != 3 {
		return errors.New("it is none")
	}
	if count > maxObjects {
		return fmt.Errorf("more than %d objects", maxObjects)
	}
	for range count {
		if err := p.object(); err != nil {
			return err
		}
	}
	// The checksum is the server's to check; here it only has to end the pack.
	if _, err := io.CopyN(io.Discard, p.in, int64(p.newHash().Size())); err != nil {
		return err
	}
	if _, err := p.in.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.New("bytes behind the end")
	}
	return nil
}

// object reads one object and keeps it if it may be a commit.
func (p *pack) object() error {
	place := p.in.n
	kind, size, err := p.typeAndSize()
	if err != nil {
		return err
	}
	o := &object{}
	switch kind {
	case objCommit, objTree, objBlob, objTag:
	case objOfsDelta:
		back, err := p.offset()
		if err != nil {
			return err
		}
		if back <= 0 || back > place {
			return errors.New("a difference to nothing")
		}
		o.base = place - back
	case objRefDelta:
		id := make([]byte, p.newHash().Size())
		if _, err := io.ReadFull(p.in, id); err != nil {
			return err
		}
		o.baseID = hex.EncodeToString(id)
	default:
		return fmt.Errorf("an object of type %d", kind)
	}
	if p.unpacked += size; p.unpacked > maxUnpacked {
		return fmt.Errorf("more than %d bytes unpacked", int64(maxUnpacked))
	}
	// A difference to what is no commit is none either.
	keep := kind == objCommit || kind == objRefDelta || kind == objOfsDelta && p.at[o.base] != nil
	if keep && size > maxCommit {
		if kind == objCommit {
			return fmt.Errorf("a commit of more than %d bytes", maxCommit)
		}
		keep = false
	}
	text, err := p.inflate(size, keep)
	if err != nil || !keep {
		return err
	}
	if p.held += size; p.held > maxCommits {
		return fmt.Errorf("more than %d bytes of commits", maxCommits)
	}
	if kind == objCommit {
		o.text = text
	} else {
		o.delta = text
	}
	p.at[place] = o
	return nil
}

func (p *pack) typeAndSize() (kind int, size int64, err error) {
	b, err := p.in.ReadByte()
	if err != nil {
		return 0, 0, err
	}
	kind, size = int(b>>4&7), int64(b&15)
	for shift := 4; b&0x80 != 0; shift += 7 {
		if b, err = p.in.ReadByte(); err != nil {
			return 0, 0, err
		}
		if shift > 40 {
			return 0, 0, errors.New("a size that no object has")
		}
		size |= int64(b&0x7f) << shift
	}
	return kind, size, nil
}

func (p *pack) offset() (int64, error) {
	b, err := p.in.ReadByte()
	if err != nil {
		return 0, err
	}
	n := int64(b & 0x7f)
	for b&0x80 != 0 {
		if b, err = p.in.ReadByte(); err != nil {
			return 0, err
		}
		if n > 1<<48 {
			return 0, errors.New("an offset that no pack has")
		}
		n = (n+1)<<7 | int64(b&0x7f)
	}
	return n, nil
}

// inflate reads a compressed object that must have just this size.
func (p *pack) inflate(size int64, keep bool) ([]byte, error) {
	z, err := zlib.NewReader(p.in)
	if err != nil {
		return nil, err
	}
	var to bytes.Buffer
	var w io.Writer = io.Discard
	if keep {
		w = &to
	}
	if n, err := io.Copy(w, io.LimitReader(z, size+1)); err != nil || n != size {
		return nil, errors.Join(errors.New("an object is not of its size"), err)
	}
	return to.Bytes(), nil
}

// resolve applies the differences whose base is a commit of the pack, and names
// all commits.
func (p *pack) resolve() {
	for _, o := range p.at {
		if o.text != nil {
			p.name(o)
		}
	}
	for range maxDeltaStep {
		again := false
		for _, o := range p.at {
			if o.text != nil || o.delta == nil {
				continue
			}
			base := p.byID[o.baseID]
			if o.baseID == "" {
				base = p.at[o.base]
			}
			if base == nil || base.text == nil {
				continue
			}
			text, ok := patch(base.text, o.delta)
			o.delta = nil
			if p.held += int64(len(text)); !ok || p.held > maxCommits {
				continue // nobody's parent, then
			}
			o.text, again = text, true
			p.name(o)
		}
		if !again {
			return
		}
	}
}

// name finds a commit's id and parents.
func (p *pack) name(o *object) {
	h := p.newHash()
	fmt.Fprintf(h, "commit %d\x00", len(o.text))
	h.Write(o.text)
	p.byID[hex.EncodeToString(h.Sum(nil))] = o
	for line := range bytes.Lines(o.text) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if id, ok := bytes.CutPrefix(line, []byte("parent ")); ok && isID(string(id)) {
			o.parents = append(o.parents, string(id))
		} else if len(o.parents) > 0 || !bytes.HasPrefix(line, []byte("tree ")) {
			break // the header's order is fixed: tree, parents, the rest
		}
	}
}

// leads reports whether parents lead from one commit to the other.
func (p *pack) leads(from, to string) bool {
	queue, seen := []string{from}, map[string]bool{from: true}
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		o := p.byID[id]
		if o == nil {
			continue
		}
		for _, parent := range o.parents {
			if parent == to {
				return true
			}
			if !seen[parent] {
				seen[parent] = true
				queue = append(queue, parent)
			}
		}
	}
	return false
}

// patch applies a difference (gitformat-pack(5), "Deltified representation").
func patch(base, delta []byte) ([]byte, bool) {
	size := func() (n int, ok bool) {
		for shift := 0; len(delta) > 0 && shift < 35; shift += 7 {
			b := delta[0]
			delta = delta[1:]
			n |= int(b&0x7f) << shift
			if b&0x80 == 0 {
				return n, true
			}
		}
		return 0, false
	}
	from, ok1 := size()
	to, ok2 := size()
	if !ok1 || !ok2 || from != len(base) || to > maxCommit {
		return nil, false
	}
	out := make([]byte, 0, to)
	for len(delta) > 0 {
		op := delta[0]
		delta = delta[1:]
		if op&0x80 == 0 {
			n := int(op)
			if n == 0 || n > len(delta) || len(out)+n > to {
				return nil, false
			}
			out, delta = append(out, delta[:n]...), delta[n:]
			continue
		}
		var offset, n int
		for i := range 7 {
			if op&(1<<i) == 0 {
				continue
			}
			if len(delta) == 0 {
				return nil, false
			}
			if i < 4 {
				offset |= int(delta[0]) << (8 * i)
			} else {
				n |= int(delta[0]) << (8 * (i - 4))
			}
			delta = delta[1:]
		}
		if n == 0 {
			n = 0x10000
		}
		if offset > len(base) || n > len(base)-offset || len(out)+n > to {
			return nil, false
		}
		out = append(out, base[offset:offset+n]...)
	}
	return out, len(out) == to
}
