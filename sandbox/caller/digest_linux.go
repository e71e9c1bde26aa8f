package caller

import (
	"crypto/sha256"
	"encoding/hex"
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

// maxDigests bounds the digests that are kept. Only programs that the host shows
// are looked at, so that an agent cannot fill it.
const maxDigests = 1024

// digests remembers the SHA-256 of executables. Tracker's worker alone uses it.
type digests map[version]string

// digest gives the SHA-256 of a process's program; empty if it cannot be read.
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
	if !ok {
		return ""
	}
	if sum, ok := ps.digests[before]; ok {
		return sum
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
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
