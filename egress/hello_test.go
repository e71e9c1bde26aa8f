package egress

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/creel-run/creel/netname"
)

func tlsServer(c net.Conn, conf *tls.Config) *tls.Conn { return tls.Server(c, conf) }

// clientHello is what a real TLS client sends first. Without a name it has no SNI.
func clientHello(t testing.TB, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	conf := &tls.Config{ServerName: name, InsecureSkipVerify: name == ""}
	go func() {
		_ = tls.Client(client, conf).Handshake()
		_ = client.Close()
	}()
	buf := make([]byte, 16<<10)
	n := 0
	for {
		m, err := server.Read(buf[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
		if _, err := parseHello(buf[:n]); !errors.Is(err, errMore) {
			return buf[:n]
		}
	}
}

func host(t testing.TB, s string) netname.Host {
	t.Helper()
	h, err := netname.ParseHost(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestParseHello(t *testing.T) {
	good := clientHello(t, "ok.test")
	for n := range good {
		if _, err := parseHello(good[:n]); !errors.Is(err, errMore) {
			t.Fatalf("%d of %d bytes: %v, want to be asked for more", n, len(good), err)
		}
	}
	h, err := parseHello(good)
	if err != nil || !h.hasSNI || h.sni != host(t, "ok.test") || h.ech {
		t.Fatalf("%+v %v", h, err)
	}
	// The same message in records of one byte each.
	var split []byte
	for _, b := range good[5:] {
		split = append(split, 0x16, 3, 1, 0, 1, b)
	}
	if h2, err := parseHello(split); err != nil || h2 != h {
		t.Errorf("split: %+v %v", h2, err)
	}
	if h, err := parseHello(clientHello(t, "")); err != nil || h.hasSNI {
		t.Errorf("without a name: %+v %v", h, err)
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"trailing bytes in the record": func(b []byte) []byte {
			b = append(b, 0)
			b[4]++
			return b
		},
		"other record":    func(b []byte) []byte { b[0] = 0x17; return b },
		"other message":   func(b []byte) []byte { b[5] = 2; return b },
		"length too long": func(b []byte) []byte { b[6] = 0xff; return b },
		"twice":           func(b []byte) []byte { return addExtension(b, extServerName, []byte{0, 4, 0, 0, 1, 'x'}) },
	} {
		if h, err := parseHello(spoil(append([]byte(nil), good...))); err == nil || errors.Is(err, errMore) {
			t.Errorf("%s: %+v %v, want a refusal", name, h, err)
		}
	}
}

// addExtension puts one more extension at the end of a hello in one record.
func addExtension(b []byte, kind int, body []byte) []byte {
	ext := append([]byte{byte(kind >> 8), byte(kind), byte(len(body) >> 8), byte(len(body))}, body...)
	grow := func(at, size int) {
		n := 0
		for i := range size {
			n = n<<8 | int(b[at+i])
		}
		n += len(ext)
		for i := size - 1; i >= 0; i-- {
			b[at+i] = byte(n)
			n >>= 8
		}
	}
	grow(3, 2) // record
	grow(6, 3) // message
	at := 9 + 2 + 32
	at += 1 + int(b[at])
	at += 2 + int(b[at])<<8 + int(b[at+1])
	at += 1 + int(b[at])
	grow(at, 2)
	return append(b, ext...)
}

func TestHelloCheck(t *testing.T) {
	ok := host(t, "ok.test")
	ech, err := parseHello(addExtension(clientHello(t, "ok.test"), extECH, []byte{0, 0, 1, 0, 1, 0, 0, 0}))
	if err != nil || !ech.ech {
		t.Fatalf("%+v %v", ech, err)
	}
	for _, tt := range []struct {
		name    string
		h       hello
		host    netname.Host
		through bool
		ok      bool
	}{
		{"same", hello{hasSNI: true, sni: ok}, ok, true, true},
		{"other", hello{hasSNI: true, sni: host(t, "no.test")}, ok, true, false},
		{"sub-domain", hello{hasSNI: true, sni: host(t, "a.ok.test")}, ok, false, false},
		{"none", hello{}, ok, false, false},
		{"none to an address", hello{}, host(t, "93.184.216.34"), true, true},
		{"name to an address", hello{hasSNI: true, sni: ok}, host(t, "93.184.216.34"), true, false},
		{"hidden, passed on", ech, ok, true, false},
		{"hidden, answered here", ech, ok, false, true},
		{"zero host", hello{}, netname.Host{}, false, false},
	} {
		if err := tt.h.check(tt.host, tt.through); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func FuzzParseHello(f *testing.F) {
	f.Add(clientHello(f, "ok.test"))
	f.Add(clientHello(f, ""))
	f.Add([]byte{0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err == nil && h.hasSNI && h.sni.IsZero() {
			t.Error("a server name that is no host")
		}
		// More bytes never turn a refusal into something else.
		if err != nil && !errors.Is(err, errMore) {
			if _, err := parseHello(append(b[:len(b):len(b)], 0)); err == nil || errors.Is(err, errMore) {
				t.Errorf("refused, then with one byte more: %v", err)
			}
		}
	})
}
