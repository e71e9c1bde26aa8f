package cli

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestAccountHomes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	text := "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nshort:x:1\nrel:x:2:2::home:/bin/sh\nwalker:x:1000:1000:,,,:/home/walker:/bin/sh\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := accountHomes(file); !slices.Equal(got, []string{"/root", "/home/walker"}) {
		t.Error(got)
	}
	if got := accountHomes(file + ".none"); got != nil {
		t.Error(got)
	}
}
