package supervisor

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"strconv"
)

// javaPassword is the password that every Java virtual machine expects of a
// store of public certificates; it protects nothing.
const javaPassword = "changeit"

// javaStore becomes a Java key store of certificates in PEM form (JKS: magic,
// version, entries, and a SHA-1 over password, a fixed text and all of it; the
// format is that of sun.security.provider.JavaKeyStore). It runs at every start,
// which is why no library that encodes by reflection does it; a test reads it
// with one. SHA-1 is what the format has: it guards against damage, not attack.
type javaStore struct {
	out []byte
	n   uint32 // certificates
}

// javaCount is where their number stands.
const javaCount = 8

// newJavaStore has room for so many bytes of PEM.
func newJavaStore(room int) *javaStore {
	const magic, version = 0xfeedfeed, 2
	be := binary.BigEndian
	out := be.AppendUint32(make([]byte, 0, room), magic)
	return &javaStore{out: be.AppendUint32(be.AppendUint32(out, version), 0)}
}

func (s *javaStore) add(bundle []byte) {
	const trusted = 2 // tag of an entry
	be := binary.BigEndian
	out := s.out
	text := func(s string) {
		out = be.AppendUint16(out, uint16(len(s)))
		out = append(out, s...)
	}
	for {
		_, rest, found := bytes.Cut(bundle, []byte("-----BEGIN CERTIFICATE-----"))
		if !found {
			break
		}
		body, rest, found := bytes.Cut(rest, []byte("-----END CERTIFICATE-----"))
		if !found {
			break
		}
		bundle = rest
		start := len(out)
		out = be.AppendUint32(out, trusted)
		text("creel-" + strconv.Itoa(int(s.n)))
		out = be.AppendUint64(out, 0) // made in 1970
		text("X.509")
		size := len(out)
		der, err := base64.StdEncoding.AppendDecode(be.AppendUint32(out, 0), bytes.TrimSpace(body))
		if err != nil {
			out = out[:start] // what no program could read is nobody's trust
			continue
		}
		be.PutUint32(der[size:], uint32(len(der)-size-4))
		out = der
		s.n++
	}
	s.out = out
}

// bytes ends the store.
func (s *javaStore) bytes() []byte {
	out := s.out
	binary.BigEndian.PutUint32(out[javaCount:], s.n)
	sum := sha1.New()
	for _, c := range []byte(javaPassword) {
		sum.Write([]byte{0, c}) // UTF-16
	}
	sum.Write([]byte("Mighty Aphrodite"))
	sum.Write(out)
	return sum.Sum(out)
}
