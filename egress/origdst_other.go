//go:build !linux

package egress

import (
	"errors"
	"net"
	"net/netip"
)

func originalDst(net.Conn) (netip.AddrPort, error) {
	return netip.AddrPort{}, errors.New("read original destination: redirected connections are not supported on this system")
}
