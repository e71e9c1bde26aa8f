package layers

import (
	"context"
	"errors"
	"iter"
	"slices"
)

const (
	// maxLayers is how deep encodings are undone, escapes and others counted apart.
	maxLayers = 10
	// maxGrowth and minTotal bound the bytes of all layers together: so many
	// times the text, or so many, whichever is more.
	maxGrowth = 8
	minTotal  = 8 << 20
	// maxTries bounds how often something that looks compressed and is not may
	// be tried, all layers together: each one costs as much as some kilobytes.
	maxTries = 1000
)

// budget is what may still be done for one text.
type budget struct{ bytes, tries int }

func (b *budget) take(n int) error {
	if b.bytes -= n; b.bytes < 0 {
		return ErrTooMuch
	}
	return nil
}

var (
	ErrTooDeep = errors.New("it is encoded in too many layers")
	ErrTooMuch = errors.New("too much is encoded in it")
)

// Layer is a text with some encodings undone.
type Layer struct {
	Text   []byte
	Depth  int // 0: the text as it came
	above  *Layer
	pieces []piece // of Text, in order, without gaps
}

// piece is a stretch of a layer's text, up to the next one's.
type piece struct {
	at       uint32 // where it begins in this layer
	from, to uint32 // what it stands for in the one above
	kind     kind
}

type kind uint8

const (
	same       kind = iota // copied, byte for byte
	escape                 // one character, or none, that was escaped
	base64                 // the whole piece stands for the whole stretch, from here on
	base32                 //
	hexa                   //
	compressed             // as it is, or in base64 or others
)

var kindNames = [...]string{same: "", escape: "escapes", base64: "base64", base32: "base32", hexa: "hex", compressed: "compression"}

// Of gives the layers of a text, which has at most 2^31 bytes. The texts of the
// layers are valid until the next one. After an error there is nothing more.
func Of(ctx context.Context, text []byte) iter.Seq2[*Layer, error] {
	return func(yield func(*Layer, error) bool) {
		left := &budget{max(maxGrowth*len(text), minTotal), maxTries}
		l := &Layer{Text: text}
		for {
			if !yield(l, nil) {
				return
			}
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			next, err := l.below(left)
			if err == nil && next != nil && next.Depth > maxLayers {
				err = ErrTooDeep
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if next == nil {
				return
			}
			if err := left.take(len(next.Text)); err != nil {
				yield(nil, err)
				return
			}
			l = next
		}
	}
}

// below takes one layer off; nil: there is none.
func (l *Layer) below(left *budget) (*Layer, error) {
	next := &Layer{above: l, Depth: l.Depth + 1}
	if ok, err := next.decompress(l.Text, left); ok || err != nil {
		return next, err
	}
	if next.unescape(l.Text) {
		return next, nil
	}
	if ok, err := next.decode(l.Text, left); !ok {
		return nil, err
	}
	return next, nil
}

// copy adds what is the same in the layer above.
func (l *Layer) copy(from, to int) {
	if from < to {
		l.pieces = append(l.pieces, piece{uint32(len(l.Text)), uint32(from), uint32(to), same})
		l.Text = append(l.Text, l.above.Text[from:to]...)
	}
}

// put adds what stands for a stretch of the layer above.
func (l *Layer) put(from, to int, k kind, text ...byte) {
	l.pieces = append(l.pieces, piece{uint32(len(l.Text)), uint32(from), uint32(to), k})
	l.Text = append(l.Text, text...)
}

// pieceAt is the index of the piece that byte i of the text stands in.
func (l *Layer) pieceAt(i int) int {
	// The last one that begins at i or before: those before it have no bytes.
	n, _ := slices.BinarySearchFunc(l.pieces, uint32(i), func(p piece, i uint32) int {
		if p.at <= i {
			return -1
		}
		return 1
	})
	return n - 1
}

// Copied reports whether the bytes were copied from the layer above, side by
// side: whoever looked at them there has seen them.
func (l *Layer) Copied(from, to int) bool {
	if l.above == nil || to <= from {
		return false
	}
	i := l.pieceAt(from)
	return l.pieces[i].kind == same && (i+1 == len(l.pieces) || int(l.pieces[i+1].at) >= to)
}

// Origin gives where bytes come from: the smallest stretch of the text as it
// came that has all of them, and the encodings from outside to inside. from is
// less than to.
func (l *Layer) Origin(from, to int) (int, int, []string) {
	var via []string
	for ; l.above != nil; l = l.above {
		first, last := l.pieceAt(from), l.pieceAt(to-1)
		name := ""
		low, high := len(l.above.Text), 0
		for i := first; i <= last; i++ {
			p := l.pieces[i]
			begin, end := int(p.from), int(p.to)
			if p.kind != same {
				name = kindNames[p.kind]
			} else {
				end = min(end, begin+to-int(p.at))
				begin += max(from-int(p.at), 0)
			}
			low, high = min(low, begin), max(high, end)
		}
		from, to = low, high
		if name != "" {
			via = append(via, name)
		}
	}
	slices.Reverse(via)
	return from, to, via
}
