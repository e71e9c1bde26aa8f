package fault

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
)

func TestErrorText(t *testing.T) {
	tests := []struct {
		err  *Error
		want string
		code int
	}{
		{&Error{}, "unknown error", General},
		{&Error{Op: "open audit log", Err: fs.ErrPermission}, "open audit log: permission denied", General},
		{UsageError("read policy", "no such file"), "read policy: no such file", Usage},
		{HostError("start sandbox", "no user namespaces"), "start sandbox: no user namespaces", Host},
		{Errorf("dial", "port %d", 7), "dial: port 7", General},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("text %q, want %q", got, tt.want)
		}
		if got := tt.err.Exit(); got != tt.code {
			t.Errorf("%s: exit %d, want %d", tt.want, got, tt.code)
		}
	}
}

func TestWrapKeepsHintsAndCode(t *testing.T) {
	below := HostError("probe", "nft missing", "modprobe nf_tables")
	w := Wrap(below, "start sandbox", 0, "creel doctor")
	if w.Exit() != Host {
		t.Errorf("exit %d, want that of the error below", w.Exit())
	}
	if want := []string{"modprobe nf_tables", "creel doctor"}; !slices.Equal(w.Hints, want) {
		t.Errorf("hints %q, want %q", w.Hints, want)
	}
	if !errors.Is(w, below) {
		t.Error("the error below is lost")
	}
	if Wrap(below, "x", Internal).Exit() != Internal {
		t.Error("an explicit code must win")
	}
}
