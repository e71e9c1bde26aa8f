package analyse_test

import (
	"os"
	"path/filepath"
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

// What migrate writes means what the old file did: proved for all traffic of every
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
		for i := range migrated.Networks { // models: allow says what version 1 means of model calls, of which the engine judges nothing
			for j := range migrated.Networks[i].Endpoints {
				migrated.Networks[i].Endpoints[j].Models = false
			}
		}
		d, err := analyse.Diff(old, migrated, time.Time{})
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
