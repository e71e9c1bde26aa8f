package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/creel-run/creel/fault"
)

// Recovered is the kind of the event that Open writes by itself when the file
// ended in a torn line: Detail says how many bytes were moved where.
const Recovered Kind = "audit.recovered"

// ErrClosed is returned by Record after Close.
var ErrClosed = errors.New("write audit log: already closed")

// Log is an audit file that is being written. Safe for concurrent use.
type Log struct {
	path    string
	sandbox string

	mu   sync.Mutex
	file *os.File
	size int64  // of the file, if nobody else has written
	seq  uint64 // of the last line
	prev string // hash of the last line
	// lines is memory for what is written next.
	lines []byte
	err   error // the first failure; sticky
	tees  []func(Event)
	torn  *Torn
	made  bool // the file was not there before
	now   func() time.Time
}

// Torn is a last line without its end, as a full disk or a power loss leaves it.
type Torn struct {
	Offset  int64  `json:"offset"` // bytes into the file
	Bytes   int64  `json:"bytes"`
	SavedAs string `json:"saved_as,omitempty"` // where Open kept the bytes
}

// Open opens or creates the log of a sandbox at path, with mode 0600, below
// folders that are created with 0700. An existing log is continued: its last
// line must be sound, and its chain goes on. A torn last line is kept beside
// the log (path.torn), cut off, and reported by the first event that follows
// and by Torn. Open fails when the path is no regular file, is a symbolic
// link, belongs to another user, or is being written by another process.
func Open(path, sandbox string) (*Log, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	_, err = os.Lstat(path)
	made := errors.Is(err, os.ErrNotExist)
	file, err := openFile(path)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	l := &Log{path: path, sandbox: sandbox, file: file, made: made, now: time.Now}
	if err := l.resume(); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("open audit log %s: %w", path, err)
	}
	return l, nil
}

// resume finds the end of the chain and cuts a torn tail.
func (l *Log) resume() error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file (%s)", info.Mode().Type())
	}
	if err := checkOwner(info); err != nil {
		return err
	}
	if err := l.file.Chmod(0o600); err != nil {
		return err
	}
	if err := lockFile(l.file); err != nil {
		return err
	}
	// The size counts only after the lock: before it another process may have
	// written still.
	if info, err = l.file.Stat(); err != nil {
		return err
	}
	line, torn, err := lastLine(l.file, info.Size())
	if err != nil {
		return err
	}
	if line != nil {
		e, sound, err := decode(line)
		if err != nil {
			return fmt.Errorf("last line is no audit event: %w", err)
		}
		if !sound {
			return errors.New("last line was changed: its hash does not match")
		}
		l.seq, l.prev = e.Seq, e.Hash
	}
	l.size = info.Size()
	if torn == nil {
		return nil
	}
	if err := l.keepTorn(torn); err != nil {
		return fmt.Errorf("keep torn line: %w", err)
	}
	l.torn = torn
	return l.Record(Event{Kind: Recovered, Reason: "the last line was incomplete", Detail: map[string]string{
		"offset": strconv.FormatInt(torn.Offset, 10),
		"bytes":  strconv.FormatInt(torn.Bytes, 10),
	}})
}

// keepTorn copies the torn bytes aside, durably, before it cuts them off.
func (l *Log) keepTorn(t *Torn) error {
	kept, err := os.OpenFile(l.path+".torn", os.O_WRONLY|os.O_CREATE|os.O_APPEND|openFlags, 0o600)
	if err != nil {
		return err
	}
	defer kept.Close()
	if info, err := kept.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, errors.New("not a regular file: "+l.path+".torn"))
	}
	if _, err := io.Copy(kept, io.NewSectionReader(l.file, t.Offset, t.Bytes)); err != nil {
		return err
	}
	if _, err := kept.WriteString("\n"); err != nil {
		return err
	}
	if err := kept.Sync(); err != nil {
		return err
	}
	t.SavedAs, l.size = kept.Name(), t.Offset
	return l.file.Truncate(t.Offset)
}

// lastLine returns the last complete line and what follows it. nil, nil means
// an empty file.
func lastLine(r io.ReaderAt, size int64) (line []byte, torn *Torn, err error) {
	// Two lines at most: the last complete one and the torn one after it. Most
	// are short, so little is read at first.
	for window := int64(64 << 10); ; window *= 16 {
		window = min(window, size, 2*maxLine)
		tail := make([]byte, window)
		if _, err := r.ReadAt(tail, size-window); err != nil {
			return nil, nil, err
		}
		end := bytes.LastIndexByte(tail, '\n') + 1 // just behind the last line feed
		start := 0
		if end > 0 {
			start = bytes.LastIndexByte(tail[:end-1], '\n') + 1
		}
		if start == 0 && window < size { // the line begins before the window
			if window == 2*maxLine {
				return nil, nil, fmt.Errorf("last line is longer than %d bytes", maxLine)
			}
			continue
		}
		if int64(end) < window {
			torn = &Torn{Offset: size - window + int64(end), Bytes: window - int64(end)}
		}
		if end > 0 {
			line = tail[start : end-1]
		}
		return line, torn, nil
	}
}

