package credential_test

import (
	"bytes"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/creel-run/creel/credential"
)

func TestScanner(t *testing.T) {
	tests := []struct {
		in, out string
		found   bool
	}{
		{"", "", false},
		{"plain text", "plain text", false},
		{"ends in creel:cred", "ends in creel:cred", false},
		{"creel:cre creel:cred;", "creel:cre creel:cred;", false},
		{"a creel:cred:X", "a ", true},
		{"creel:cred:", "", true},
		{"creelcreel:cred:", "creel", true},
		{"creel:creel:cred:", "creel:", true},
		{"creel:credcreel%3acred:", "creel:cred", true},
		{"%63reel%3Acred%3A", "", true},
		{"%creel:cred:", "%", true},
		{"%ccreel:cred:", "%c", true},
		{"%%63reel:cred:", "%", true},
		{"%6%63reel:cred:", "%6", true},
		{"100% creel", "100% creel", false},
		{"ends in %", "ends in %", false},
		{"ends in creel:%6", "ends in creel:%6", false},
		{"%2563reel:cred:", "%2563reel:cred:", false}, // encoded twice
	}
	for _, tt := range tests {
		for name, r := range map[string]io.Reader{
			"whole": strings.NewReader(tt.in), "bytes": iotest.OneByteReader(strings.NewReader(tt.in)),
			"data and error": iotest.DataErrReader(strings.NewReader(tt.in))} {
			got, err := io.ReadAll(credential.NewScanner(r))
			if found := errors.Is(err, credential.ErrPlaceholder); found != tt.found || !found && err != nil {
				t.Errorf("%s %q: error %v", name, tt.in, err)
			}
			rest, ok := strings.CutPrefix(string(got), tt.out)
			// Byte by byte, the first five characters of the prefix are given out,
			// at most three bytes each, and two of the escape behind them.
			allowed := name == "bytes" && tt.found && len(rest) <= 17 && !strings.Contains(rest, ":")
			if !ok || rest != "" && !allowed {
				t.Errorf("%s %q: gave out %q, want %q", name, tt.in, got, tt.out)
			}
		}
	}
}

// A message must not wait for the next one, whatever letter it ends with.
func TestScannerDoesNotHoldMessages(t *testing.T) {
	for _, msg := range []string{"c", "PING\r\n", "creel", "%63", "%6", "100%"} {
		pr, pw := io.Pipe()
		s := credential.NewScanner(pr)
		go func() { _, _ = pw.Write([]byte(msg)) }()
		buf := make([]byte, len(msg))
		if _, err := io.ReadFull(s, buf); err != nil || string(buf) != msg {
			t.Errorf("%q: got %q, %v", msg, buf, err)
		}
		pw.Close()
	}
}

func FuzzScanner(f *testing.F) {
	for _, s := range []string{"creel:cred:", "x%63reel:cred:y", "creel:creel:cred", "%", "%c%cr", "abc"} {
		f.Add([]byte(s), uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		got, err := io.ReadAll(credential.NewScanner(&pieces{in, int(size%7) + 1}))
		if !bytes.HasPrefix(in, got) {
			t.Fatalf("gave out %q of %q", got, in)
		}
		plain := bytes.Contains(in, []byte("creel:cred:"))
		dec, derr := url.PathUnescape(string(in))
		coded := derr == nil && strings.Contains(dec, "creel:cred:")
		switch {
		case (plain || coded) && err == nil:
			t.Fatalf("a placeholder passed: %q", in)
		case derr == nil && !plain && !coded && err != nil:
			t.Fatalf("%q was refused: %v", in, err)
		case err == nil && len(got) != len(in):
			t.Fatalf("gave out %d of %d bytes", len(got), len(in))
		case bytes.Contains(got, []byte("creel:cred:")):
			t.Fatalf("gave out a placeholder: %q", got)
		}
	})
}

type pieces struct {
	data []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.data[:min(p.size, len(p.data))])
	p.data = p.data[n:]
	return n, nil
}
