package sandbox

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVisible(t *testing.T) {
	m := func(id, parent int, path, root string) MountPoint {
		return MountPoint{ID: id, Parent: parent, Path: path, Root: root, Device: "0:1"}
	}
	for _, tt := range []struct {
		what string
		in   []MountPoint
		want string // PATH=ROOT
	}{
		{"plain", []MountPoint{m(1, 0, "/", "/"), m(2, 1, "/usr", "/u")}, "/=/ /usr=/u"},
		{"stacked on the same place", []MountPoint{m(1, 0, "/", "/"), m(2, 1, "/usr", "/u"), m(3, 2, "/usr", "/v")}, "/=/ /usr=/v"},
		{"below one that was stacked over", []MountPoint{m(1, 0, "/", "/"), m(2, 1, "/a", "/"), m(3, 2, "/a/b", "/old"), m(4, 2, "/a", "/top")}, "/=/ /a=/top"},
		{"the copy of a recursive bind", []MountPoint{m(1, 0, "/", "/"), m(2, 1, "/a", "/"), m(3, 2, "/a/b", "/old"), m(4, 2, "/a", "/"), m(5, 4, "/a/b", "/new")}, "/=/ /a=/ /a/b=/new"},
		{"a later mount above", []MountPoint{m(1, 0, "/", "/"), m(2, 1, "/a/b", "/old"), m(3, 1, "/a", "/top")}, "/=/ /a=/top"},
		{"a neighbour with the same beginning", []MountPoint{m(1, 0, "/", "/"), m(2, 1, "/ab", "/x"), m(3, 1, "/a", "/y")}, "/=/ /a=/y /ab=/x"},
		{"a circle", []MountPoint{m(1, 2, "/a", "/"), m(2, 1, "/b", "/")}, ""},
		{"its own parent", []MountPoint{m(1, 1, "/", "/"), m(2, 1, "/a", "/")}, "/=/ /a=/"},
	} {
		var got []string
		visible := Visible(tt.in)
		for _, path := range slices.Sorted(maps.Keys(visible)) {
			got = append(got, path+"="+visible[path].Root)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %q, want %q", tt.what, s, tt.want)
		}
	}
}

func TestOrigin(t *testing.T) {
	visible := Visible([]MountPoint{
		{ID: 1, Path: "/", Root: "/", Device: "8:1"}, {ID: 2, Parent: 1, Path: "/home", Root: "/@home", Device: "8:2"},
	})
	for path, want := range map[string]string{"/etc/x": "8:1 /etc/x", "/home": "8:2 /@home", "/home/a/b": "8:2 /@home/a/b", "/homes": "8:1 /homes", "/": "8:1 /"} {
		if device, root, ok := Origin(visible, path); !ok || device+" "+root != want {
			t.Errorf("%s: %s %s %v, want %s", path, device, root, ok, want)
		}
	}
	if _, _, ok := Origin(nil, "/a"); ok {
		t.Error("an origin on no file system")
	}
}

// TestRulesetIsStable: readings of untouched rules are the same, and reading is
// cheap enough for the start of every sandbox.
func TestRulesetIsStable(t *testing.T) {
	s := start(t, config(t, "/bin/true"))
	const readings = 50
	begin := time.Now()
	for range readings {
		if got, err := s.ReadRuleset(); err != nil || got.Digest != s.Ruleset.Digest {
			t.Fatalf("%v %v, at the start %v", got, err, s.Ruleset)
		}
	}
	if each := time.Since(begin) / readings; each > 5*time.Millisecond {
		t.Errorf("one reading takes %s", each)
	} else {
		t.Log("one reading takes", each)
	}
}
