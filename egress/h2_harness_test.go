package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2agent is an agent that speaks HTTP/2 frame by frame.
type h2agent struct {
	t   testing.TB
	c   net.Conn
	fr  *http2.Framer
	hb  bytes.Buffer
	enc *hpack.Encoder
}

// framed opens an inspected connection and exchanges settings.
func (r *rig) framed(to string) *h2agent {
	r.t.Helper()
	c, _ := r.open(viaRedirect, to)
	host, port, _ := net.SplitHostPort(to)
	if port == "443" {
		tc := tls.Client(c, &tls.Config{RootCAs: r.agent, ServerName: host, NextProtos: []string{"h2"}})
		if err := tc.Handshake(); err != nil {
			r.t.Fatal(err)
		}
		if p := tc.ConnectionState().NegotiatedProtocol; p != "h2" {
			r.t.Fatalf("ALPN gave %q", p)
		}
		c = tc
	}
	f := &h2agent{t: r.t, c: c}
	f.enc = hpack.NewEncoder(&f.hb)
	f.fr = http2.NewFramer(c, c)
	f.fr.AllowIllegalWrites = true
	f.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.raw(http2.ClientPreface)
	f.ok(f.fr.WriteSettings())
	return f
}

func (f *h2agent) ok(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *h2agent) raw(s string) {
	f.t.Helper()
	_, err := io.WriteString(f.c, s)
	f.ok(err)
}

// block encodes fields, "name: value" each.
func (f *h2agent) block(fields ...string) []byte {
	f.hb.Reset()
	for _, x := range fields {
		i := strings.Index(x[1:], ":") + 1
		_ = f.enc.WriteField(hpack.HeaderField{Name: x[:i], Value: strings.TrimPrefix(x[i+1:], " ")})
	}
	return bytes.Clone(f.hb.Bytes())
}

func get(path string, more ...string) []string {
	return append([]string{":method: GET", ":scheme: https", ":authority: ok.test", ":path: " + path}, more...)
}

func post(path string, more ...string) []string {
	return append([]string{":method: POST", ":scheme: https", ":authority: ok.test", ":path: " + path}, more...)
}

// open sends a head.
func (f *h2agent) open(id uint32, end bool, fields ...string) {
	f.t.Helper()
	f.ok(f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.block(fields...), EndHeaders: true, EndStream: end}))
}

// outcome is how a stream or the connection ended: "200", "RST PROTOCOL_ERROR",
// "GOAWAY FLOW_CONTROL_ERROR" or "closed".
type outcome struct {
	end      string
	headers  http.Header
	trailers http.Header
	body     string
}

// result reads until stream id has ended.
func (f *h2agent) result(id uint32) (o outcome) {
	f.t.Helper()
	var body strings.Builder
	defer func() { o.body = body.String() }()
	for {
		_ = f.c.SetReadDeadline(time.Now().Add(patience))
		fr, err := f.fr.ReadFrame()
		if err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				f.t.Fatal("nothing comes")
			}
			o.end = "closed"
			return o
		}
		switch fr := fr.(type) {
		case *http2.SettingsFrame:
			if !fr.IsAck() {
				_ = f.fr.WriteSettingsAck()
			}
		case *http2.GoAwayFrame:
			if fr.ErrCode != http2.ErrCodeNo {
				o.end = "GOAWAY " + fr.ErrCode.String()
				return o
			}
		case *http2.RSTStreamFrame:
			if fr.StreamID == id {
				if o.end == "" || fr.ErrCode != http2.ErrCodeNo {
					o.end = "RST " + fr.ErrCode.String()
				}
				return o
			}
		case *http2.MetaHeadersFrame:
			if fr.StreamID != id {
				continue
			}
			h := http.Header{}
			for _, x := range fr.RegularFields() {
				h.Add(x.Name, x.Value)
			}
			if s := fr.PseudoValue("status"); s != "" {
				o.end, o.headers = s, h
			} else {
				o.trailers = h
			}
			if fr.StreamEnded() {
				return o
			}
		case *http2.DataFrame:
			if fr.StreamID == id {
				body.Write(fr.Data())
				if fr.StreamEnded() {
					return o
				}
			}
		}
	}
}

// client is a real client of HTTP/2 for one target.
func (r *rig) client2(to string) *http.Client {
	tr := &http.Transport{
		Protocols:       new(http.Protocols),
		TLSClientConfig: &tls.Config{RootCAs: r.agent},
		DialContext: func(_ context.Context, _, _ string) (net.Conn, error) {
			c, _ := r.open(viaRedirect, to)
			return c, c.SetDeadline(time.Time{})
		},
	}
	tr.Protocols.SetHTTP2(true)
	tr.Protocols.SetUnencryptedHTTP2(true)
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// raw1 answers every request of HTTP/1.1 behind TLS with the same bytes.
func (r *rig) raw1(host string, head func(string), answer string) {
	r.raw(host, 443, func(c net.Conn) {
		conf := r.serverTLS(host)
		conf.NextProtos = []string{"http/1.1"}
		tc := tls.Server(c, conf)
		raw, _, f := readHead(tc)
		if f != nil || raw == nil {
			return
		}
		head(string(raw))
		_, _ = io.WriteString(tc, answer)
	})
}

// web2c serves HTTP/2 without TLS behind a name.
func (r *rig) web2c(host string, port uint16, h http.HandlerFunc) {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.upstream(host, port, l)
	srv := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols)}
	srv.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	r.t.Cleanup(func() { _ = srv.Close(); <-done })
}
