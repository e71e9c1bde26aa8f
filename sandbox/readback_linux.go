package sandbox

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// AgentPID is the agent's process as the host sees it: the oldest child of the
// sandbox's init.
func (s *Sandbox) AgentPID() (int, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.InitPID))
	if err != nil {
		return 0, fmt.Errorf("find agent: %w", err)
	}
	agent := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
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
	Path    string
	Type    string
	Options map[string]bool // of the mount: ro, nosuid, …
	Super   string
}

// ReadMounts reads the mounts of a process (proc(5), mountinfo).
func ReadMounts(pid int) ([]MountPoint, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
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
		m := MountPoint{Path: unescapeMount(f[4]), Type: f[sep+1], Super: f[sep+3], Options: map[string]bool{}}
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

// Rules counts the nftables rules that are in force in the sandbox, by chain,
// over the socket that was made in its network namespace.
func (s *Sandbox) Rules() (map[string]int, error) {
	raw, err := s.Netfilter.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	counts := map[string]int{}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = countRules(int(fd), counts) }); err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	return counts, inner
}

// countRules asks for all rules of the sandbox's table (linux/netfilter/nf_tables.h).
func countRules(fd int, counts map[string]int) error {
	const (
		headerLen = unix.SizeofNlMsghdr
		genLen    = 4 // struct nfgenmsg
		seq       = 1
	)
	name := append([]byte(spec.TableName), 0)
	attrLen := 4 + len(name)
	msg := make([]byte, headerLen+genLen+(attrLen+3)&^3)
	ne := binary.NativeEndian
	ne.PutUint32(msg[0:], uint32(len(msg)))
	ne.PutUint16(msg[4:], unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE)
	ne.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	ne.PutUint32(msg[8:], seq)
	msg[headerLen] = unix.NFPROTO_INET
	ne.PutUint16(msg[headerLen+genLen:], uint16(attrLen))
	ne.PutUint16(msg[headerLen+genLen+2:], unix.NFTA_RULE_TABLE)
	copy(msg[headerLen+genLen+4:], name)
	// The kernel answers at once; the bound is against a lost answer.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return fmt.Errorf("read rules: %w", err)
	}
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("read rules: %w", err)
	}
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return fmt.Errorf("read rules: %w", err)
		}
		for b := buf[:n]; len(b) >= headerLen; {
			size := int(ne.Uint32(b))
			if size < headerLen || size > len(b) {
				return errors.New("read rules: malformed answer")
			}
			switch typ := ne.Uint16(b[4:]); typ {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				if size < headerLen+4 {
					return errors.New("read rules: malformed answer")
				}
				return fmt.Errorf("read rules: %w", syscall.Errno(-int32(ne.Uint32(b[headerLen:]))))
			case unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWRULE:
				if size > headerLen+genLen {
					counts[ruleChain(b[headerLen+genLen:size])]++
				}
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// nlaTypeMask leaves out NLA_F_NESTED and NLA_F_NET_BYTEORDER (linux/netlink.h).
const nlaTypeMask = 0x3fff

// ruleChain finds the chain's name among a rule's attributes.
func ruleChain(attrs []byte) string {
	ne := binary.NativeEndian
	for len(attrs) >= 4 {
		size := int(ne.Uint16(attrs))
		if size < 4 || size > len(attrs) {
			break
		}
		if ne.Uint16(attrs[2:])&nlaTypeMask == unix.NFTA_RULE_CHAIN {
			return string(bytes.TrimRight(attrs[4:size], "\x00"))
		}
		attrs = attrs[min((size+3)&^3, len(attrs)):]
	}
	return ""
}
