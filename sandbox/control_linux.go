package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// errControlClosed: the stage is gone.
var errControlClosed = errors.New("control socket closed")

// control is the supervisor's end of the protocol in package stage. One
// goroutine may receive while others send.
type control struct{ conn *net.UnixConn }

func newControl(f *os.File) (*control, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	return &control{conn: c.(*net.UnixConn)}, nil
}

func (c *control) Close() error { return c.conn.Close() }

func (c *control) send(m spec.Message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %s: %w", m.Type, err)
	}
	if _, err := c.conn.Write(text); err != nil {
		return fmt.Errorf("send %s: %w", m.Type, err)
	}
	return nil
}

// receive reads one message with its descriptors.
func (c *control) receive() (spec.Message, []*os.File, error) {
	var m spec.Message
	buf := make([]byte, 64<<10)
	oob := make([]byte, unix.CmsgSpace(4*64))
	n, oobn, flags, _, err := c.conn.ReadMsgUnix(buf, oob)
	if err != nil || n == 0 {
		return m, nil, errors.Join(errControlClosed, err)
	}
	var files []*os.File
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err == nil {
		for _, cm := range messages {
			fds, err := unix.ParseUnixRights(&cm)
			if err != nil {
				continue
			}
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				files = append(files, os.NewFile(uintptr(fd), "sandbox"))
			}
		}
	}
	if flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 || err != nil {
		for _, f := range files {
			_ = f.Close()
		}
		return m, nil, errors.New("read control socket: truncated message")
	}
	if err := json.Unmarshal(buf[:n], &m); err != nil {
		return m, files, fmt.Errorf("read control socket: %w", err)
	}
	return m, files, nil
}

// expect receives one message of a type; a failed message is a *CommandError or
// the stage's own error.
func (c *control) expect(ctx context.Context, typ string) (spec.Message, []*os.File, error) {
	if d, ok := ctx.Deadline(); ok {
		_ = c.conn.SetReadDeadline(d)
		defer c.conn.SetReadDeadline(time.Time{})
	}
	m, files, err := c.receive()
	if err != nil {
		return m, nil, err
	}
	switch {
	case m.Type == spec.MsgFailed && m.Errno != 0:
		return m, nil, &CommandError{Step: m.Step, Errno: m.Errno, Text: m.Text}
	case m.Type == spec.MsgFailed:
		return m, nil, fmt.Errorf("start sandbox: %s", m.Text)
	case m.Type != typ:
		return m, nil, fmt.Errorf("start sandbox: got %q, wanted %q", m.Type, typ)
	}
	return m, files, nil
}
