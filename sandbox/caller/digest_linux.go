package caller

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strconv"

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
)

// digests remembers the SHA-256 of executables. Tracker's worker alone uses it.
type digests map[version]string

// digest gives the SHA-256 of a process's program; empty if it cannot be read, or
// has more than maxProgram bytes.
// The kernel lets nobody write a file while it is executed (ETXTBSY), and the
// caller waits meanwhile; the first look at a large program takes as long as
// reading it.
func (ps *processes) digest(id int) string {
	fd, err := unix.Openat(int(ps.proc.Fd()), strconv.Itoa(id)+"/exe", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return ""
	}
	f := os.NewFile(uintptr(fd), "executable")
	defer f.Close()
	before, ok := versionOf(fd)
	if !ok || before.size > maxProgram {
		return ""
	}
	if sum, ok := ps.digests[before]; ok {
		return sum
	}
	h := sha256.New()
	for {
		if ps.over != nil && ps.over() {
			return ""
		}
		if _, err := io.CopyN(h, f, digestPiece); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return ""
		}
	}
	if after, ok := versionOf(fd); !ok || after != before {
		return ""
	}
	if ps.digests == nil || len(ps.digests) >= maxDigests {
		ps.digests = make(digests)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	ps.digests[before] = sum
	return sum
}

func versionOf(fd int) (version, bool) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return version{}, false
	}
	return version{st.Dev, st.Ino, st.Size, int64(st.Ctim.Sec), int64(st.Ctim.Nsec)}, true
}
