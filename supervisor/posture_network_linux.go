package supervisor

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/sandbox/spec"
)

// networkLayer: no device but lo, and every table, chain and rule as it was before
// the agent existed.
func (s *supervisor) networkLayer(r reading) api.Layer {
	var faults []string
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", r.init))
	if err != nil {
		faults = append(faults, err.Error())
	}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		if i >= 2 && name != "lo" {
			faults = append(faults, "device "+name)
		}
	}
	now, err := s.box.ReadRuleset()
	if err != nil {
		faults = append(faults, err.Error())
	}
	total := 0
	for chain, n := range spec.RuleCounts() {
		total += n
		if now.Rules[chain] != n {
			faults = append(faults, fmt.Sprintf("chain %s has %d rules, not %d", chain, now.Rules[chain], n))
		}
	}
	if now.Digest != s.box.Ruleset.Digest {
		faults = append(faults, "the rules are not those of the start")
	}
	detail := fmt.Sprintf("lo alone; %d rules as loaded: TCP and DNS to the supervisor, the rest refused", total)
	if len(s.o.Upstreams) > 0 {
		detail += "; operator's upstreams: " + strings.Join(s.o.Upstreams, " ")
	}
	if len(s.o.TrustCA) > 0 {
		detail += "; operator's certificates: " + strings.Join(s.o.TrustCA, " ")
	}
	if len(s.o.ClientCerts) > 0 {
		detail += "; operator's client certificates: " + strings.Join(s.o.ClientCerts, " ")
	}
	doc := s.rev.Load().doc
	if r := s.names.text(doc); r != "" {
		detail += "; names from " + r
	}
	if n := len(doc.DNS.Hosts); n > 0 {
		detail += fmt.Sprintf("; names with addresses of the policy: %d", n)
	}
	if s.parents != nil {
		detail += "; way out: " + s.parents.String()
	}
	return judged("network", faults, detail, "the sandbox's rules, all of them")
}

// listenerLayer: the sockets that the rules lead to listen in the sandbox's
// network, and are the supervisor's.
func (s *supervisor) listenerLayer(r reading) api.Layer {
	const want = "the supervisor's sockets at the ports that the rules lead to"
	inside := map[uint64]uint16{}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		if err := readSockets(fmt.Sprintf("/proc/%d/net/%s", r.init, table), strings.HasPrefix(table, "tcp"), inside); err != nil {
			return layer("listeners", false, err.Error(), want)
		}
	}
	var faults []string
	n := 0
	check := func(what string, port uint16, sock any) {
		n++
		conn, ok := sock.(syscall.Conn)
		if !ok {
			faults = append(faults, what+" cannot be read")
			return
		}
		inode, err := inodeOf(conn)
		if got, found := inside[inode]; err != nil || !found || got != port {
			faults = append(faults, fmt.Sprintf("%s does not listen at port %d inside %s", what, port, errorText(err)))
		}
	}
	for _, group := range []struct {
		what string
		port uint16
		list []net.Listener
	}{{"redirect", spec.RedirectPort, s.box.Redirect}, {"proxy", spec.ProxyPort, s.box.Proxy}, {"DNS over TCP", spec.DNSPort, s.box.DNSTCP}} {
		if len(group.list) != 2 {
			faults = append(faults, fmt.Sprintf("%s has %d listeners, not 2", group.what, len(group.list)))
		}
		for _, l := range group.list {
			check(group.what, group.port, l)
		}
	}
	if len(s.box.DNS) != 2 {
		faults = append(faults, fmt.Sprintf("DNS has %d sockets, not 2", len(s.box.DNS)))
	}
	for _, pc := range s.box.DNS {
		check("DNS", spec.DNSPort, pc)
	}
	return judged("listeners", faults, fmt.Sprintf("%d sockets, all the supervisor's", n), want)
}

// readSockets adds inode and port of the sockets of a table of proc(5); of TCP
// those that listen.
func readSockets(path string, listening bool, to map[uint64]uint16) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const listen = "0A" // TCP_LISTEN
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[0] == "sl" || listening && f[3] != listen {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		inode, err2 := strconv.ParseUint(f[9], 10, 64)
		if err == nil && err2 == nil {
			to[inode] = uint16(port)
		}
	}
	return nil
}

func inodeOf(c syscall.Conn) (uint64, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var st unix.Stat_t
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = unix.Fstat(int(fd), &st) }); err != nil {
		return 0, err
	}
	return st.Ino, inner
}
