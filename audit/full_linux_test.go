package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const fullDiskRole = "CREEL_TEST_FULL_DISK"

// A full disk ends the log, loses nothing that was written, and the next Open
// goes on. Runs in a child with a mount namespace of its own.
func TestFullDisk(t *testing.T) { onFullDisk(t, 1) }

// TestFullDiskInsideOfTogether: events that are recorded together may be cut anywhere.
// Record has failed then, so that what stands of them was not acted on, and the chain
// goes on behind it.
func TestFullDiskInsideOfTogether(t *testing.T) { onFullDisk(t, 3) }

// onFullDisk fills a small disk with events, some of them at a time.
func onFullDisk(t *testing.T, together int) {
	if dir := os.Getenv(fullDiskRole); dir != "" {
		fullDisk(t, dir, together)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), fullDiskRole+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("child: %v\n%s", err, out)
	}
}

func fullDisk(t *testing.T, dir string, together int) {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "audit.jsonl")
	l := open(t, path)
	// Lines of an odd size, so that the last page is filled by part of one.
	e := Event{Kind: Connect, Host: strings.Repeat("a", 1234) + ".test"}
	events := make([]Event, together)
	var written uint64
	var failed error
	for failed == nil && written < 1000 {
		for i := range events {
			events[i] = e
		}
		if failed = l.Record(events...); failed == nil {
			written += uint64(together)
		}
	}
	if !errors.Is(failed, syscall.ENOSPC) {
		t.Fatalf("after %d lines: %v, want ENOSPC", written, failed)
	}
	if err := l.Record(Event{Kind: SandboxExit}); err != failed {
		t.Errorf("small event after the failure: %v, want the same failure", err)
	}
	if l.Err() != failed || l.Close() != failed {
		t.Error("Err and Close must tell the failure")
	}
	rep := verify(t, read(t, path))
	if len(rep.Faults) != 0 || rep.Lines < written || rep.Lines >= written+uint64(together) || rep.Torn == nil {
		t.Fatalf("after %d lines: %+v", written, rep)
	}
	if together > 1 && rep.Lines == written {
		t.Fatalf("nothing stands of the last ones: the sizes of this test do not fit it any more: %+v", rep)
	}
	if l, err := Open(path, "box"); err == nil {
		_ = l.Close()
		t.Error("opened while the torn line cannot be kept")
	}
	again := verify(t, read(t, path))
	if fmt.Sprint(again.Lines, *again.Torn) != fmt.Sprint(rep.Lines, *rep.Torn) {
		t.Errorf("a failed Open changed the log: %+v", again)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	l = open(t, path)
	record(t, l, Event{Kind: SandboxExit})
	if rep := verify(t, read(t, path)); !rep.OK() || rep.Lines != again.Lines+2 {
		t.Errorf("after there was room again: %+v", rep)
	}
}
