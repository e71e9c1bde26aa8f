package layers

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"io"
)

type packing uint8

const (
	none packing = iota
	asGzip
	asZlib
	asZip // one file of an archive
)

// zipHead is the length of a file's head in a ZIP archive, without its names.
const zipHead = 30

var gzipMark, zipMark = []byte{0x1f, 0x8b, 8}, []byte{'P', 'K', 3, 4}

// format tells compressed data by its begin.
func format(data []byte) packing {
	switch {
	case len(data) < 8:
	case bytes.HasPrefix(data, gzipMark):
		return asGzip
	case bytes.HasPrefix(data, zipMark):
		return asZip
	case data[0]&0x8f == 8 && binary.BigEndian.Uint16(data)%31 == 0 && data[1]&0x20 == 0:
		return asZlib
	}
	return none
}

// inflate gives what is compressed at the begin of data, and how many bytes of
// it that takes. What can be read of damaged data counts: whoever gets it may
// read it as well. Nothing: it is not compressed.
func inflate(data []byte, f packing, left *budget) (out []byte, n int, err error) {
	if f == none {
		return nil, 0, nil
	}
	if left.tries--; left.tries < 0 {
		return nil, 0, ErrTooMuch
	}
	from := bytes.NewReader(data)
	var plain io.Reader
	switch f {
	case asGzip:
		z, err := gzip.NewReader(from)
		if err != nil {
			return nil, 0, nil
		}
		z.Multistream(false)
		plain = z
	case asZlib:
		if plain, err = zlib.NewReader(from); err != nil {
			return nil, 0, nil
		}
	case asZip:
		if len(data) < zipHead || binary.LittleEndian.Uint16(data[8:]) != 8 { // deflated
			return nil, 0, nil
		}
		head := zipHead + int(binary.LittleEndian.Uint16(data[26:])) + int(binary.LittleEndian.Uint16(data[28:]))
		if head > len(data) {
			return nil, 0, nil
		}
		_, _ = from.Seek(int64(head), io.SeekStart)
		plain = flate.NewReader(from)
	}
	out, _ = io.ReadAll(io.LimitReader(plain, int64(left.bytes)+1))
	if len(out) > left.bytes {
		return nil, 0, ErrTooMuch
	}
	return out, len(data) - from.Len(), nil
}

// inflated gives what is compressed in decoded data.
func inflated(data []byte, left *budget) (out []byte, ok bool, err error) {
	out, _, err = inflate(data, format(data), left)
	return out, len(out) > 0, err
}

// decompress fills the layer with the text, in which gzip data and files of
// archives are decompressed, and zlib data if the text begins with it; false:
// there are none.
func (l *Layer) decompress(text []byte, left *budget) (bool, error) {
	done := 0
	begin := finder{text: text, marks: [][]byte{gzipMark, zipMark}}
	for i := 0; ; {
		if i > 0 || format(text) != asZlib {
			if i = begin.next(i); i < 0 {
				break
			}
		}
		out, n, err := inflate(text[i:], format(text[i:]), left)
		if err != nil {
			return false, err
		}
		if len(out) == 0 {
			i++
			continue
		}
		if err := left.take(len(out)); err != nil {
			return false, err
		}
		l.copy(done, i)
		// What stands beside it is no part of a word in it.
		l.put(i, i+n, compressed, '\n')
		l.put(i, i+n, compressed, append(out, '\n')...)
		i += n
		done = i
	}
	if l.pieces == nil {
		return false, nil
	}
	l.copy(done, len(text))
	return true, nil
}

// finder finds the places where one of several marks stands.
type finder struct {
	text  []byte
	marks [][]byte
	at    []int // of each mark, where it stands next
}

// next gives the first place from i on, which does not go back; -1: there is none.
func (f *finder) next(i int) int {
	if f.at == nil {
		f.at = make([]int, len(f.marks))
		for k := range f.at {
			f.at[k] = -1
		}
	}
	first := len(f.text)
	for k, mark := range f.marks {
		if f.at[k] < i {
			f.at[k] = len(f.text)
			if i < len(f.text) {
				if n := bytes.Index(f.text[i:], mark); n >= 0 {
					f.at[k] = i + n
				}
			}
		}
		first = min(first, f.at[k])
	}
	if first == len(f.text) {
		return -1
	}
	return first
}
