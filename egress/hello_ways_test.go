package egress

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// records cuts one TLS record into records of n bytes of content each.
func records(b []byte, n int) []byte {
	head, body := b[:3], b[5:]
	var out []byte
	for len(body) > 0 {
		part := body[:min(n, len(body))]
		body = body[len(part):]
		out = append(append(append(out, head...), byte(len(part)>>8), byte(len(part))), part...)
	}
	return out
}

// firstWrite changes what a TLS client sends first, its ClientHello.
type firstWrite struct {
	net.Conn
	send func(c net.Conn, hello []byte) error
	done bool
}

func (f *firstWrite) Write(p []byte) (int, error) {
	if f.done {
		return f.Conn.Write(p)
	}
	f.done = true
	return len(p), f.send(f.Conn, p)
}

// TestHelloForms: however a ClientHello is cut, it is understood, over every way
// in, where it is answered here and where it is passed through; with CONNECT it may
// come before the answer.
func TestHelloForms(t *testing.T) {
	write := func(c net.Conn, parts ...[]byte) error {
		for _, p := range parts {
			if _, err := c.Write(p); err != nil {
				return err
			}
		}
		return nil
	}
	bytes := func(c net.Conn, b []byte) error {
		for i := range b {
			if err := write(c, b[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	forms := map[string]func(net.Conn, []byte) error{
		"whole":                    func(c net.Conn, h []byte) error { return write(c, h) },
		"bytes":                    bytes,
		"records of one byte":      func(c net.Conn, h []byte) error { return write(c, records(h, 1)) },
		"records of 50 in bytes":   func(c net.Conn, h []byte) error { return bytes(c, records(h, 50)) },
		"cut in the record's head": func(c net.Conn, h []byte) error { return write(c, h[:3], h[3:7], h[7:]) },
		// What a client may send without waiting (RFC 8446 D.4): it must not get lost.
		"with the next record behind it": func(c net.Conn, h []byte) error {
			return write(c, append(append([]byte(nil), h...), 0x14, 3, 3, 0, 1, 1))
		},
	}
	for _, w := range bothWays {
		for _, to := range []string{"ok.test:443", "raw.test:443"} {
			for name, send := range forms {
				t.Run(string(w)+" "+to+" "+name, func(t *testing.T) {
					r := newRig(t, basePolicy)
					host, _, _ := net.SplitHostPort(to)
					r.web(host, 443, echo)
					r.agent.AppendCertsFromPEM(r.public.PEM())
					c, refused := r.open(w, to)
					if refused != nil {
						t.Fatal(refused.Status)
					}
					tc, err := r.startTLS(&firstWrite{Conn: c, send: send}, host)
					if err != nil {
						t.Fatal(err)
					}
					if resp, body := talk(t, tc, "GET", "GET /public/a HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"); resp.StatusCode != 200 {
						t.Errorf("%d %s", resp.StatusCode, body)
					}
				})
			}
		}
	}
}

// TestHelloRefusals: a hello that names another server, none, hides the name, or is
// none at all never reaches the server behind, in whatever pieces it comes.
func TestHelloRefusals(t *testing.T) {
	hidden := func() []byte { // ECH: its outer name is the right one
		h := clientHello(t, "raw.test")
		return withExtension(h, extECH, []byte{0, 0, 1, 0, 1, 0, 0, 0, 0, 0})
	}
	for _, w := range bothWays {
		for _, to := range []string{"ok.test:443", "raw.test:443"} {
			for name, hello := range map[string][]byte{
				"other name": clientHello(t, "no.test"), "no name": clientHello(t, ""), "hidden name": hidden(),
				"not a hello": {0x16, 3, 1, 0, 4, 2, 0, 0, 0}, "empty record": {0x16, 3, 1, 0, 0}, "endless": append([]byte{0x16, 3, 1, 0x40, 0}, append([]byte{1, 0, 0xff, 0xff}, make([]byte, 1<<14-4)...)...),
			} {
				if name == "hidden name" && to == "ok.test:443" {
					continue // answered here, nothing hidden is ever opened: hello.check
				}
				for _, n := range []int{0, 1, 7} {
					if n > 0 && len(hello) < 10 || n == 1 && len(hello) > 4096 {
						continue
					}
					t.Run(strings.Join([]string{string(w), to, name, strconv.Itoa(n)}, " "), func(t *testing.T) {
						r := newRig(t, basePolicy)
						host, _, _ := net.SplitHostPort(to)
						got := make(chan int, 1)
						r.raw(host, 443, func(c net.Conn) {
							n, _ := io.Copy(io.Discard, c)
							got <- int(n)
						})
						c, _ := r.open(w, to)
						b := hello
						if n > 0 {
							b = records(hello, n)
						}
						_, _ = c.Write(b)
						if answer, _ := io.ReadAll(c); len(answer) < 7 || answer[0] != 0x15 {
							t.Errorf("got %x, want an alert", answer)
						}
						if r.dialed() > 0 {
							if n := <-got; n != 0 {
								t.Errorf("the server got %d bytes", n)
							}
						}
					})
				}
			}
		}
	}
}

// withExtension adds an extension to a ClientHello in one record.
func withExtension(record []byte, kind int, body []byte) []byte {
	ext := append([]byte{byte(kind >> 8), byte(kind), byte(len(body) >> 8), byte(len(body))}, body...)
	b := append(append([]byte(nil), record...), ext...)
	grow := func(at, size int) {
		n := 0
		for i := range size {
			n = n<<8 | int(b[at+i])
		}
		n += len(ext)
		for i := range size {
			b[at+size-1-i] = byte(n >> (8 * i))
		}
	}
	grow(3, 2) // of the record
	grow(6, 3) // of the message
	at := 9 + 2 + 32
	at += 1 + int(b[at])
	at += 2 + int(b[at])<<8 + int(b[at+1])
	at += 1 + int(b[at])
	grow(at, 2) // of the extensions
	return b
}

// TestPassThroughIsSpliced: behind the ClientHello the kernel moves the bytes of a
// relay. /proc/self/io counts what this process reads and writes by itself; the
// client and the server of the test are all of it.
func TestPassThroughIsSpliced(t *testing.T) {
	const size = 32 << 20
	for _, w := range bothWays {
		for _, secure := range []bool{true, false} {
			t.Run(string(w)+" "+strconv.FormatBool(secure), func(t *testing.T) {
				r := newRig(t, basePolicy)
				conf := r.serverTLS("raw.test")
				conf.SessionTicketsDisabled = true
				port := uint16(5432)
				if secure {
					port = 443
				}
				r.raw("raw.test", port, func(c net.Conn) {
					if secure {
						s := tls.Server(c, conf)
						if s.Handshake() != nil {
							return
						}
						_, _ = c.Write([]byte("x")) // from here on no TLS: nobody has read ahead
					}
					_, _ = io.CopyN(io.Discard, onlyReader{c}, size)
					_, _ = io.CopyN(onlyWriter{c}, zeros{}, size)
				})
				c, _ := r.open(w, "raw.test:"+strconv.Itoa(int(port)))
				if p, ok := c.(*prefixed); ok {
					c = p.Conn
				}
				if secure {
					r.agent.AppendCertsFromPEM(r.public.PEM())
					if _, err := r.startTLS(c, "raw.test"); err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
						t.Fatal(err)
					}
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				before := ownIO(t)
				if _, err := io.CopyN(onlyWriter{c}, zeros{}, size); err != nil {
					t.Fatal(err)
				}
				if n, err := io.CopyN(io.Discard, onlyReader{c}, size); err != nil {
					t.Fatal(n, err)
				}
				// Client and server: written and read twice. A relay that copied would
				// do it all once more.
				if moved := ownIO(t) - before; moved < 4*size || moved > 5*size {
					t.Errorf("%d MB passed through this process, want %d", moved>>20, 4*size>>20)
				}
			})
		}
	}
}

type onlyReader struct{ r io.Reader }

func (o onlyReader) Read(p []byte) (int, error) { return o.r.Read(p) }

type onlyWriter struct{ w io.Writer }

func (o onlyWriter) Write(p []byte) (int, error) { return o.w.Write(p) }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// ownIO is how many bytes this process has read and written.
func ownIO(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if k == "rchar" || k == "wchar" {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}
