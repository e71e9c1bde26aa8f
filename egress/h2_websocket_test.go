package egress

import (
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/creel-run/creel/audit"
)

// TestHTTP2NoExtendedConnect: WebSockets over HTTP/2 (RFC 8441) are not offered, and
// who asks for one all the same gets an error of its stream and stands in the record.
func TestHTTP2NoExtendedConnect(t *testing.T) {
	r := newRig(t, socketPolicyH2)
	f := r.framed("ok.test:443")
	for {
		fr, err := f.fr.ReadFrame()
		f.ok(err)
		if s, ok := fr.(*http2.SettingsFrame); ok && !s.IsAck() {
			if _, offered := s.Value(http2.SettingEnableConnectProtocol); offered {
				t.Error("extended CONNECT is offered")
			}
			f.ok(f.fr.WriteSettingsAck())
			break
		}
	}
	f.open(1, false, ":method: CONNECT", ":protocol: websocket", ":scheme: https", ":authority: ok.test", ":path: /socket",
		"sec-websocket-version: 13")
	if o := f.result(1); o.end != "RST PROTOCOL_ERROR" {
		t.Errorf("%+v", o)
	}
	r.event("denial", func(ev audit.Event) bool {
		return ev.Kind == audit.Request && ev.Verdict == "deny" && strings.Contains(ev.Reason, "rules of HTTP/2: PROTOCOL_ERROR")
	})
	// The connection lives on.
	f.open(3, true, get("/none")...)
	if o := f.result(3); o.end != "403" {
		t.Errorf("%+v", o)
	}
	if r.dialed() > 0 {
		t.Error("something was sent")
	}
	// net/http offers it if it is told so by GODEBUG: then it is refused here.
	q := &http.Request{Method: "CONNECT", RequestURI: "/socket", Host: "ok.test", ContentLength: -1,
		Header: http.Header{":protocol": {"websocket"}, "Sec-Websocket-Version": {"13"}}}
	if h, fault := headOf(q); fault == nil {
		t.Errorf("%+v was taken", h)
	}
}

const socketPolicyH2 = `version: 2
network_policies:
  chat:
    endpoints:
      - {host: ok.test, port: 443, path: /socket, protocol: websocket, access: full}
    binaries: any
`
