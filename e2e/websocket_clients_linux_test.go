package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const socketRules = `network_policies:
  ok:
    endpoints:
      - host: ok.test
        ports: [80, 443]
        protocol: websocket
        rules:
          - allow: {method: GET, path: "/x/**"}
          - allow: {method: WEBSOCKET_TEXT, path: /x/chat}
    binaries: any
`

// TestWebSocketClients: programs that people talk to WebSockets with, where they
// may write, where they may only read, and where they may not connect.
func TestWebSocketClients(t *testing.T) {
	installedClients(t)
	needs(t, "node")
	bothUsers(t, func(t *testing.T) {
		const unread = "refused by the policy of this sandbox: no rule of the network policies allows text messages on this path"
		all := []string{"wss://ok.test/x/chat", "hello", "ws://ok.test/x/chat", "hello", "wss://ok.test/x/read", "CANARY", "wss://ok.test/no", "CANARY"}
		told := []string{"got hello", "closed 4001 ", "got hello", "closed 4001 ", "closed 1008 " + unread, `answered 403 { `, `"error": "policy_denied"`}
		wscat := `exec 2>&1; c=$NODE_PATH/wscat/bin/wscat
node $c -c wss://ok.test/x/chat -H "X-Token: $TOKEN" -x hello -x hello -w 1
node $c -c wss://ok.test/x/read -x CANARY -w 1
node $c -c wss://ok.test/no -x CANARY -w 1`
		for _, c := range []struct {
			name string
			argv []string
			told []string
		}{
			{"with_ws.js", append(node("with_ws.js")(t, ""), all...), told},
			{"with_websockets.py", append(python("with_websockets.py")(t, ""), all...), told},
			{"wscat", append(node("")(t, "")[:2], "sh", "-c", wscat), []string{"hello", "hello", "Unexpected server response: 403"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				chat := &chatServer{}
				s := newSink(t)
				s.extra = chat
				ws, flags := clientFolder(t), join(s.upstreams("ok.test"), []string{"--trust-ca", caFile(t)})
				if c.name == "wscat" { // of a denied message it shows nothing; a credential goes out encrypted alone
					flags = append(flags, "--secret", "TOKEN=env:E2E_TOKEN@ok.test:X-Token")
				} else {
					ws = clientFolder(t, c.name)
				}
				hold, _, err := os.Pipe() // wscat ends with its input
				if err != nil {
					t.Fatal(err)
				}
				defer hold.Close()
				r := box{policy: clientHead(t) + socketRules, workspace: ws, stdin: hold, flags: flags, env: []string{"E2E_TOKEN=" + canary("token")}}.run(t, c.argv...)
				rest := r.stdout
				for _, part := range c.told {
					_, after, ok := strings.Cut(rest, part)
					if !ok {
						t.Fatalf("status %d: %q is not in the rest of\n%s\n%s", r.code, part, r.stdout, r.stderr)
					}
					rest = after
				}
				chat.mu.Lock()
				defer chat.mu.Unlock()
				if got := fmt.Sprint(chat.got); got != "[hello hello]" || s.holds("CANARY") || s.got("/no") {
					t.Errorf("the server got %s", got)
				}
				if c.name == "wscat" && !s.has(func(q seen) bool { return q.Header.Get("X-Token") == canary("token") }) {
					t.Error("the credential did not arrive")
				}
				denied := 0
				for _, e := range readEvents(t, r.audit) {
					if e.Verdict == "deny" {
						denied++
					}
				}
				if denied != 2 {
					t.Errorf("%d denials are recorded", denied)
				}
			})
		}
	})
}
