package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func init() {
	probes["dns"] = func(args []string) error { return askDNS(args[0], args[1]) }
	probes["tunnel"] = func(args []string) error { return tunnel(args[0], args[1]) }
	probes["sweep"] = func(args []string) error { return sweep(args[0], args[1]) }
	probes["udp"] = func(args []string) error {
		c, err := net.Dial("udp", args[0])
		if err != nil {
			fmt.Println("refused at once:", err)
			return nil
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		for range 3 {
			if _, err = c.Write([]byte(args[1])); err != nil {
				break
			}
		}
		if err == nil {
			_, err = c.Read(make([]byte, 10))
		}
		if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EPERM) {
			fmt.Println("refused:", err)
		} else {
			fmt.Println("sent:", err)
		}
		return nil
	}
}

// askDNS asks a server (empty: the configured one) for every kind of record.
func askDNS(server, name string) error {
	network := "udp"
	if rest, ok := strings.CutPrefix(server, "tcp:"); ok {
		network, server = "tcp", rest
	}
	if server == "" {
		b, err := os.ReadFile("/etc/resolv.conf")
		if err != nil {
			return err
		}
		server = strings.Fields(string(b))[1]
	}
	for _, q := range []struct {
		name string
		typ  dnsmessage.Type
	}{{"A", dnsmessage.TypeA}, {"AAAA", dnsmessage.TypeAAAA}, {"TXT", dnsmessage.TypeTXT}, {"NULL", 10}, {"HTTPS", 65}, {"SVCB", 64}, {"CNAME", dnsmessage.TypeCNAME},
		{"MX", dnsmessage.TypeMX}, {"NS", dnsmessage.TypeNS}, {"SRV", dnsmessage.TypeSRV}, {"ANY", dnsmessage.TypeALL}} {
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: q.typ, Class: dnsmessage.ClassINET}}}
		query, err := m.Pack()
		if err != nil {
			return err
		}
		answer, err := exchange(network, server+":53", query)
		if err != nil {
			fmt.Println(q.name+":", err)
			continue
		}
		var r dnsmessage.Message
		switch err := r.Unpack(answer); {
		case err != nil:
			fmt.Println(q.name+":", err)
		case len(r.Answers) == 0:
			fmt.Printf("%s: empty (%v)\n", q.name, r.RCode)
		default:
			fmt.Println(q.name+": ok", len(r.Answers))
		}
	}
	return nil
}

func exchange(network, server string, query []byte) ([]byte, error) {
	c, err := net.Dial(network, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if network == "tcp" {
		query = append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
	}
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	if network == "tcp" {
		if _, err := io.ReadFull(c, buf[:2]); err != nil {
			return nil, err
		}
		n := int(binary.BigEndian.Uint16(buf))
		_, err := io.ReadFull(c, buf[:n])
		return buf[:n], err
	}
	n, err := c.Read(buf)
	return buf[:n], err
}

// tunnel does what a tunnel over DNS does: long labels out, text back.
func tunnel(server, zone string) error {
	for i := range 300 {
		label := strings.Repeat(fmt.Sprintf("%02x", i%256), 30)
		name := label + "." + label + "." + label + "." + zone + "."
		for _, typ := range []dnsmessage.Type{dnsmessage.TypeTXT, 10, dnsmessage.TypeCNAME, dnsmessage.TypeMX, dnsmessage.TypeSRV} {
			m := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(i), RecursionDesired: true},
				Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}}}
			query, err := m.Pack()
			if err != nil {
				return err
			}
			answer, err := exchange("udp", server+":53", query)
			if err != nil {
				continue // dropped, which is an answer, too
			}
			var r dnsmessage.Message
			if err := r.Unpack(answer); err != nil || len(r.Answers) > 0 {
				return fmt.Errorf("%v: %d answers, %v", typ, len(r.Answers), err)
			}
		}
	}
	return nil
}

// sweep sends a mark to many ports of a host.
func sweep(host, mark string) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 50)
	for port := 1; port < 65536; port += 257 {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			c, err := net.DialTimeout("tcp", net.JoinHostPort(host, fmt.Sprint(port)), 5*time.Second)
			if err != nil {
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.WriteString(c, "\x00"+mark)
			_, _ = io.Copy(io.Discard, c)
		}()
	}
	wg.Wait()
	return nil
}
