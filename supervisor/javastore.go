package supervisor

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// javaPassword is the password that every Java virtual machine expects of a
// store of public certificates; it protects nothing.
const javaPassword = "changeit"

// javaStore turns certificates in PEM form into a Java key store (JKS: magic,
// version, entries, and a SHA-1 over password, a fixed text and all of it; the
// format is that of sun.security.provider.JavaKeyStore). It runs at every start,
// which is why no library that encodes by reflection does it; a test reads it
// with one. SHA-1 is what the format has: it guards against damage, not attack.
func javaStore(bundle []byte) []byte {
	const (
		magic, version = 0xfeedfeed, 2
		trusted        = 2 // tag of an entry
	)
	be := binary.BigEndian
	out := make([]byte, 0, len(bundle))
	text := func(s string) {
		out = be.AppendUint16(out, uint16(len(s)))
		out = append(out, s...)
	}
	out = be.AppendUint32(out, magic)
	out = be.AppendUint32(out, version)
	count := len(out)
	out = be.AppendUint32(out, 0)
	n := uint32(0)
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
		text(fmt.Sprintf("creel-%d", n))
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
		n++
	}
	be.PutUint32(out[count:], n)
	sum := sha1.New()
	for _, c := range []byte(javaPassword) {
		sum.Write([]byte{0, c}) // UTF-16
	}
	sum.Write([]byte("Mighty Aphrodite"))
	sum.Write(out)
	return sum.Sum(out)
}
