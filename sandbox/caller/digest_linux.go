package caller

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// version is one content of one file: what the kernel changes when it is written.
type version struct {
	dev, ino   uint64
	size       int64
	sec, nanos int64 // of the last change (ctime), which no call sets
}

const (
	// maxDigests bounds the digests that are kept.
	maxDigests = 1024

	// maxProgram is the most bytes of a program whose digest is taken. The agent
	// may make a program of its own, with a hole of exabytes in it, where a rule
	// expects one; the programs that people pin have less than half of this.
	maxProgram = 1 << 30

	// digestPiece is how much is read before it is asked whether that still matters.
	digestPiece = 1 << 20

	// maxHashed is how many bytes are read for digests in a burst, and
	// hashedPerSecond how many ever after: an agent can change a program that it may
	// write before each connect. All that people pin is read once, in much less; what
	// comes after is a small part of one processor (1 to 4 % where SHA-256 takes 2 or
	// 0.4 GB/s).
	maxHashed       = 4 << 30
	hashedPerSecond = 16 << 20

	// settled is how long ago a file must have been changed for its digest to be
	// kept: file systems stamp changes by a clock that stands still for 10 ms, some
	// for 2 s, in which another content would look like the same version.
	settled = 2 * time.Second
)

// errHashed means that the agent had more bytes of programs read than it may.
var errHashed = errors.New("its program changes too often for its digest to be taken (more than 4 GiB, and 16 MiB a second): pin one that the agent cannot write")

// digests remembers the SHA-256 of executables, and bounds what is read for them.
// Tracker's worker alone uses it. The zero value is ready.
type digests struct {
	known  map[version]string
	left   int64 // bytes
	filled time.Time
}

// spend takes bytes that are to be read, or reports that they may not be.
func (d *digests) spend(n int64, now time.Time) bool {
	switch passed := now.Sub(d.filled); {
	case passed >= maxHashed/hashedPerSecond*time.Second: // the first time, too
		d.left, d.filled = maxHashed, now
	case passed >= time.Second, passed < 0:
		d.left = min(maxHashed, d.left+max(0, int64(passed/time.Second))*hashedPerSecond)
		d.filled = now
	}
	if n > d.left {
		return false
	}
	d.left -= n
	return true
}

func (d *digests) keep(v version, sum string, now time.Time) {
	if now.Sub(time.Unix(v.sec, v.nanos)) < settled {
		return
	}
	if d.known == nil || len(d.known) >= maxDigests {
		d.known = make(map[version]string)
	}
	d.known[v] = sum
}

// digest gives the SHA-256 of a process's program; empty if it cannot be read, or
// has more than maxProgram bytes. Its one error is errHashed.
// The kernel lets nobody write a file while it is executed (ETXTBSY), and the
// caller waits meanwhile; the first look at a large program takes as long as
// reading it.
func (ps *processes) digest(id int) (string, error) {
	fd, err := unix.Openat(int(ps.proc.Fd()), strconv.Itoa(id)+"/exe", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return "", nil
	}
	f := os.NewFile(uintptr(fd), "executable")
	defer f.Close()
	now := ps.clock() // before the look at the version
	before, ok := versionOf(fd)
	if !ok || before.size > maxProgram {
		return "", nil
	}
	if sum, ok := ps.digests.known[before]; ok {
		return sum, nil
	}
	if !ps.digests.spend(before.size, now) {
		return "", errHashed
	}
	h := sha256.New()
	whole := io.LimitReader(f, before.size+1) // one that grows has changed
	for {
		if ps.over != nil && ps.over() {
			return "", nil
		}
		if _, err := io.CopyN(h, whole, digestPiece); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return "", nil
		}
	}
	if after, ok := versionOf(fd); !ok || after != before {
		return "", nil
	}
	sum := hex.EncodeToString(h.Sum(nil))
	ps.digests.keep(before, sum, now)
	return sum, nil
}

func versionOf(fd int) (version, bool) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return version{}, false
	}
	return version{st.Dev, st.Ino, st.Size, int64(st.Ctim.Sec), int64(st.Ctim.Nsec)}, true
}
