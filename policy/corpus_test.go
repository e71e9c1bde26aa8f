package policy_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/policy"
)

// refusedInCorpus are files that OpenShell takes and Creel refuses for a fault
// that the file really has: the text that its report has to hold.
var refusedInCorpus = map[string]string{
	// Two endpoints have rules and no protocol, so OpenShell lets every request pass.
	"nemoclaw/policies--openclaw-sandbox.yaml": "rules on an endpoint without protocol",
}

// presetDocument makes a version 1 document out of a preset, whose own keys
// (preset) are not part of the language.
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

// CREEL_CORPUS names another folder of the same form. There a file that
// OpenShell takes may be refused, and the report is what the test prints.
const corpusEnv = "CREEL_CORPUS"

func TestCorpus(t *testing.T) {
	folder, foreign := "testdata/corpus", false
	if f := os.Getenv(corpusEnv); f != "" {
		folder, foreign = f, true
	}
	data, err := os.ReadFile(filepath.Join(folder, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest []struct {
		File, Kind, Note string
		Accepted         bool
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	loaded, refused, other := 0, 0, 0
	for _, entry := range manifest {
		t.Run(entry.File, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(entry.File)))
			if err != nil {
				t.Fatal(err)
			}
			if entry.Kind == "preset" {
				data = presetDocument(t, data)
			}
			doc, _, err := policy.Parse(entry.File, data)
			if entry.Kind != "preset" && entry.Kind != "policy" {
				// A provider profile, a blueprint, a list: no policy, and said to be none.
				if err == nil {
					t.Error("taken for a policy")
				}
				other++
				return
			}
			want, listed := refusedInCorpus[entry.File]
			switch {
			case err == nil && (listed || !entry.Accepted):
				t.Errorf("loads, although it should not (%s%s)", want, entry.Note)
			case err == nil:
				if _, err := policy.Compile(doc); err != nil {
					t.Error(err)
				}
				loaded++
			case !entry.Accepted:
				refused++
			case !listed && foreign:
				t.Logf("refused: %v", err)
				refused++
			case !listed:
				t.Errorf("refused: %v", err)
			case !strings.Contains(err.Error(), want):
				t.Errorf("refused for another reason than %q: %v", want, err)
			default:
				refused++
				var faults policy.Faults
				if errors.As(err, &faults) {
					for _, f := range faults {
						if !strings.Contains(f.Error(), want) {
							t.Errorf("a fault that is not listed: %v", f)
						}
					}
				}
			}
		})
	}
	t.Logf("%d load, %d are refused, %d are no policies", loaded, refused, other)
}
