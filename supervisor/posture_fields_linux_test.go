package supervisor

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/sandbox"
	"github.com/creel-run/creel/sandbox/spec"
)

// fieldRows says for every field of what a sandbox is made of which row of the
// posture shows it, or, after a dash, why none does.
var fieldRows = map[string]string{
	"Spec.Hostname": "namespaces", // a name in a namespace of its own
	"Spec.Command":  "- what runs is `creel ls`'s to show",
	"Spec.Env":      "- a process may change its environment; that it starts with nothing of the host's: TestEnvironment, e2e TestSecrets",
	"Spec.Dir":      "- where the agent starts is no wall",
	"Spec.UID":      "user",
	"Spec.GID":      "user",

	"Spec.Mounts":          "mounts",
	"Spec.Mounts.Kind":     "mounts",
	"Spec.Mounts.Target":   "mounts",
	"Spec.Mounts.Source":   "mounts",
	"Spec.Mounts.Write":    "mounts",
	"Spec.Mounts.Layer":    "- where the changes go; the row \"mounts\" compares that it is an overlay",
	"Spec.Mounts.Owned":    "- how owners look, not what may be done: sandbox TestWorkspaceKeepsItsOwner",
	"Spec.Mounts.Device":   "mounts",
	"Spec.Mounts.NoExec":   "mounts",
	"Spec.Mounts.File":     "- the kernel mounts a file on a file and a folder on a folder alone",
	"Spec.Mounts.Mode":     "- of an empty folder of the agent's own, which it may change",
	"Spec.Mounts.Size":     "- in the kernel's own words once mounted: sandbox TestOwnFoldersAreBounded",
	"Spec.Mounts.Inodes":   "- as Size",
	"Spec.Mounts.Optional": "mounts", // absent ones are notices of the start

	"Spec.Files":              "files",
	"Spec.Files.Path":         "files",
	"Spec.Files.Blob":         "files",
	"Spec.Links":              "- they lie on the root, which is read-only: the row mounts",
	"Spec.Links.Path":         "- as Links",
	"Spec.Links.Target":       "- as Links",
	"Spec.Masked":             "masks",
	"Spec.Pins":               "mounts",
	"Spec.Covers":             "protected",
	"Spec.Covers.Path":        "protected",
	"Spec.Covers.Kind":        "protected",
	"Spec.Covers.File":        "- which kind of mount covers it",
	"Spec.ReadOnly":           "mounts",
	"Spec.Landlock":           "landlock",
	"Spec.Landlock.ABI":       "landlock",
	"Spec.Landlock.ReadOnly":  "- the kernel shows no rules of a process; `creel selftest` runs against them",
	"Spec.Landlock.ReadWrite": "- as ReadOnly",
	"Spec.Seccomp":            "seccomp",
	"Spec.Notify":             "seccomp",
	"Spec.Streams":            "terminal",
	"Spec.Rows":               "- the size of a window",
	"Spec.Cols":               "- the size of a window",
	"Spec.Network":            "network",
	"Spec.Network.V4":         "network", // part of the rules that are compared
	"Spec.Network.V6":         "network",
	"Spec.Network.NameServer": "files", // resolv.conf

	"Config.Name":               "- a name",
	"Config.Command":            "- as Spec.Command",
	"Config.Env":                "- as Spec.Env",
	"Config.Dir":                "- as Spec.Dir",
	"Config.ReadOnly":           "mounts",
	"Config.ReadOnly.Path":      "mounts",
	"Config.ReadOnly.Optional":  "mounts",
	"Config.ReadWrite":          "mounts",
	"Config.ReadWrite.Path":     "mounts",
	"Config.ReadWrite.Optional": "mounts",
	"Config.Workspace":          "mounts",
	"Config.Workspace.Path":     "mounts",
	"Config.Workspace.Write":    "mounts",
	"Config.Workspace.Layer":    "mounts",
	"Config.Workspace.Apart":    "mounts",
	"Config.Protect":            "protected",
	"Config.Hidden":             "protected",
	"Config.Hidden.Path":        "protected",
	"Config.Hidden.Optional":    "- an absent path: accepted in the policy, told at the start",
	"Config.NoExec":             "protected",
	"Config.Home":               "mounts",
	"Config.HomeFrom":           "mounts",
	"Config.Files":              "files",
	"Config.Files.Paths":        "files",
	"Config.Files.Make":         "files",
	"Config.Files.Data":         "files",
	"Config.WithoutLandlock":    "landlock",
	"Config.RunAsUser":          "user",
	"Config.RunAsGroup":         "user",
	"Config.Syscalls":           "seccomp",
	"Config.Limits":             "memory",
	"Config.Limits.Memory":      "memory",
	"Config.Limits.CPU":         "cpu",
	"Config.Limits.PIDs":        "processes",
	"Config.Limits.Disk":        "disk",
	"Config.Limits.OpenFiles":   "open files",
	"Config.Limits.BestEffort":  "- what was accepted shows as degraded in the rows of the limits",
	"Config.OnGroup":            "- told at the start",
	"Config.Notify":             "seccomp",
	"Config.Streams":            "terminal",
	"Config.Rows":               "- the size of a window",
	"Config.Cols":               "- the size of a window",
	"Config.Network":            "network",
	"Config.Network.V4":         "network",
	"Config.Network.V6":         "network",
	"Config.Network.NameServer": "files",
}

