package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"syscall"

	"golang.org/x/sys/unix"
)

// Ruleset is what nftables holds in a network namespace: how many rules each
// chain has, and a digest of every table, chain and rule as the kernel tells them.
// The digest depends on the kernel and is for comparing two readings alone.
type Ruleset struct {
	Rules  map[string]int
	Digest [sha256.Size]byte
}

// ReadRuleset reads the rules that are in force, over the socket that was made in
// the sandbox's network namespace.
func (s *Sandbox) ReadRuleset() (Ruleset, error) {
	r := Ruleset{Rules: map[string]int{}}
	raw, err := s.Netfilter.SyscallConn()
	if err != nil {
		return r, fmt.Errorf("read rules: %w", err)
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	sum := sha256.New()
	var inner error
	if err := raw.Control(func(fd uintptr) {
		for _, what := range []uint16{unix.NFT_MSG_GETTABLE, unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_GETSET, unix.NFT_MSG_GETRULE} {
			if inner = dump(int(fd), what, r.Rules, sum); inner != nil {
				return
			}
		}
	}); err != nil {
		return r, fmt.Errorf("read rules: %w", err)
	}
	sum.Sum(r.Digest[:0])
	return r, inner
}

// dump asks for all objects of one kind, of every family
// (linux/netfilter/nf_tables.h).
func dump(fd int, what uint16, counts map[string]int, sum hash.Hash) error {
	const (
		headerLen = unix.SizeofNlMsghdr
		genLen    = 4 // struct nfgenmsg: family, version, generation
		seq       = 1
	)
	msg := make([]byte, headerLen+genLen)
	ne := binary.NativeEndian
	ne.PutUint32(msg[0:], uint32(len(msg)))
	ne.PutUint16(msg[4:], unix.NFNL_SUBSYS_NFTABLES<<8|what)
	ne.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	ne.PutUint32(msg[8:], seq)
	msg[headerLen] = unix.NFPROTO_UNSPEC
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
			default:
				if size < headerLen+genLen {
					return errors.New("read rules: malformed answer")
				}
				// Family and attributes; the generation counts every change of the
				// host's other namespaces, too.
				sum.Write([]byte{byte(what), b[headerLen]})
				sum.Write(b[headerLen+genLen : size])
				if typ == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWRULE {
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
