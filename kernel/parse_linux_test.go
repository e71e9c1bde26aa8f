package kernel

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseRelease(t *testing.T) {
	for s, want := range map[string][2]int{"6.8.0-31-generic": {6, 8}, "5.13": {5, 13}, "6.18.44-fc-v669": {6, 18}} {
		if major, minor, ok := parseRelease(s); !ok || major != want[0] || minor != want[1] {
			t.Errorf("%s: %d.%d %v", s, major, minor, ok)
		}
	}
	for _, s := range []string{"", "6", "x.y", "-1.2"} {
		if _, _, ok := parseRelease(s); ok {
			t.Errorf("%q was taken", s)
		}
	}
}

func TestCountSubIDs(t *testing.T) {
	text := "anna:100000:65536\nbert:1:2\n1001:5:10\nanna:1\n# anna:1:1\nanna:x:y\n"
	if n := countSubIDs(strings.NewReader(text), "anna", "1001"); n != 65546 {
		t.Errorf("%d", n)
	}
}

func TestAvailableMemory(t *testing.T) {
	if n, ok := availableMemory(strings.NewReader("MemTotal: 9 kB\nMemAvailable:    1024 kB\n")); !ok || n != 1<<20 {
		t.Errorf("%d %v", n, ok)
	}
	for _, s := range []string{"", "MemAvailable: x kB\n", "MemAvailable: 1\n"} {
		if _, ok := availableMemory(strings.NewReader(s)); ok {
			t.Errorf("%q was taken", s)
		}
	}
}

const (
	mountsV2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n25 24 0:5 / /proc rw - proc proc rw\n"
	mountsV1 = "30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
		"31 24 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
		"32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
		"33 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	ownV2 = "0::/user.slice/user-1000.slice/session-1.scope\n"
	ownV1 = "4:memory:/a\n3:pids:/a\n2:cpu,cpuacct:/\n0::/a\n"
)

func TestJudgeCgroups(t *testing.T) {
	tests := []struct {
		name, own, mounts string
		controllers       []string // of every version 2 group
		writable          string   // prefix of what may be written
		want              Outcome
		detail            string
	}{
		{"v2 delegated", ownV2, mountsV2, []string{"memory", "pids"}, "/sys/fs/cgroup/user.slice", Yes, "version 2 at /sys/fs/cgroup/user.slice"},
		{"v2 closed", ownV2, mountsV2, []string{"memory", "pids"}, "/none", No, "not delegated"},
		{"v2 without controllers", ownV2, mountsV2, nil, "/", No, "no controllers"},
		{"v1 root", ownV1, mountsV1, nil, "/", Yes, "version 1: memory pids cpu"},
		{"v1 user", ownV1, mountsV1, nil, "/none", No, "not writable"},
		{"v1 in part", ownV1, mountsV1, nil, "/sys/fs/cgroup/memory", No, "pids cpu"},
		{"nothing mounted", ownV1, "", nil, "/", No, "no controllers"},
		{"garbage", ":::\nx\n", "- - -\n1 2\n", nil, "/", No, "no controllers"},
	}
	for _, tt := range tests {
		f := judgeCgroups(parseMemberships(strings.NewReader(tt.own)), parseCgroupMounts(strings.NewReader(tt.mounts)),
			func(dir string) bool { return strings.HasPrefix(dir, tt.writable) },
			func(string) []string { return tt.controllers })
		if f.Outcome != tt.want || !strings.Contains(f.Detail, tt.detail) || f.Required || (f.Outcome == No) != (f.Fix != "") {
			t.Errorf("%s: %+v", tt.name, f)
		}
	}
}

func TestGroupDirInAContainer(t *testing.T) {
	m := CgroupMount{Dir: "/sys/fs/cgroup", Root: "/docker/abc"}
	for path, want := range map[string]string{"/docker/abc/x": "/sys/fs/cgroup/x", "/": "/sys/fs/cgroup"} {
		if dir, ok := m.Group(path); !ok || dir != want {
			t.Errorf("%s: %s %v", path, dir, ok)
		}
	}
	m.Root = "/"
	if dir, ok := m.Group("/../../etc"); ok {
		t.Errorf("a group outside of the mount: %s", dir)
	}
}

func TestExplainUsers(t *testing.T) {
	tests := []struct {
		err  error
		want Outcome
	}{
		{&fs.PathError{Op: "fork/exec", Err: unix.EPERM}, No},
		{unix.ENOSPC, No},
		{unix.EINVAL, No},
		{unix.EAGAIN, Unknown}, // too many processes: says nothing of namespaces
		{errors.New("other"), Unknown},
	}
	for _, tt := range tests {
		var f Feature
		explainUsers(&f, tt.err)
		if f.Outcome != tt.want || f.Detail == "" || (f.Outcome == No) != (f.Fix != "") {
			t.Errorf("%v: %+v", tt.err, f)
		}
	}
}

func TestSettleNeedsTheStep(t *testing.T) {
	done := steps{"good": {}, "bad": {Err: "no"}}
	for name, want := range map[string]Outcome{"good": Yes, "bad": No, "never reached": Unknown} {
		var f Feature
		settle(&f, done, name, "d", "fix")
		if f.Outcome != want {
			t.Errorf("%s: %v", name, f.Outcome)
		}
	}
}
