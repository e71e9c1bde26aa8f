package supervisor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLayersOfAPolicy(t *testing.T) {
	work, outside := t.TempDir(), t.TempDir()
	org, team, own := filepath.Join(outside, "org.yaml"), filepath.Join(work, "team.yaml"), filepath.Join(work, policyName)
	write(t, org, "version: 2\nopen: [network_policies]\nfilesystem_policy: {include_workdir: true, read_only: [/usr]}\n")
	write(t, team, "version: 2\nextends: ["+org+"]\n")
	write(t, own, "version: 2\nextends: [team.yaml]\nnetwork_policies: {a: {endpoints: [{host: a.test, port: 443}], binaries: any}}\n")
	tr := trust{t.TempDir()}
	o := Options{Policy: own, Workspace: work, PolicyFound: true}
	src, err := findPolicy(o, tr)
	if err != nil {
		t.Fatal(err)
	}
	rev, _, err := src.compile(1)
	if err != nil {
		t.Fatal(err)
	}
	if len(rev.doc.Networks) != 1 || !slices.Equal(rev.doc.FileNames(), []string{org, team, own}) {
		t.Errorf("%v %v", rev.doc.Networks, rev.doc.Files)
	}
	if err := src.modest(rev.doc); err != nil {
		t.Error(err)
	}
	if want := []string{own, org, team}; !slices.Equal(sorted(src.files()), sorted(want)) {
		t.Errorf("files %v", src.files())
	}
	if err := src.expose(areas{realPath(work)}); err != nil {
		t.Fatal(err)
	}
	if want := []string{own, team}; !slices.Equal(sorted(src.exposedFiles()), sorted(want)) {
		t.Errorf("exposed %v", src.exposedFiles())
	}

	// What was trusted is all of the files.
	if err := tr.remember(work, src.text(), true); err != nil {
		t.Fatal(err)
	}
	if again, err := findPolicy(o, tr); err != nil || !again.named {
		t.Errorf("%v", err)
	}
	// A layer that is replaced is not taken while an agent can write there.
	write(t, team+".new", "version: 2\nextends: ["+org+"]\nopen: []\n")
	if err := os.Rename(team+".new", team); err != nil {
		t.Fatal(err)
	}
	if _, err := findPolicy(o, tr); err == nil {
		t.Error("a changed layer is trusted")
	}
	next := *src
	if err := next.read(own); err != nil {
		t.Fatal(err)
	}
	if err := next.expose(areas{realPath(work)}); err != nil {
		t.Fatal(err)
	}
	if err := next.sameLayers(src); err == nil || !strings.Contains(err.Error(), "team.yaml") {
		t.Errorf("%v", err)
	}
	if string(next.text()) == string(src.text()) {
		t.Error("the change is not seen")
	}
	if _, _, err := next.compile(2); err == nil {
		t.Error("the team closed what the sandbox opens, and nobody says so")
	}
	// One outside may be replaced.
	write(t, org+".new", "version: 2\nopen: []\n")
	if err := os.Rename(org+".new", org); err != nil {
		t.Fatal(err)
	}
	if err := next.read(own); err != nil {
		t.Fatal(err)
	}
	for _, l := range next.layers {
		if l.path == org && string(l.data) != "version: 2\nopen: []\n" {
			t.Errorf("%s", l.data)
		}
	}
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }
