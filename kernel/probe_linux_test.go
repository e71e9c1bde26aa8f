package kernel

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// stageVar makes this test binary spoil its own namespaces, then probe.
const stageVar = "CREEL_TEST_STAGE"

func TestMain(m *testing.M) {
	if IsProbe(os.Args) {
		os.Exit(RunProbe(os.Args))
	}
	if stage := os.Getenv(stageVar); stage != "" {
		if err := spoil(stage); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := json.NewEncoder(os.Stdout).Encode(Probe(context.Background(), Paths{})); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func spoil(stage string) error {
	switch stage {
	case "no user namespaces": // a limit of the namespace that this process is root in
		return os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0)
	case "masked proc": // as container engines do
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			return err
		}
		return unix.Mount("tmpfs", "/proc/sys", "tmpfs", unix.MS_RDONLY, "")
	}
	return fmt.Errorf("unknown stage %q", stage)
}

func spoiled(t *testing.T, stage string) map[string]Feature {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{stageVar + "=" + stage, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", stage, err, errs.String())
	}
	var list []Feature
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	return byName(list)
}

func byName(list []Feature) map[string]Feature {
	m := map[string]Feature{}
	for _, f := range list {
		m[f.Name] = f
	}
	return m
}

// What a sandbox is built of must be here, or no other test of it says anything.
func TestProbeOnThisMachine(t *testing.T) {
	before := surroundings(t)
	list := Probe(t.Context(), Paths{State: "/does/not/exist/yet"})
	if after := surroundings(t); !maps.Equal(before, after) {
		t.Errorf("Probe changed this process:\n%v\n%v", before, after)
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a child is left: %v", err)
	}
	for _, f := range list {
		if f.Required && f.Outcome != Yes {
			t.Errorf("%+v", f)
		}
		if f.Outcome == No && f.Fix == "" {
			t.Errorf("no fix: %+v", f)
		}
	}
	for _, name := range []string{"kernel", "user namespaces", "fresh /proc", "nftables", "landlock", "seccomp filter",
		"seccomp notification", "pidfd_getfd", "cgroup limits", "memory", "disk", "node", "overlay", "sub-ids"} {
		if _, ok := byName(list)[name]; !ok {
			t.Errorf("%s was not probed", name)
		}
	}
}

func surroundings(t *testing.T) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		link, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			t.Fatal(err)
		}
		m[ns] = link
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	m["mounts"] = string(mounts)
	return m
}

func TestProbeWithoutUserNamespaces(t *testing.T) {
	got := spoiled(t, "no user namespaces")
	users := got["user namespaces"]
	if users.Outcome != No || !users.Blocks() || !strings.Contains(users.Fix, "user.max_user_namespaces") {
		t.Errorf("%+v", users)
	}
	for _, name := range []string{"fresh /proc", "nftables", "overlay"} {
		if got[name].Outcome != Unknown {
			t.Errorf("what needs user namespaces cannot be told: %+v", got[name])
		}
	}
	if got["landlock"].Outcome != Yes {
		t.Errorf("%+v", got["landlock"])
	}
}

func TestProbeWithMaskedProc(t *testing.T) {
	got := spoiled(t, "masked proc")
	if f := got["fresh /proc"]; f.Outcome != No || !f.Blocks() || !strings.Contains(f.Detail, "masks") || f.Fix == "" {
		t.Errorf("%+v", f)
	}
	if f := got["nftables"]; f.Outcome != Yes {
		t.Errorf("%+v", f)
	}
}

func TestProbeThatIsCancelledCannotTell(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	got := byName(Probe(ctx, Paths{}))
	if f := got["user namespaces"]; f.Outcome != Unknown || f.Detail == "" {
		t.Errorf("%+v", f)
	}
}

func TestRunProbeRefusesUnknownRoles(t *testing.T) {
	if RunProbe([]string{"creel", ProbeRole, "other"}) == 0 {
		t.Error("an unknown role succeeded")
	}
}
