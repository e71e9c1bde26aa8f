package cli

import (
	"io/fs"
	"slices"
	"testing"
)

func TestPolicyHints(t *testing.T) {
	for _, tt := range []struct {
		err        error
		file, want string
	}{
		{fs.ErrNotExist, "nope/a.yaml", "creel agent policy x > nope/a.yaml"},
		{fs.ErrPermission, "nope/a b.yaml", "chmod u+r 'nope/a b.yaml'"},
		{nil, "testdata", "name a file: testdata/creel.yaml"},
	} {
		if got := policyHints(tt.err, tt.file, "creel agent policy x"); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%v %s: %q", tt.err, tt.file, got)
		}
	}
}
