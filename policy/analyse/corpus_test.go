package analyse_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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
		r, err := analyse.ReachOf(doc)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		analysed++
		if d, err := analyse.Diff(doc, doc); err != nil || !d.Equal() {
			t.Errorf("%s differs from itself: %+v, %v", f, d, err)
		}
		if len(r.Network) == 0 && len(doc.Networks) > 0 {
			t.Logf("%s opens nothing", f)
		}
		if before != nil {
			d, err := analyse.Diff(before, doc)
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

// What migrate writes lets through what the old file did: proved for all traffic,
// where the protocols are known here.
func TestMigratedIsEqual(t *testing.T) {
	files, err := filepath.Glob("../testdata/corpus/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	proved, open := 0, 0
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
		d, err := analyse.Diff(old, migrated)
		switch {
		case err != nil:
			t.Errorf("%s: %v", f, err)
		case len(d.Allowed)+len(d.Denied)+len(d.Recorded) > 0:
			t.Errorf("%s: newly allowed %+v, denied %+v, recorded %+v", f, d.Allowed, d.Denied, d.Recorded)
		case len(d.Unknown) > 0:
			open++
		default:
			proved++
		}
	}
	if proved < 20 {
		t.Errorf("%d proved, %d cannot be told", proved, open)
	}
	t.Logf("%d proved equal, %d cannot be told", proved, open)
}
