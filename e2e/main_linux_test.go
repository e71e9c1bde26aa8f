package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// asUser tells a re-executed test binary that it is the ordinary user's half.
	asUser = "CREEL_TEST_AS_USER"
	// inNamespace tells it that it has its own mount namespace already.
	inNamespace = "CREEL_E2E_NAMESPACE"
	// creelBin names the program under test; without it, it is built.
	creelBin = "CREEL_BIN"
	// agentsVar is the folder where `make agents` installed the real agents.
	agentsVar = "CREEL_AGENTS"
	// shared is a folder that every user can read: programs and the test's CA.
	shared = "CREEL_E2E_SHARED"
)

// creel is the program under test.
var creel string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "probe" {
		os.Exit(runProbe(os.Args[2:]))
	}
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func testMain(m *testing.M) (int, error) {
	if os.Getenv(shared) == "" {
		dir, err := os.MkdirTemp("/tmp", "creel-e2e-")
		if err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil {
			return 1, err
		}
		if err := fill(dir); err != nil { // before: a build may need the network
			return 1, err
		}
		os.Setenv(shared, dir)
	}
	if os.Geteuid() == 0 && os.Getenv(inNamespace) == "" {
		return ownNamespace()
	}
	if os.Getenv(inNamespace) != "" && os.Getenv(asUser) == "" {
		// The records and logs of these tests are not for the machine's own state.
		for _, dir := range []string{"/var/lib/creel", "/run/creel"} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return 1, err
			}
			if err := unix.Mount("creel-e2e", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=700"); err != nil {
				return 1, fmt.Errorf("mount over %s: %w", dir, err)
			}
		}
		if os.Getenv(ownWorld) != "" {
			if err := makeWorld(); err != nil {
				return 1, fmt.Errorf("make a network namespace for the tests: %w", err)
			}
		}
	}
	creel = filepath.Join(os.Getenv(shared), "creel")
	return m.Run(), nil
}

// ownNamespace runs the tests once more, in a mount namespace of their own.
func ownNamespace() (int, error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // its end would be the signal
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if cmd.ProcessState != nil && cmd.ProcessState.Exited() {
		return cmd.ProcessState.ExitCode(), nil
	}
	return 1, fmt.Errorf("the tests in a mount namespace of their own: %w", err)
}

// fill puts the programs where every user can run them.
func fill(dir string) error {
	bin := os.Getenv(creelBin)
	if bin == "" {
		bin = filepath.Join(dir, "creel")
		if err := build(bin); err != nil {
			return err
		}
	} else if err := install(bin, filepath.Join(dir, "creel")); err != nil {
		return err
	}
	inside := filepath.Join(dir, "inside")
	if err := os.Mkdir(inside, 0o755); err != nil {
		return err
	}
	return install("/proc/self/exe", filepath.Join(inside, "probe"))
}

// build is what `make build` does.
func build(to string) error {
	root, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	run := func(args ...string) error {
		cmd := exec.Command("go", append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid="}, args...)...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		return err
	}
	return run("-o", to, "./cmd/creel")
}

func install(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := out.Chmod(0o755); err != nil { // whatever the umask
		return err
	}
	return out.Close()
}

// probePath is the test binary where a sandbox can see it.
func probePath() string { return filepath.Join(os.Getenv(shared), "inside", "probe") }

// bothUsers runs a test as the present user and, started as root, once more as
// an ordinary one: user mapping, ids and folders differ.
func bothUsers(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		test(t)
		return
	}
	t.Run("root", test)
	t.Run("user", func(t *testing.T) { asOrdinaryUser(t) })
}

func asOrdinaryUser(t *testing.T) {
	uid, gid := ordinaryUser()
	home, err := os.MkdirTemp("/tmp", "creel-e2e-home-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	if err := os.Chown(home, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	// The whole top-level test, or the part of it that was asked for.
	pattern := "^" + strings.Split(t.Name(), "/")[0] + "$"
	if _, rest, ok := strings.Cut(runPattern(), "/"); ok {
		if _, rest, ok = strings.Cut(rest, "/"); ok { // Name/user/sub
			pattern += "/" + rest
		}
	}
	cmd := exec.Command(probePath(), "-test.run", pattern, "-test.v", "-test.timeout=10m")
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "USER=tester", "LANG=C.UTF-8", "TMPDIR=/tmp", "XDG_RUNTIME_DIR=" + home,
		quickRace, asUser + "=1", shared + "=" + os.Getenv(shared), ownWorld + "=" + os.Getenv(ownWorld), agentsVar + "=" + os.Getenv(agentsVar), clientsVar + "=" + os.Getenv(clientsVar), "CI=" + os.Getenv("CI"),
	}
	cmd.Env = append(append(cmd.Env, clientEnv()...), kills+"="+os.Getenv(kills))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}, Pdeathsig: syscall.SIGKILL}
	rerun(t, fmt.Sprint("as uid ", uid), cmd)
}

// rerun runs tests in another process, and takes their results for this test's.
func rerun(t *testing.T, how string, cmd *exec.Cmd) {
	t.Helper()
	runtime.LockOSThread() // its end would be the signal, where the end of this process is to be one
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", how, err, out)
	}
	if !strings.Contains(string(out), "--- PASS") || strings.Contains(string(out), "--- SKIP") {
		t.Fatalf("%s not everything ran:\n%s", how, out)
	}
	if testing.Verbose() {
		t.Logf("%s", out)
	}
}

func runPattern() string {
	for _, a := range os.Args {
		if v, ok := strings.CutPrefix(strings.TrimLeft(a, "-"), "test.run="); ok {
			return v
		}
	}
	return ""
}

// ordinaryUser is the first user with a login id, else a free id: a namespace
// needs no entry in passwd.
func ordinaryUser() (uid, gid uint32) {
	if u, err := user.LookupId("1001"); err == nil {
		g, _ := strconv.ParseUint(u.Gid, 10, 32)
		return 1001, uint32(g)
	}
	return 4242, 4242
}
