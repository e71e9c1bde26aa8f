package pac

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

const (
	// maxQuestionSize bounds a message to the child: the script, quoted.
	maxQuestionSize = 6*MaxScript + 16<<10
	// maxReplySize bounds one of the child's, which nobody has to believe.
	maxReplySize = 8 << 10
	// maxAnswer bounds what FindProxyForURL gives, in bytes.
	maxAnswer = 2 << 10
)

// question is asked of the child. It has all that the child is ever told.
type question struct {
	Script string       `json:"script"`
	URL    string       `json:"url"`
	Host   string       `json:"host"`
	Me     []netip.Addr `json:"me"`
}

// reply is the child's: just one of the three is there.
type reply struct {
	Lookup *string `json:"lookup,omitempty"`
	Answer *string `json:"answer,omitempty"`
	Error  *string `json:"error,omitempty"`
}

// found answers a lookup.
type found struct {
	Addrs []netip.Addr `json:"addrs"`
}

func send(w io.Writer, message any) error {
	b, err := json.Marshal(message)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

func receive(r io.Reader, most uint32, message any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > most {
		return errors.New("a message is too long")
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if err := json.Unmarshal(b, message); err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	return nil
}
