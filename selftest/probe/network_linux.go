package probe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// networkTime bounds each attempt on the network: what holds answers at once.
const networkTime = 2 * time.Second

// Reach tries to bring mark to addresses (HOST:PORT) that the policy does not
// name, straight, by UDP and through the proxy of the sandbox. Whether it arrived
// only the other side can tell: the attempts hold here if nothing answered them.
func Reach(addresses []string, proxy, mark string) []Attempt {
	return []Attempt{
		{Layer: Network, Name: "TCP to the host and beyond", Try: func() string {
			return each(addresses, func(a string) string { return echoed(a, "", mark) })
		}},
		{Layer: Network, Name: "TCP through the proxy", Try: func() string {
			return each(addresses, func(a string) string { return echoed(proxy, "CONNECT "+a+" HTTP/1.1\r\nHost: "+a+"\r\n\r\n", mark) })
		}},
		{Layer: Network, Name: "UDP to the host and beyond", Try: func() string {
			return each(addresses, func(a string) string { return datagram(a, mark) })
		}},
	}
}

// each runs an attempt on every address at the same time.
func each(addresses []string, try func(string) string) string {
	seen := make([]string, len(addresses))
	var wg sync.WaitGroup
	for i, a := range addresses {
		wg.Go(func() {
			if s := try(a); s != "" {
				seen[i] = a + " " + s
			}
		})
	}
	wg.Wait()
	var all []string
	for _, s := range seen {
		if s != "" {
			all = append(all, s)
		}
	}
	return strings.Join(all, "; ")
}

// echoed sends mark and reports whether it came back, as from a server that is
// meant to be out of reach.
func echoed(address, head, mark string) string {
	c, err := net.DialTimeout("tcp", address, networkTime)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(networkTime))
	r := bufio.NewReader(c)
	if head != "" {
		if _, err := io.WriteString(c, head); err != nil {
			return ""
		}
		line, err := r.ReadString('\n')
		if err != nil || !strings.Contains(line, " 200 ") {
			return ""
		}
		for line != "\r\n" {
			if line, err = r.ReadString('\n'); err != nil {
				return ""
			}
		}
	}
	if _, err := io.WriteString(c, mark); err != nil {
		return ""
	}
	got := make([]byte, len(mark))
	if _, err := io.ReadFull(r, got); err == nil && string(got) == mark {
		return "answered"
	}
	return ""
}

func datagram(address, mark string) string {
	c, err := net.Dial("udp", address)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(networkTime))
	if _, err := io.WriteString(c, mark); err != nil {
		return ""
	}
	_, err = c.Read(make([]byte, 64))
	switch {
	case err == nil:
		return "answered"
	case errors.Is(err, unix.ECONNREFUSED):
		return ""
	}
	return "was let go without a refusal: " + err.Error()
}

// Names asks resolvers that are none (RFC 5737) by UDP and TCP: it is Creel that
// answers, and records that could carry data come back empty.
func Names(name string) []Attempt {
	const (
		typeA   = 1
		typeTXT = 16
	)
	var all []Attempt
	for _, network := range []string{"udp", "tcp"} {
		all = append(all,
			Attempt{Layer: DNS, Name: "another resolver, " + network, Try: func() string {
				if _, err := ask(network, "192.0.2.53:53", name, typeA); err != nil {
					return "port 53 does not lead to creel: " + err.Error()
				}
				return ""
			}},
			Attempt{Layer: DNS, Name: "a record that carries data, " + network, Try: func() string {
				if n, err := ask(network, "192.0.2.53:53", name, typeTXT); err != nil || n > 0 {
					return fmt.Sprintf("%d answers, %v", n, err)
				}
				return ""
			}})
	}
	return all
}

// ask sends one question (RFC 1035) and gives the number of answers.
func ask(network, server, name string, typ uint16) (int, error) {
	q := []byte{0x13, 0x37, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		q = append(append(q, byte(len(label))), label...)
	}
	q = binary.BigEndian.AppendUint16(append(q, 0), typ)
	q = binary.BigEndian.AppendUint16(q, 1)
	c, err := net.DialTimeout(network, server, networkTime)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(networkTime))
	if network == "tcp" {
		q = append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)
	}
	if _, err := c.Write(q); err != nil {
		return 0, err
	}
	buf := make([]byte, 4096)
	if network == "tcp" {
		if _, err := io.ReadFull(c, buf[:2]); err != nil {
			return 0, err
		}
	}
	n, err := c.Read(buf)
	if err != nil || n < 12 {
		return 0, errors.Join(err, io.ErrUnexpectedEOF)
	}
	return int(binary.BigEndian.Uint16(buf[6:])), nil
}

// Unix tries to reach services of the host behind unix sockets: paths, and names
// of the abstract kind after an @.
func Unix(sockets []string) []Attempt {
	var all []Attempt
	for _, s := range sockets {
		all = append(all, Attempt{Layer: UnixSockets, Name: "connect to " + s, Try: func() string {
			c, err := net.DialTimeout("unix", s, networkTime)
			if err != nil {
				return ""
			}
			_ = c.Close()
			return "connected"
		}})
	}
	return all
}

// Denied opens files that are there on the host and not declared.
func Denied(files []string) []Attempt {
	var all []Attempt
	for _, f := range files {
		all = append(all, opens(Mounts, f, os.O_RDONLY))
	}
	return all
}
