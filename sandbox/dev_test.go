//go:build linux

package sandbox

import (
	"context"
	"io"
	"os"
	"testing"
	"time"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/sandbox/stage"
)

func testConfig(t *testing.T, cmd ...string) Config {
	return Config{
		Name: "test", Command: cmd, Env: []string{"PATH=/usr/bin:/bin", "HOME=/home/x"},
		ReadOnly: []string{"/usr", "/etc"}, Workspace: Workspace{Path: t.TempDir(), Write: true}, Home: "/home/x",
		Streams: [3]stage.StreamKind{stage.StreamNone, stage.StreamPipe, stage.StreamPipe},
		Network: stage.Network{V4: netname.SandboxV4.String(), V6: netname.SandboxV6.String(), NameServer: netname.NameServerV4.String()},
	}
}

func TestDev(t *testing.T) {
	script := os.Getenv("SCRIPT")
	if script == "" {
		script = "id; ls -la / /dev /home /; cat /proc/self/status | grep -E 'Cap|Secc|NoNew|Uid'; ps ax; mount; touch x && ls -la x; ls -la /proc/1/; ip a; ip r show table all; cat /proc/net/tcp"
	}
	c := testConfig(t, "/bin/sh", "-c", script)
	t0 := time.Now()
	s, err := Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go io.Copy(os.Stdout, s.Stdout)
	go io.Copy(os.Stdout, s.Stderr)
	if err := s.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Log("started in", time.Since(t0))
	e, err := s.Wait(nil)
	t.Log(e, err, time.Since(t0), s.Degraded)
	time.Sleep(100 * time.Millisecond)
}