// rowNames are the layers of a posture, in order; e2e TestPostureOfEveryKind
// compares them with live sandboxes.
var rowNames = []string{"user", "groups", "privileges", "namespaces", "init", "mounts", "masks", "protected", "files", "landlock", "seccomp",
	"network", "listeners", "terminal", "core dumps", "audit", "unix sockets",
	"memory", "cpu", "processes", "open files", "disk", "oom"}

// TestEveryFieldHasARow: what a sandbox can be asked for has a row that reads it
// back, or a written reason; a new field fails here until it has its line.
func TestEveryFieldHasARow(t *testing.T) {
	seen := map[string]bool{}
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Array || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || !strings.HasPrefix(typ.PkgPath(), "github.com/creel-run/creel/") {
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := path + "." + f.Name
			seen[name] = true
			row, ok := fieldRows[name]
			switch reason, dashed := strings.CutPrefix(row, "- "); {
			case !ok:
				t.Errorf("%s has no row of the posture and no reason why", name)
			case dashed && len(reason) < 5:
				t.Errorf("%s: no reason", name)
			case !dashed && !slices.Contains(rowNames, row):
				t.Errorf("%s: there is no row %q", name, row)
			}
			walk(name, f.Type)
		}
	}
	walk("Spec", reflect.TypeFor[spec.Spec]())
	walk("Config", reflect.TypeFor[sandbox.Config]())
	for name := range fieldRows {
		if !seen[name] {
			t.Errorf("%s is no field", name)
		}
	}
}

// TestRowsOfAnUnprotectedProcess: the rows that look at a process alone do not
// call this test itself protected.
func TestRowsOfAnUnprotectedProcess(t *testing.T) {
	st, err := readStatus(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	s := &supervisor{box: &sandbox.Sandbox{UID: 12345, GID: 12345}}
	r := reading{agent: os.Getpid(), init: os.Getppid(), status: st}
	for _, l := range []api.Layer{s.userLayer(r), privilegeLayer(r), namespaceLayer(r), s.seccompLayer(r), s.terminalLayer(r), initLayer(r), coreLayer(os.Getpid())} {
		if l.Name == "core dumps" && strings.HasPrefix(l.Detail, "limit 1 1") {
			continue
		}
		if l.State == api.Enforced {
			t.Errorf("%s: %s: %s", l.Name, l.State, l.Detail)
		}
	}
}
