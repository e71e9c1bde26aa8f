package analyse_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
)

// presetDocument makes a version 1 document out of a preset.
func presetDocument(t *testing.T, data []byte) []byte {
	t.Helper()
	var preset struct {
		Networks yaml.Node `yaml:"network_policies"`
	}
	if err := yaml.Unmarshal(data, &preset); err != nil {
		t.Fatal(err)
	}
	out, err := yaml.Marshal(map[string]any{"version": 1, "network_policies": &preset.Networks})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Every policy of the corpus that loads can be analysed, and equals itself.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("../testdata/corpus/*/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var before *policy.Document
	analysed, compared := 0, 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(f, "--presets--") {
			text = presetDocument(t, text)
		}
		doc, _, err := policy.Parse(filepath.Base(f), text)
		if err != nil {
			continue // accounted for by package policy
		}
		r, err := analyse.ReachOf(doc, time.Time{})
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		analysed++
		if len(r.Unknown) > 0 {
			t.Errorf("%s: %v", f, r.Unknown)
		}
		if d, err := analyse.Diff(doc, doc, time.Time{}); err != nil || !d.Equal() {
			t.Errorf("%s differs from itself: %+v, %v", f, d, err)
		}
		if len(r.Network) == 0 && len(doc.Networks) > 0 {
			t.Logf("%s opens nothing", f)
		}
		if before != nil {
			d, err := analyse.Diff(before, doc, time.Time{})
			if err != nil {
				t.Errorf("%s and %s: %v", before.File, doc.File, err)
			} else if !d.Equal() {
				compared++
			}
		}
		before = doc
	}
	if analysed < 30 || compared < 30 {
		t.Errorf("%d analysed, %d different from the one before", analysed, compared)
	}
	t.Logf("%d of %d analysed", analysed, len(files))
}

// ofVersion2 is what version 2 has no other word for: what nobody looks into has a
// bound, and models are accepted for an endpoint and not for some of its paths.
func ofVersion2(s analyse.Setting) bool {
	return strings.HasPrefix(s.Key, "limits.bytes_out of ") && s.Was == "" && s.Is == "64M in 1d" ||
		strings.HasPrefix(s.Key, "models of ") && strings.HasPrefix(s.Was, "allow at ") && s.Is == "allow"
}

// guarded: version 2 refuses connections to model hosts that nobody looks into.
// One that the old file writes out is accepted by what migrate writes; one that a
// pattern takes is told in a note.
func guarded(c analyse.Class) bool {
	return c.Traffic != analyse.HTTP && len(c.Hosts) > 0 && !slices.ContainsFunc(c.Hosts, func(h string) bool { return !slices.Contains(policy.ModelServices(), h) })
}

// What migrate writes means what the old file did, but for what version 2 takes away
// by itself: proved for all traffic of every
// file that is migrated, and for the keys that let nothing through by themselves.
func TestMigratedIsEqual(t *testing.T) {
	files, err := filepath.Glob("../testdata/corpus/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	proved := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(f, "--presets--") {
			text = presetDocument(t, text)
		}
		old, _, err := policy.Parse(filepath.Base(f), text)
		if err != nil {
			continue
		}
		written, _, err := policy.Migrate(filepath.Base(f), text)
		if err != nil {
			continue // refused, and package policy says why
		}
		migrated, _, err := policy.Parse("migrated.yaml", written)
		if err != nil {
			t.Fatal(err)
		}
		d, err := analyse.Diff(old, migrated, time.Time{})
		if err == nil {
			d.Sections = slices.DeleteFunc(d.Sections, ofVersion2)
			d.Denied = slices.DeleteFunc(d.Denied, guarded)
		}
		switch {
		case err != nil:
			t.Errorf("%s: %v", f, err)
		case !d.Equal():
			t.Errorf("%s: newly allowed %+v, denied %+v, recorded %+v, sections %+v, not told %v", f, d.Allowed, d.Denied, d.Recorded, d.Sections, d.Unknown)
		default:
			proved++
		}
	}
	if proved < 30 {
		t.Errorf("%d proved", proved)
	}
	t.Logf("%d proved equal", proved)
}
