package probe

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Sockets opens sockets of every family, type and a few protocols, and reports
// those beyond the usual ones.
func Sockets() []Attempt {
	return []Attempt{{Layer: Network, Name: "sockets of other families, types and protocols", Try: func() string { return strings.Join(oddSockets(), "; ") }}}
}

func oddSockets() (opened []string) {
	for family := 0; family < 50; family++ {
		for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW, unix.SOCK_SEQPACKET, unix.SOCK_RDM, unix.SOCK_PACKET} {
			for _, proto := range []int{0, 1, 58, 132, 255} {
				fd, err := unix.Socket(family, typ, proto)
				if err != nil {
					continue
				}
				_ = unix.Close(fd)
				if !usual(family, typ, proto) {
					opened = append(opened, fmt.Sprintf("family %d type %d protocol %d", family, typ, proto))
				}
			}
		}
	}
	return opened
}

func usual(family, typ, proto int) bool {
	switch family {
	case unix.AF_UNIX:
		return true
	case unix.AF_INET, unix.AF_INET6:
		return (typ == unix.SOCK_STREAM || typ == unix.SOCK_DGRAM) && proto == 0
	case unix.AF_NETLINK:
		return proto == unix.NETLINK_ROUTE
	}
	return false
}
