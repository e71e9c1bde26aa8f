package kernel

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// subIDs is for information: sandboxes map one id and do not need more.
func subIDs() Feature {
	f := Feature{Name: "sub-ids"}
	name := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	file, err := os.Open("/etc/subuid")
	if os.IsNotExist(err) {
		f.Outcome, f.Detail = Yes, "none, and none are needed"
		return f
	}
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	defer file.Close()
	f.Outcome, f.Detail = Yes, "none for "+name+", and none are needed"
	if n := countSubIDs(file, name, strconv.Itoa(os.Geteuid())); n > 0 {
		f.Detail = fmt.Sprintf("%d for %s (not needed)", n, name)
	}
	return f
}

// countSubIDs sums the ranges of a user (subuid(5): name or id:first:count).
func countSubIDs(r io.Reader, names ...string) uint64 {
	var sum uint64
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		parts := strings.Split(strings.TrimSpace(sc.Text()), ":")
		if len(parts) != 3 || !slices.Contains(names, parts[0]) {
			continue
		}
		if n, err := strconv.ParseUint(parts[2], 10, 32); err == nil {
			sum += n
		}
	}
	return sum
}

// groups warns of memberships that an agent keeps (setgroups is denied in a
// namespace of an ordinary user) and that open the host to whoever has them.
func groups() Feature {
	f := Feature{Name: "groups"}
	ids, err := os.Getgroups()
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	ids = append(ids, os.Getegid())
	var found []string
	for _, id := range ids {
		g, err := user.LookupGroupId(strconv.Itoa(id))
		if err != nil {
			continue
		}
		if risky(g.Name) && !slices.Contains(found, g.Name) {
			found = append(found, g.Name)
		}
	}
	if len(found) == 0 {
		f.Outcome, f.Detail = Yes, "no membership that opens the host"
		return f
	}
	slices.Sort(found)
	f.Outcome = No
	f.Detail = "the agent keeps your membership in " + strings.Join(found, ", ") + ": declare no path that these may write"
	f.Fix = "run agents as a user without it: gpasswd -d USER " + found[0]
	return f
}

func risky(group string) bool {
	switch group {
	case "docker", "podman", "lxd", "incus", "libvirt", "libvirt-qemu", "kvm", "disk", "shadow", "root":
		return true
	}
	return false
}

const (
	// minMemory is what one sandbox with a small agent needs, in bytes.
	minMemory = 64 << 20
	// minDisk keeps room for a day of audit, in bytes: a full disk stops egress.
	minDisk = 64 << 20
)

func memory() Feature {
	f := Feature{Name: "memory"}
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	defer file.Close()
	free, ok := availableMemory(file)
	if !ok {
		f.Detail = "MemAvailable is not told"
		return f
	}
	f.Outcome, f.Detail = Yes, fmt.Sprintf("%d MiB available", free>>20)
	if free < minMemory {
		f.Outcome, f.Fix = No, fmt.Sprintf("free memory: at least %d MiB, and what the agent needs", minMemory>>20)
	}
	return f
}

// availableMemory reads MemAvailable of /proc/meminfo, in bytes.
func availableMemory(r io.Reader) (uint64, bool) {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) == 3 && fields[0] == "MemAvailable:" && fields[2] == "kB" {
			n, err := strconv.ParseUint(fields[1], 10, 54)
			return n << 10, err == nil
		}
	}
	return 0, false
}

// disk looks at the file system of dir, or of its nearest parent that exists.
func disk(dir string) Feature {
	f := Feature{Name: "disk"}
	if dir == "" {
		dir = "/"
	}
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	for err == unix.ENOENT && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &st)
	}
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	free := st.Bavail * uint64(st.Bsize)
	f.Outcome, f.Detail = Yes, fmt.Sprintf("%d MiB free below %s", free>>20, dir)
	if free < minDisk {
		f.Outcome, f.Fix = No, fmt.Sprintf("free at least %d MiB below %s: when the audit log cannot be written, egress stops", minDisk>>20, dir)
	}
	return f
}

// node is for agents from npm; creel does not need it.
func node(ctx context.Context) Feature {
	f := Feature{Name: "node"}
	path, err := exec.LookPath("node")
	if err != nil {
		f.Outcome, f.Detail, f.Fix = No, "not found (agents from npm need it)", install("nodejs")
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	f.Outcome, f.Detail = Yes, strings.TrimSpace(string(out[:min(len(out), 64)]))+" at "+path
	return f
}

// install is the command that installs a package here.
func install(pkg string) string {
	for _, m := range []struct{ tool, command string }{
		{"apt-get", "apt-get install -y "}, {"dnf", "dnf install -y "}, {"apk", "apk add "},
		{"pacman", "pacman -S --noconfirm "}, {"zypper", "zypper install -y "},
	} {
		if _, err := exec.LookPath(m.tool); err == nil {
			return m.command + pkg
		}
	}
	return "install your distribution's " + pkg + " package"
}
