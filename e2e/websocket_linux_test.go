package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/websocket"
)

// chatServer echoes messages below /x/, and keeps them.
type chatServer struct {
	mu  sync.Mutex
	got []string
}

func (c *chatServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	websocket.Server{Handler: func(ws *websocket.Conn) {
		for {
			var text string
			if websocket.Message.Receive(ws, &text) != nil {
				_ = ws.WriteClose(4001)
				return
			}
			c.mu.Lock()
			c.got = append(c.got, text)
			c.mu.Unlock()
			if websocket.Message.Send(ws, text) != nil {
				return
			}
		}
	}}.ServeHTTP(w, r)
}

// TestWebSocket: Node's own client talks to a server where messages are allowed,
// and is told why where they are not; the server sees none of those.
func TestWebSocket(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		chat := &chatServer{}
		s := newSink(t)
		s.extra = chat
		roots := toolRoot(t, "node")
		policy := policyHead() + socketRules
		for _, root := range roots {
			if !strings.HasPrefix(root, "/usr/") {
				policy = strings.Replace(policy, "    - /usr\n", "    - /usr\n    - "+root+"\n", 1)
			}
		}
		ws := filepath.Join(t.TempDir(), "ws")
		if err := os.Mkdir(ws, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(ws, "talk.js"), `
function talk(url, text) {
  return new Promise(done => {
    const ws = new WebSocket(url);
    ws.onopen = () => ws.send(text);
    ws.onmessage = e => { console.log(url, 'got', e.data); ws.close(4001, 'enough'); };
    ws.onerror = e => console.log(url, 'error');
    ws.onclose = e => { console.log(url, 'closed', e.code, e.reason); done(); };
  });
}
(async () => {
  await talk('wss://ok.test/x/chat', 'hello');
  await talk('ws://ok.test/x/chat', 'hello again');
  await talk('wss://ok.test/x/read', 'CANARY');
  await talk('wss://ok.test/no', 'CANARY');
})();
`)
		flags := join(s.upstreams("ok.test"), []string{"--trust-ca", caFile(t)})
		r := box{policy: policy, flags: flags, workspace: ws}.run(t, "node", "--experimental-websocket", "--no-warnings", "talk.js")
		want := "wss://ok.test/x/chat got hello\nwss://ok.test/x/chat closed 4001 \n" +
			"ws://ok.test/x/chat got hello again\nws://ok.test/x/chat closed 4001 \n" +
			"wss://ok.test/x/read closed 1008 refused by the policy of this sandbox: no rule of the network policies allows text messages on this path\n"
		if r.code != 0 || !strings.HasPrefix(r.stdout, want) || !strings.Contains(r.stdout, "wss://ok.test/no error") {
			t.Errorf("status %d, stdout:\n%s\nwant:\n%s\nstderr: %s", r.code, r.stdout, want, r.stderr)
		}
		chat.mu.Lock()
		defer chat.mu.Unlock()
		if got := fmt.Sprint(chat.got); got != "[hello hello again]" || s.holds("CANARY") {
			t.Errorf("the server got %s", got)
		}
		var verdicts []string
		for _, e := range readEvents(t, r.audit) {
			if e.Method == "WEBSOCKET_TEXT" {
				verdicts = append(verdicts, e.Verdict+" "+e.Path)
			}
		}
		if fmt.Sprint(verdicts) != "[allow /x/chat allow /x/chat deny /x/read]" {
			t.Errorf("events %q", verdicts)
		}
	})
}
