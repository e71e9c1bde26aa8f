package refused

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Group is the log group of the sandbox's rules.
	Group = 1

	// copyRange is how many bytes of a packet are wanted: IP header, a few
	// extensions, ports. No content.
	copyRange = 128

	// delay is how long the kernel may gather packets before it sends them,
	// in hundredths of a second.
	delay = 10

	// flushEvery is how often held reports are looked at while there are any.
	flushEvery = time.Second
)

// Configuration of a group (linux/netfilter/nfnetlink_log.h).
const (
	attrCommand = 1 // NFULA_CFG_CMD
	attrMode    = 2 // NFULA_CFG_MODE
	attrTimeout = 4 // NFULA_CFG_TIMEOUT

	commandBind = 1 // NFULNL_CFG_CMD_BIND
	copyPacket  = 2 // NFULNL_COPY_PACKET

	configSeq = 1
)

// Run reads the group until ctx ends (nil), and calls report from its own
// goroutine. f is a NETLINK_NETFILTER socket that was made in the sandbox's
// network namespace; it stays the caller's, but is good for nothing else.
func Run(ctx context.Context, f *os.File, report func(Packet)) error {
	if f == nil || report == nil {
		return errors.New("read refused packets: no socket or nobody to report to")
	}
	own, err := duplicate(f)
	if err != nil {
		return fmt.Errorf("read refused packets: %w", err)
	}
	defer own.Close()
	defer context.AfterFunc(ctx, func() { _ = own.Close() })()
	r := &reader{f: own, group: newAggregate(report, time.Now())}
	defer func() { r.group.finish(time.Now()) }()
	err = r.run() // until the socket is closed or fails
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("read refused packets: %w", err)
}

// duplicate makes a descriptor for Go's poller.
func duplicate(f *os.File) (own *os.File, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var n int
		if n, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return
		}
		// A full buffer loses reports; that must not look like a failure.
		if err = errors.Join(unix.SetNonblock(n, true), unix.SetsockoptInt(n, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 1)); err != nil {
			_ = unix.Close(n)
			return
		}
		own = os.NewFile(uintptr(n), f.Name())
	})
	return own, errors.Join(err, cerr)
}

type reader struct {
	f     *os.File
	group *aggregate
	bound bool
}

func (r *reader) run() error {
	raw, err := r.f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := raw.Control(func(fd uintptr) {
		serr = unix.Sendto(int(fd), bindGroup(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}); err != nil {
		return err
	}
	if serr != nil {
		return fmt.Errorf("bind log group: %w", serr)
	}
	buf := make([]byte, 64<<10) // the kernel gathers at most 4096 bytes and one packet
	for {
		// While nothing is held there is nothing to wake up for.
		var deadline time.Time
		if r.group.pending() {
			deadline = time.Now().Add(flushEvery)
		}
		if err := r.f.SetReadDeadline(deadline); err != nil {
			return err
		}
		var n int
		var from unix.Sockaddr
		err := raw.Read(func(fd uintptr) bool {
			for serr = unix.EINTR; errors.Is(serr, unix.EINTR); {
				n, from, serr = unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			}
			return !errors.Is(serr, unix.EAGAIN)
		})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.group.flush(time.Now())
			continue
		}
		if err := errors.Join(err, serr); err != nil {
			return err
		}
		if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
			continue // not from the kernel
		}
		if err := r.take(buf[:n]); err != nil {
			return err
		}
	}
}

// take handles one datagram. Only an answer to our configuration can be an error.
func (r *reader) take(b []byte) (failed error) {
	now := time.Now()
	// What does not parse is left out: the packet was refused all the same.
	_ = messages(b, func(kind uint16, seq uint32, body []byte) {
		switch kind {
		case nlmsgError:
			if r.bound || seq != configSeq || len(body) < 4 {
				return
			}
			r.bound = true
			if errno := -int32(binary.NativeEndian.Uint32(body)); errno != 0 {
				failed = fmt.Errorf("bind log group: %w", unix.Errno(errno))
			}
		case messagePacket:
			if k, err := parseLogged(body); err == nil {
				r.group.add(k, now)
			}
		}
	})
	r.group.flush(now)
	return failed
}

// bindGroup is the message that makes the socket the reader of the group.
func bindGroup() []byte {
	ne, be := binary.NativeEndian, binary.BigEndian
	b := make([]byte, nlmsgHeader, 64)
	b = append(b, unix.AF_UNSPEC, 0) // nfgenmsg: family, version
	b = be.AppendUint16(b, Group)
	attr := func(kind uint16, value ...byte) {
		b = ne.AppendUint16(b, uint16(attrHeader+len(value)))
		b = ne.AppendUint16(b, kind)
		b = append(b, value...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	attr(attrCommand, commandBind)
	attr(attrMode, append(be.AppendUint32(nil, copyRange), copyPacket, 0)...)
	attr(attrTimeout, be.AppendUint32(nil, delay)...)
	ne.PutUint32(b, uint32(len(b)))
	ne.PutUint16(b[4:], messageConfig)
	ne.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	ne.PutUint32(b[8:], configSeq)
	return b
}
