package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// maxFaults bounds what a Report lists; one proof of tampering is enough, and a
// foreign file could hold millions.
const maxFaults = 100

// Report is what Verify found.
type Report struct {
	Lines   uint64    `json:"lines"` // complete lines read
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"`
	LastSeq uint64    `json:"last_seq"`
	// Head is the hash of the last line. Kept elsewhere, it proves later that
	// nothing was cut off or written anew up to here: the file alone cannot.
	Head string `json:"head,omitempty"`
	// Ended: the last line is the exit of a sandbox, so a cut at the end is unlikely.
	Ended  bool    `json:"ended"`
	Torn   *Torn   `json:"torn,omitempty"` // an incomplete last line
	Faults []Fault `json:"faults,omitempty"`
	More   uint64  `json:"more,omitempty"` // faults beyond those listed
}

// Fault is one place where the chain does not hold.
type Fault struct {
	Line    uint64 `json:"line"` // from 1
	Offset  int64  `json:"offset"`
	Problem string `json:"problem"`
}

// OK reports that the chain holds from the first event to the end of the file.
func (r Report) OK() bool { return len(r.Faults) == 0 && r.Torn == nil }

// VerifyHead is Verify, and the line with the given hash must be in the log: it
// is the Head of an earlier Report, so nothing up to there was cut off or
// written anew. An empty head is not looked for.
func VerifyHead(r io.Reader, head string) (Report, error) {
	found := head == ""
	rep, err := Walk(r, func(_ uint64, e Event) { found = found || e.Hash == head })
	if err == nil && !found {
		rep.add(Fault{Line: rep.Lines, Problem: "the line with the expected hash is not in it: lines were cut off or written anew"})
	}
	return rep, err
}

// Verify reads a whole log and checks every line against its own hash and
// against the line before. The error is that of reading; what is wrong with the
// log is in the Report. Memory is bounded by one line.
func Verify(r io.Reader) (Report, error) { return Walk(r, func(uint64, Event) {}) }

// Walk is Verify, and hands every event that is sound in itself to each, with
// the number of its line. What is damaged, missing or repeated is in the Report
// and ends nothing.
func Walk(r io.Reader, each func(line uint64, e Event)) (Report, error) {
	var (
		rep    Report
		chain  chainState
		in     = bufio.NewReaderSize(r, 64<<10)
		offset int64
	)
	for {
		line, n, end, err := readLine(in)
		if err != nil {
			return rep, fmt.Errorf("read audit log: %w", err)
		}
		if end {
			if n > 0 {
				rep.Torn = &Torn{Offset: offset, Bytes: n}
			}
			return rep, nil
		}
		rep.Lines++
		for _, problem := range chain.next(line, &rep, each) {
			rep.add(Fault{Line: rep.Lines, Offset: offset, Problem: problem})
		}
		offset += n
	}
}

func (r *Report) add(f Fault) {
	if len(r.Faults) < maxFaults {
		r.Faults = append(r.Faults, f)
	} else {
		r.More++
	}
}

// readLine returns a line without its end, and the bytes it takes in the file.
// A line longer than maxLine comes back as nil. end: no line feed followed.
func readLine(in *bufio.Reader) (line []byte, n int64, end bool, err error) {
	long := false
	for {
		part, err := in.ReadSlice('\n')
		n += int64(len(part))
		if n > maxLine {
			long, line = true, nil
		} else {
			line = append(line, part...)
		}
		switch {
		case err == nil:
			if long {
				return nil, n, false, nil
			}
			return line[:len(line)-1], n, false, nil
		case errors.Is(err, io.EOF):
			return nil, n, true, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, n, false, err
		}
	}
}

// chainState is what the next line must fit.
type chainState struct {
	known bool // false after a line that could not be read: the next is not judged against it
	seq   uint64
	hash  string
	start bool // a line was seen
}

func (c *chainState) next(line []byte, rep *Report, each func(uint64, Event)) (problems []string) {
	if line == nil {
		c.start, c.known = true, false
		return []string{fmt.Sprintf("longer than %d bytes: not an audit event", maxLine)}
	}
	e, sound, err := decode(line)
	if err != nil {
		c.start, c.known = true, false
		return []string{"not an audit event: " + err.Error()}
	}
	if !sound || bytes.IndexByte(line, '\r') >= 0 {
		problems = append(problems, fmt.Sprintf("event %d was changed: its hash does not match", e.Seq))
	} else {
		each(rep.Lines, e)
	}
	switch {
	case e.Seq == 0:
		problems = append(problems, "event without a number")
	case !c.start && e.Seq == 1 && e.Prev == "":
	case !c.start && e.Seq == 1:
		problems = append(problems, "event 1 names a line before it: the beginning is missing")
	case !c.start:
		problems = append(problems, fmt.Sprintf("begins with event %d: the %s before are missing", e.Seq, events(e.Seq-1)))
	case !c.known:
	case e.Seq > c.seq+1:
		problems = append(problems, fmt.Sprintf("gap: %s missing between event %d and event %d", events(e.Seq-c.seq-1), c.seq, e.Seq))
	case e.Seq <= c.seq:
		problems = append(problems, fmt.Sprintf("event %d after event %d: repeated or out of order", e.Seq, c.seq))
	case e.Prev != c.hash:
		problems = append(problems, fmt.Sprintf("event %d does not follow the line before: one of them was changed or put in", e.Seq))
	}
	*c = chainState{known: true, seq: e.Seq, hash: e.Hash, start: true}
	if rep.First.IsZero() {
		rep.First = e.Time
	}
	rep.Last, rep.LastSeq, rep.Head = e.Time, e.Seq, e.Hash
	rep.Ended = e.Kind == SandboxExit
	return problems
}

func events(n uint64) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}
