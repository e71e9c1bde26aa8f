package selftest

import (
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// outside is what must not be reached: servers, sockets and a file of the host.
type outside struct {
	tcp       net.Listener
	udp       net.PacketConn
	addresses []string // of both, at the same port
	abstract  net.Listener
	early     net.Listener // a socket that is there before the sandbox
	late      net.Listener // and one that comes after it
	latePath  string
	own       []net.IP
	answering int    // addresses at which the server was reached from outside
	secret    string // a file that is declared nowhere

	mu      sync.Mutex
	arrived []string
	wg      sync.WaitGroup
}

// newOutside builds it in folder, with the sockets in workspace, where the agent
// sees them.
func newOutside(folder, workspace string) (_ *outside, err error) {
	o := &outside{latePath: filepath.Join(workspace, "late.sock"), secret: filepath.Join(folder, "undeclared")}
	defer func() {
		if err != nil {
			o.Close()
		}
	}()
	if err := os.WriteFile(o.secret, []byte("a file of the host\n"), 0o644); err != nil {
		return nil, err
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range own {
		if n, ok := a.(*net.IPNet); ok {
			o.own = append(o.own, n.IP)
		}
	}
	if o.tcp, err = net.Listen("tcp", ":0"); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(o.tcp.Addr().String())
	if err != nil {
		return nil, err
	}
	if o.udp, err = net.ListenPacket("udp", ":"+port); err != nil {
		return nil, err
	}
	if o.abstract, err = net.Listen("unix", "@creel-selftest-"+rand.Text()); err != nil {
		return nil, err
	}
	if o.early, err = net.Listen("unix", filepath.Join(workspace, "early.sock")); err != nil {
		return nil, err
	}
	for _, l := range []net.Listener{o.tcp, o.abstract, o.early} {
		o.serve(l)
	}
	o.wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := o.udp.ReadFrom(buf)
			if err != nil {
				return
			}
			if !o.local(from) {
				continue
			}
			o.note("a datagram")
			_, _ = o.udp.WriteTo(buf[:n], from)
		}
	})
	o.addresses = []string{net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("::1", port)}
	// An address that no route leads to, and the place where clouds keep credentials.
	o.addresses = append(o.addresses, net.JoinHostPort("192.0.2.1", port), "169.254.169.254:80")
	const most = 8 // addresses of the host
	for _, ip := range o.own {
		if !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && len(o.addresses) < most {
			o.addresses = append(o.addresses, net.JoinHostPort(ip.String(), port))
		}
	}
	// The control: what is meant to be out of reach can be reached from here.
	for _, a := range o.addresses {
		if o.reaches("tcp", a) {
			o.answering++
		}
	}
	if o.answering == 0 || !o.reaches("unix", o.abstract.Addr().String()) || !o.reaches("unix", o.early.Addr().String()) {
		return nil, errors.New("the test's own servers do not answer on this host")
	}
	o.mu.Lock()
	o.arrived = nil
	o.mu.Unlock()
	return o, nil
}

// reaches has an exchange with a server of the test's own from outside; those at
// addresses that are not this host's are left alone.
func (o *outside) reaches(network, address string) bool {
	if host, _, err := net.SplitHostPort(address); network == "tcp" && (err != nil || !slices.ContainsFunc(o.own, net.ParseIP(host).Equal)) {
		return false
	}
	c, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	_, err = c.Read(make([]byte, 1))
	return err == nil
}

// local: what comes from a sandbox would come from this host. Others that find
// the port while the test lasts are nobody's business here.
func (o *outside) local(from net.Addr) bool {
	var ip net.IP
	switch a := from.(type) {
	case *net.TCPAddr:
		ip = a.IP
	case *net.UDPAddr:
		ip = a.IP
	default:
		return true // a unix socket
	}
	return slices.ContainsFunc(o.own, ip.Equal)
}

// openLate makes the socket that no mask of the start can cover.
func (o *outside) openLate() error {
	l, err := net.Listen("unix", o.latePath)
	if err != nil {
		return err
	}
	o.late = l
	o.serve(l)
	return nil
}

// serve notes and echoes whatever comes.
func (o *outside) serve(l net.Listener) {
	o.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if !o.local(c.RemoteAddr()) {
				_ = c.Close()
				continue
			}
			o.note("a connection at " + l.Addr().Network() + " " + l.Addr().String())
			o.wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				_, _ = io.Copy(c, c)
			})
		}
	})
}

func (o *outside) note(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.arrived = append(o.arrived, what)
}

// seen is what arrived.
func (o *outside) seen() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.arrived...)
}

// sockets are those that the agent could name.
func (o *outside) sockets() []string {
	return []string{o.abstract.Addr().String(), o.early.Addr().String(), o.latePath}
}

func (o *outside) Close() {
	for _, l := range []net.Listener{o.tcp, o.abstract, o.early, o.late} {
		if l != nil {
			_ = l.Close()
		}
	}
	if o.udp != nil {
		_ = o.udp.Close()
	}
	o.wg.Wait()
}
