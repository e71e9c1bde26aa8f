package egress

import (
	"crypto/rand"
	"crypto/tls"
	"sync"
	"time"
)

// ticketsLife is how long a key makes tickets; as long again it takes them.
const ticketsLife = 24 * time.Hour

// tickets are the keys by which an agent's program resumes its sessions of TLS.
// They are in memory alone. A resumed session saves a signature and nothing else:
// its connection is judged by its own ClientHello, as every other is.
type tickets struct {
	mu   sync.Mutex
	made time.Time
	keys [][32]byte // the newest one first, which makes tickets
}

// sessions are those of servers, by their names.
type sessions struct{ tls.ClientSessionCache }

func newSessions() sessions { return sessions{tls.NewLRUClientSessionCache(maxSessions)} }

// Put keeps a session in place of the one before, or none if it is too large.
func (s sessions) Put(server string, cs *tls.ClientSessionState) {
	if cs != nil {
		ticket, state, err := cs.ResumptionState()
		var b []byte
		if err == nil && state != nil {
			b, err = state.Bytes()
		}
		if err != nil || len(ticket)+len(b) > maxSession {
			cs = nil
		}
	}
	s.ClientSessionCache.Put(server, cs)
}

// use puts the keys into conf.
func (t *tickets) use(conf *tls.Config, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.keys) == 0 || now.Sub(t.made) >= ticketsLife {
		keep := t.keys[:min(len(t.keys), 1)]
		if now.Sub(t.made) >= 2*ticketsLife {
			keep = nil
		}
		var key [32]byte
		_, _ = rand.Read(key[:]) // it never fails
		t.keys, t.made = append([][32]byte{key}, keep...), now
	}
	conf.SetSessionTicketKeys(t.keys)
}
