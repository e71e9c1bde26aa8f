package api

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creel-run/creel/fault"
)

const (
	roleVar = "CREEL_TEST_ROLE"
	sockVar = "CREEL_TEST_SOCKET"
)

func TestMain(m *testing.M) {
	if os.Getenv(roleVar) == "listen" { // answers everybody
		l, err := net.Listen("unix", os.Getenv(sockVar))
		if err != nil {
			os.Exit(1)
		}
		_ = Serve(context.Background(), l, &backend{})
	}
	if os.Getenv(roleVar) == "connect" { // says whether the other end let it in
		c, err := net.Dial("unix", os.Getenv(sockVar))
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The tests of runtime folders need an ordinary user: as root they run again in
// a child with another id.
func TestSocketOfOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("already an ordinary user: the tests ran by themselves")
	}
	dir, err := os.MkdirTemp("", "crl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	self, err := os.Open("/proc/self/exe") // its folder may be closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd := exec.Command("/proc/self/fd/3", "-test.v", "-test.run=^(TestListen|TestStale|TestRuntimeDir|TestCheckPeer)")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Dir = dir
	cmd.Env = []string{"TMPDIR=" + dir, "PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Count(out, []byte("--- PASS")) < 5 || bytes.Contains(out, []byte("--- SKIP")) {
		t.Fatalf("child: %v\n%s", err, out)
	}
}

func TestListenClaimsTheName(t *testing.T) {
	dir := runtimeFolder(t)
	s, err := Listen("box")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, &backend{stopped: make(chan struct{})})
	for path, want := range map[string]os.FileMode{
		s.Dir(): os.ModeDir | 0o700, filepath.Join(s.Dir(), socketName): os.ModeSocket | 0o600,
	} {
		if info, err := os.Lstat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
	var e *fault.Error
	if _, err := Listen("box"); !errors.As(err, &e) || e.Exit() != fault.Usage || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second Listen: %v", err)
	}
	if names, err := Names(); err != nil || !slices.Equal(names, []string{"box"}) {
		t.Errorf("Names: %q, %v", names, err)
	}
	c, err := Dial("box")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Sandbox(t.Context()); err != nil || got.PID != box.PID {
		t.Errorf("Sandbox: %+v, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "creel", "box")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("folder after Close: %v", err)
	}
	if _, err := Dial("box"); !errors.As(err, &e) || e.Exit() != fault.Usage {
		t.Errorf("Dial after Close: %v", err)
	}
	if _, err := Listen(strings.Repeat("x", maxName)); err != nil {
		t.Errorf("longest name: %v", err)
	}
}

func TestStaleFolderIsCollected(t *testing.T) {
	dir := runtimeFolder(t)
	for _, name := range []string{"dead", "kept", "empty"} {
		if err := os.MkdirAll(filepath.Join(dir, "creel", name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// As a killed supervisor leaves it: a socket file that nobody serves.
	for _, name := range []string{"dead", "kept"} {
		l, err := net.Listen("unix", filepath.Join(dir, "creel", name, socketName))
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		_ = l.Close()
		if err := os.WriteFile(filepath.Join(dir, "creel", name, lockName), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "creel", "kept", "cgroup"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if names, err := Names(); err != nil || len(names) != 0 {
		t.Errorf("Names: %q, %v", names, err)
	}
	left, err := os.ReadDir(filepath.Join(dir, "creel"))
	if err != nil || len(left) != 1 || left[0].Name() != "kept" {
		t.Errorf("left: %v, %v", left, err)
	}
	s, err := Listen("kept")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.Dir(), "cgroup")); err != nil {
		t.Error("what the next start has to collect is gone")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestListenBesideCleaners: a start that makes its folder while others look for
// what dead ones left gets its name all the same.
func TestListenBesideCleaners(t *testing.T) {
	runtimeFolder(t)
	var cleaners sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer cleaners.Wait()
	defer stop()
	for range 3 {
		cleaners.Go(func() {
			for ctx.Err() == nil {
				_, _ = Names()
			}
		})
	}
	for range 300 {
		s, err := Listen("busy")
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
	}
}

func TestRuntimeDirRefuses(t *testing.T) {
	dir := runtimeFolder(t)
	t.Setenv("XDG_RUNTIME_DIR", "")
	got, err := RuntimeDir()
	if err != nil || filepath.Dir(got) != dir {
		t.Fatalf("without XDG_RUNTIME_DIR: %s, %v", got, err)
	}
	if err := os.Chmod(got, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := RuntimeDir(); err == nil || !strings.Contains(err.Error(), "others may enter") {
		t.Errorf("open folder: %v", err)
	}
	if err := os.Remove(got); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), got); err != nil {
		t.Fatal(err)
	}
	if _, err := RuntimeDir(); err == nil || !strings.Contains(err.Error(), "not a folder") {
		t.Errorf("link: %v", err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "/") // exists, but is not ours
	if err := os.Remove(got); err != nil {
		t.Fatal(err)
	}
	if dir, err := RuntimeDir(); err != nil || dir != got {
		t.Errorf("foreign XDG_RUNTIME_DIR: %s, %v", dir, err)
	}
}

// A process in another user namespace, as an agent is, gets nothing even with
// the same user id.
func TestCheckPeer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	admitted := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			err = CheckPeer(c)
			if err == nil {
				_, _ = c.Write([]byte{1})
			}
			admitted <- err
			_ = c.Close()
		}
	}()
	connect := func(attr *syscall.SysProcAttr) (error, error) {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{roleVar + "=connect", sockVar + "=" + path}
		cmd.SysProcAttr = attr
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return <-admitted, err
	}
	if server, client := connect(nil); server != nil || client != nil {
		t.Errorf("own process: %v, %v", server, client)
	}
	mapped := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}},
	}
	// Nor may it answer for a supervisor.
	fake := filepath.Join(t.TempDir(), "fake")
	agent := exec.Command("/proc/self/exe")
	agent.Env = []string{roleVar + "=listen", sockVar + "=" + fake}
	agent.SysProcAttr = mapped
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = agent.Process.Kill(); _ = agent.Wait() }()
	for range 500 {
		if _, err := os.Lstat(fake); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := NewClient("box", fake).Sandbox(t.Context()); err == nil || !strings.Contains(err.Error(), "user namespace") {
		t.Errorf("an answer from another user namespace: %v", err)
	}
	server, client := connect(mapped)
	if server == nil || !strings.Contains(server.Error(), "user namespace") || client == nil {
		t.Errorf("process in another user namespace: %v, %v", server, client)
	}
}
