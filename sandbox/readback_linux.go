package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/creel-run/creel/kernel"
)

// AgentPID is the agent's process as the host sees it: the oldest child of the
// sandbox's init.
func (s *Sandbox) AgentPID() (int, error) {
	agent := 0
	// Its first thread cloned the agent, and is who inherits orphans.
	b, err := kernel.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.InitPID, s.InitPID))
	if err == nil {
		for _, w := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(w); err == nil && (agent == 0 || pid < agent) {
				agent = pid
			}
		}
	}
	if agent == 0 {
		return 0, errors.New("find agent: it has ended")
	}
	return agent, nil
}

// MountPoint is one line of a process's mountinfo.
type MountPoint struct {
	ID, Parent int
	Device     string // major:minor
	Root       string // what of the file system is mounted
	Path       string // where, below the reader's root
	Type       string
	Options    map[string]bool // of the mount: ro, nosuid, …
	Super      string          // of the file system
}

// ReadMounts reads the mounts of a process (proc(5), mountinfo); 0 is the caller.
func ReadMounts(pid int) ([]MountPoint, error) {
	name := "self"
	if pid != 0 {
		name = strconv.Itoa(pid)
	}
	b, err := kernel.ReadFile("/proc/" + name + "/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	return ParseMounts(b)
}

// ParseMounts reads the text of a mountinfo.
func ParseMounts(b []byte) ([]MountPoint, error) {
	var all []MountPoint
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		f := strings.Fields(sc.Text())
		sep := -1
		for i, w := range f {
			if w == "-" {
				sep = i
			}
		}
		if len(f) < 6 || sep < 6 || len(f) < sep+4 {
			return nil, errors.New("read mounts: unknown form")
		}
		m := MountPoint{Device: f[2], Root: unescapeMount(f[3]), Path: unescapeMount(f[4]), Type: f[sep+1], Super: f[sep+3], Options: map[string]bool{}}
		var err, err2 error
		m.ID, err = strconv.Atoi(f[0])
		m.Parent, err2 = strconv.Atoi(f[1])
		if err != nil || err2 != nil {
			return nil, errors.New("read mounts: unknown form")
		}
		for _, o := range strings.Split(f[5], ",") {
			m.Options[o] = true
		}
		all = append(all, m)
	}
	return all, nil
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
