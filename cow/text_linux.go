package cow

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"
)

// maxText bounds a file that is compared by lines, bytes.
const maxText = 1 << 20

// Text shows what a change did to a file's content: by lines (unified) where both
// sides are small text, else by size and digest. It is empty where nothing is to
// be shown. Every line of it is hostile: whoever prints it escapes it.
func (l *Layer) Text(c Change) (string, error) {
	isFile := func(s *Side) bool { return s != nil && s.Type == File }
	if !isFile(c.Before) && !isFile(c.After) || c.Kind == Mode {
		return "", nil
	}
	t, err := l.open()
	if err != nil {
		return "", err
	}
	defer t.Close()
	before, oldText, err := t.content(t.lower, c.Path, isFile(c.Before))
	if err != nil {
		return "", err
	}
	after, newText, err := t.content(t.upper, c.Path, isFile(c.After))
	if err != nil {
		return "", err
	}
	if oldText && newText {
		return string(diff.Diff("workspace/"+c.Path, before, "sandbox/"+c.Path, after)), nil
	}
	text := ""
	for _, side := range []struct {
		sign string
		root int
		s    *Side
	}{{"-", t.lower, c.Before}, {"+", t.upper, c.After}} {
		if isFile(side.s) {
			text += fmt.Sprintf("%s binary or large: %d bytes, %s\n", side.sign, side.s.Size, digest(side.root, c.Path, side.s.Size))
		}
	}
	return text, nil
}

// content reads a side; text is false for what is too large or no text.
func (t *trees) content(root int, rel string, there bool) (b []byte, text bool, err error) {
	if !there {
		return nil, true, nil
	}
	f, err := openFile(root, rel)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	b, err = io.ReadAll(io.LimitReader(f, maxText+1))
	return b, err == nil && len(b) <= maxText && utf8.Valid(b) && bytes.IndexByte(b, 0) < 0, err
}

func digest(root int, rel string, size int64) string {
	if size > maxDigest {
		return "too large for a digest"
	}
	f, err := openFile(root, rel)
	if err != nil {
		return "cannot be read"
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, maxDigest)); err != nil {
		return "cannot be read"
	}
	return "sha256 " + hex.EncodeToString(h.Sum(nil))
}