// keptBuffer is how much memory for lines a Log keeps, in bytes: enough for what
// usual events take.
const keptBuffer = 16 << 10

// Record writes events one behind the other: it fills in Seq, Time (when zero),
// Sandbox, Prev and Hash, and hands the lines to the kernel in one write. It
// returns nil only when all of them were taken. After an error every later call
// fails with it; of the events of that one some may stand in the file, the first
// ones, of which nothing was acted on.
func (l *Log) Record(events ...Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if len(events) == 0 {
		return nil
	}
	lines, seq, prev := l.lines[:0], l.seq, l.prev
	for i := range events {
		e := &events[i]
		bound(e)
		if e.Time.IsZero() {
			e.Time = l.now()
		}
		// UTC and without the monotonic part: the line is all that is kept.
		e.Time = e.Time.UTC().Round(0)
		e.Seq, e.Prev, e.Sandbox = seq+1, prev, l.sandbox
		var err error
		if lines, e.Hash, err = encode(lines, e); err != nil {
			return l.fail(err)
		}
		lines = append(lines, '\n')
		seq, prev = e.Seq, e.Hash
	}
	if l.lines = lines; cap(lines) > keptBuffer {
		l.lines = nil
	}
	n, err := l.file.Write(lines)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return l.fail(fault.Wrap(fmt.Errorf("write audit log: %w", err), "", 0,
			"df -h "+filepath.Dir(l.path), "creel run --audit FILE …  (a file where there is space)"))
	}
	if err != nil {
		return l.fail(fmt.Errorf("write audit log: %w", err))
	}
	if err := l.unharmed(l.size + int64(n)); err != nil {
		return l.fail(fmt.Errorf("write audit log: %w", err))
	}
	l.size += int64(n)
	l.seq, l.prev = seq, prev
	for _, e := range events {
		for _, tee := range l.tees {
			tee(e)
		}
	}
	return nil
}

// unharmed tells whether what was written is still there: a log that was removed
// keeps nothing, and one that was cut or written by another proves nothing.
func (l *Log) unharmed(size int64) error {
	info, err := l.file.Stat()
	switch {
	case err != nil:
		return err
	case removed(info):
		return errors.New("the file was removed: " + l.path)
	case info.Size() != size:
		return fmt.Errorf("somebody else changed the file: it has %d bytes, not %d: %s", info.Size(), size, l.path)
	}
	return nil
}

func (l *Log) fail(err error) error {
	l.err = err
	return err
}

// Tee calls f with every later event after it was written, one at a time and
// in order. f must be quick and must not call the Log.
func (l *Log) Tee(f func(Event)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tees = append(l.tees, f)
}

// Path is where the log lies, absolute.
func (l *Log) Path() string { return l.path }

// Torn is what Open found behind the last complete line; nil: nothing.
func (l *Log) Torn() *Torn { return l.torn }

// Err is the failure that ended the log; nil while it works.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Sync makes durable what was written so far, so that Close has less to wait for.
func (l *Log) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil || l.err != nil {
		return l.err
	}
	if err := l.file.Sync(); err != nil {
		return l.fail(fmt.Errorf("write audit log: %w", err))
	}
	return nil
}

// Close makes the log durable and closes it. The caller writes the last event
// before. Close returns the failure that ended the log, if there was one; a
// second Close does nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	failed := l.err
	err := errors.Join(l.file.Sync(), l.file.Close())
	l.file = nil
	l.err = ErrClosed
	if failed != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("close audit log: %w", err)
	}
	return nil
}

// Discard removes the file of a log in which nothing was recorded, if Open made
// it: it would say that its lines were cut off. It is for before Close.
func (l *Log) Discard() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil || !l.made || l.seq > 0 {
		return nil
	}
	info, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("remove empty audit log: %w", err)
	}
	there, err := os.Lstat(l.path)
	if errors.Is(err, os.ErrNotExist) || err == nil && (info.Size() > 0 || !os.SameFile(info, there)) {
		return nil
	}
	if err == nil {
		err = os.Remove(l.path) // while it is locked
	}
	if err != nil {
		return fmt.Errorf("remove empty audit log: %w", err)
	}
	return nil
}
