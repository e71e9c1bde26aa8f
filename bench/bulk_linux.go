package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Roles of this program inside the sandboxes of B3.
const (
	roleSend = "bulk-send"
	roleHold = "bulk-hold"
)

// bulkBytes is what one round sends: enough to make start-up and slow start
// disappear (a third of a second on plain loopback), little enough for nine
// rounds of the slowest peer.
const bulkBytes = 2 << 30

// bulkSend connects to a server, sends, waits until all was taken, and prints
// the seconds.
func bulkSend(args []string) int {
	n, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	conn, err := net.DialTimeout("tcp", args[0], 10*time.Second)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer conn.Close()
	buf := make([]byte, 256<<10)
	begin := time.Now()
	for left := n; left > 0; {
		k, err := conn.Write(buf[:min(int64(len(buf)), left)])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		left -= int64(k)
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	var got [20]byte
	k, _ := io.ReadFull(conn, got[:])
	took := time.Since(begin).Seconds()
	if text := strings.TrimSpace(string(got[:k])); text != strconv.FormatInt(n, 10) {
		fmt.Fprintf(os.Stderr, "the server took %q bytes of %d\n", text, n)
		return 1
	}
	fmt.Println(took)
	return 0
}

// bulkServe takes bytes and answers with their number.
func bulkServe(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 256<<10)
			var n int64
			for {
				k, err := conn.Read(buf)
				n += int64(k)
				if err != nil {
					break
				}
			}
			fmt.Fprintf(conn, "%-20d", n)
		}()
	}
}

// hold keeps a namespace until its input ends.
func hold() int {
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// bulk is B3: bytes a second from a program inside to a server outside.
func (b *bench) bulk() (*comparison, func()) {
	c := &comparison{
		id: "B3", title: "Bulk TCP from inside to a server on the host's loopback", unit: "GB/s", reference: "plain loopback",
		target:     "at least 0.45 of plain loopback; one extra hop allows 0.5",
		conditions: fmt.Sprintf("One connection, %d MB a round, writes of 256 KB. creel: an L4 rule (protocol: tcp).", bulkBytes>>20),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.skipped = append(c.skipped, "all: "+err.Error())
		return c, func() {}
	}
	go bulkServe(l)
	stops := []func(){func() { l.Close() }}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	users := b.users()
	w := users[len(users)-1] // the ordinary user, where there is one
	size := strconv.Itoa(bulkBytes)
	// The peers need a TUN device, which some machines keep to root.
	peer := w
	if w.command(context.Background(), "sh", "-c", ": <>/dev/net/tun").Run() != nil {
		peer = users[0]
		c.conditions += " The peers ran as " + peer.label + ", the others as " + w.label + "."
	}
	add := func(w who, name string, args ...string) {
		c.list = append(c.list, &contender{name: name, measure: func() (float64, error) {
			out, err := w.output(args...)
			if err != nil {
				return 0, err
			}
			seconds, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
			if err != nil || seconds <= 0 {
				return 0, fmt.Errorf("no time in %q", lastLine(out))
			}
			return bulkBytes / seconds / 1e9, nil
		}})
	}
	skip := func(name, why string) { c.skipped = append(c.skipped, name+": "+why) }

	add(w, "plain loopback", b.self, roleSend, "127.0.0.1:"+port, size)
	policy := b.policy("bulk.yaml", `version: 2
filesystem_policy:
  include_workdir: true
  read_only: [/usr, /etc, {path: /bin, optional: true}, {path: /lib, optional: true}, {path: /lib64, optional: true}, `+b.self+`]
network_policies:
  bulk:
    endpoints:
      - {host: bulk.bench.test, port: `+port+`, protocol: tcp}
    binaries: any
`)
	add(w, "creel", b.creel, "run", "--quiet", "--policy", policy, "--workspace", w.work(),
		"--upstream", "bulk.bench.test:"+port+"=127.0.0.1:"+port, "--", b.self, roleSend, "bulk.bench.test:"+port, size)

	if pasta, err := exec.LookPath("pasta"); err != nil {
		skip("pasta", "not installed")
	} else {
		// Forwarded from the namespace's loopback: pasta's fast way, by splice.
		args := []string{pasta, "--config-net", "-t", "none", "-u", "none", "-U", "none", "-T", port}
		if peer.cred == nil && os.Geteuid() == 0 {
			args = append(args, "--runas", "0") // or it becomes nobody and may not enter its own namespace
		}
		add(peer, "pasta (-T)", append(args, "--", b.self, roleSend, "127.0.0.1:"+port, size)...)
	}
	if stop, pid, err := b.slirp(peer); err != nil {
		skip("slirp4netns", err.Error())
	} else {
		stops = append(stops, stop)
		add(peer, "slirp4netns", "nsenter", "-t", pid, "-U", "-n", "--preserve-credentials", b.self, roleSend, "10.0.2.2:"+port, size)
	}
	return c, func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
	}
}

// slirp starts a namespace and slirp4netns for it.
func (b *bench) slirp(w who) (stop func(), pid string, err error) {
	slirp, err := exec.LookPath("slirp4netns")
	if err != nil {
		return nil, "", fmt.Errorf("not installed")
	}
	holder := w.command(context.Background(), "unshare", "--user", "--map-root-user", "--net", b.self, roleHold)
	in, err := holder.StdinPipe()
	if err != nil {
		return nil, "", err
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := holder.Start(); err != nil {
		return nil, "", err
	}
	end := func() { in.Close(); _ = holder.Wait() }
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		end()
		return nil, "", fmt.Errorf("no namespace: %w", err)
	}
	pid = strconv.Itoa(holder.Process.Pid)
	ready, readyW, err := os.Pipe()
	if err != nil {
		end()
		return nil, "", err
	}
	defer ready.Close()
	net := w.command(context.Background(), slirp, "--configure", "--mtu=65520", "--ready-fd=3", pid, "tap0")
	net.ExtraFiles = []*os.File{readyW}
	err = net.Start()
	readyW.Close()
	if err != nil {
		end()
		return nil, "", err
	}
	if k, _ := ready.Read(make([]byte, 1)); k == 0 {
		_ = net.Wait()
		end()
		return nil, "", fmt.Errorf("did not become ready")
	}
	return func() { _ = net.Process.Kill(); _ = net.Wait(); end() }, pid, nil
}
