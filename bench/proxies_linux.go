package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// peer is a proxy of others that stands where creel does. through and inspected
// make the command of a client that goes through it; nil: it does not do that.
type peer struct {
	name, why          string // why: it takes no part
	through, inspected func(client []string) []string
	stop               func()
}

// freePort is one that was free a moment ago.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

// background starts a program and waits until it listens.
func background(port string, cmd *exec.Cmd) (stop func(), err error) {
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	stop = func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
		}
	}
	for range 200 {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			_ = c.Close()
			return stop, nil
		}
		select {
		case <-ended:
			return nil, errors.New("it ended: " + lastLine([]byte(said.String())))
		case <-time.After(100 * time.Millisecond):
		}
	}
	stop()
	return nil, errors.New("it does not listen")
}

// squidProxy is squid with ssl-bump: it opens every connection and makes
// certificates.
func (b *bench) squidProxy(w *web) peer {
	p := peer{name: "squid (ssl-bump)"}
	fail := func(err error) peer { p.why = err.Error(); return p }
	squid, err := exec.LookPath("squid")
	if err != nil {
		return fail(errors.New("not installed"))
	}
	dir := filepath.Join(b.dir, "squid")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fail(err)
	}
	port, err := freePort()
	if err != nil {
		return fail(err)
	}
	ca := filepath.Join(dir, "ca.pem")
	if out, err := exec.Command("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "1", "-nodes", "-x509",
		"-subj", "/CN=creel bench squid", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
		"-keyout", filepath.Join(dir, "key.pem"), "-out", ca).CombinedOutput(); err != nil {
		return fail(fmt.Errorf("openssl: %w: %s", err, lastLine(out)))
	}
	certs := filepath.Join(dir, "certs")
	if out, err := exec.Command("/usr/lib/squid/security_file_certgen", "-c", "-s", certs, "-M", "4MB").CombinedOutput(); err != nil {
		return fail(fmt.Errorf("security_file_certgen: %w: %s", err, lastLine(out)))
	}
	hosts := filepath.Join(dir, "hosts")
	conf := fmt.Sprintf(`http_port 127.0.0.1:%s ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=4MB tls-cert=%s tls-key=%s
sslcrtd_program /usr/lib/squid/security_file_certgen -s %s -M 4MB
sslcrtd_children 2
tls_outgoing_options cafile=%s
ssl_bump bump all
acl inside src 127.0.0.1
http_access allow inside
hosts_file %s
dns_nameservers 127.0.0.1
cache deny all
cache_mem 8 MB
access_log none
cache_log %s
pid_filename %s
coredump_dir %s
shutdown_lifetime 0 seconds
server_persistent_connections on
`, port, ca, filepath.Join(dir, "key.pem"), certs, w.ca, hosts, filepath.Join(dir, "cache.log"), filepath.Join(dir, "pid"), dir)
	for name, text := range map[string]string{hosts: "127.0.0.1 " + webHost + "\n", filepath.Join(dir, "squid.conf"): conf} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return fail(err)
		}
	}
	if os.Geteuid() == 0 { // it gives root up for the user proxy
		if out, err := exec.Command("chown", "-R", "proxy:proxy", dir).CombinedOutput(); err != nil {
			return fail(fmt.Errorf("chown: %w: %s", err, lastLine(out)))
		}
	}
	stop, err := background(port, exec.Command(squid, "-N", "-f", filepath.Join(dir, "squid.conf")))
	if err != nil {
		return fail(err)
	}
	p.stop = stop
	p.inspected = func(client []string) []string {
		return append(append([]string{}, client...), "-proxy", "http://127.0.0.1:"+port, "-ca", ca)
	}
	return p
}

// mitmproxy opens every connection, too.
func (b *bench) mitmproxy(w *web) peer {
	p := peer{name: "mitmproxy"}
	fail := func(err error) peer { p.why = err.Error(); return p }
	dump := filepath.Join(b.tools, "mitmproxy", "bin", "mitmdump")
	if _, err := os.Stat(dump); err != nil {
		return fail(errors.New("not installed"))
	}
	dir := filepath.Join(b.dir, "mitmproxy")
	port, err := freePort()
	if err != nil {
		return fail(err)
	}
	// It resolves names as its machine does: a small addon says where the host is.
	addon := b.policy("mitm-where.py", fmt.Sprintf(`def server_connect(data):
    if data.server.address and data.server.address[0] == %q:
        data.server.sni = %q
        data.server.address = ("127.0.0.1", data.server.address[1])
`, webHost, webHost))
	stop, err := background(port, exec.Command(dump, "-q", "--listen-host", "127.0.0.1", "--listen-port", port, "-s", addon,
		"--set", "confdir="+dir, "--set", "ssl_verify_upstream_trusted_ca="+w.ca, "--set", "connection_strategy=lazy"))
	if err != nil {
		return fail(err)
	}
	p.stop = stop
	ca := filepath.Join(dir, "mitmproxy-ca-cert.pem")
	if err := os.Chmod(dir, 0o755); err != nil {
		return fail(err)
	}
	p.inspected = func(client []string) []string {
		return append(append([]string{}, client...), "-proxy", "http://127.0.0.1:"+port, "-ca", ca)
	}
	return p
}

// srtProxy is sandbox-runtime: it lets an allowed host through and looks at
// nothing behind CONNECT. It resolves names as the machine does, so the client
// asks for the address, and the name stands in TLS alone.
func (b *bench) srtProxy(w who) peer {
	p := peer{name: "srt"}
	node, cli := b.srt()
	if node == "" || w.cred != nil && !w.reaches(cli) {
		p.why = "not installed, or not to be read by this user"
		return p
	}
	settings := filepath.Join(w.home, "srt.json")
	text := `{"network": {"allowedDomains": ["localhost", "` + webHost + `"], "deniedDomains": [], "allowLocalBinding": true}, "filesystem": {"denyRead": [], "allowWrite": ["."], "denyWrite": []}}`
	if err := os.WriteFile(settings, []byte(text), 0o644); err != nil {
		p.why = err.Error()
		return p
	}
	p.stop = func() {}
	p.through = func(client []string) []string {
		words := append(append([]string{}, client...), "-ask", "localhost")
		return []string{node, cli, "--settings", settings, "sh", "-c", "exec " + strings.Join(words, " ") + ` -proxy "$HTTPS_PROXY"`}
	}
	return p
}
