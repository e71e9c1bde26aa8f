package egress

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestHTTP2Churn: while requests of many streams come and go, and rules with them,
// nothing is lost track of, and what is allowed all the time is not lost by it.
func TestHTTP2Churn(t *testing.T) {
	r := newRig(t, cutPolicy)
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(200)
		_, _ = io.Copy(w, q.Body)
	})
	body := bytes.Repeat([]byte("x"), 100<<10)
	var kept, lost, refused atomic.Int64
	var agents sync.WaitGroup
	for range 3 {
		c := r.client2("ok.test:443")
		for range 8 {
			agents.Go(func() {
				for i := range 12 {
					path := "/keep/a"
					if i%2 == 1 {
						path = "/lose/a"
					}
					q, _ := http.NewRequest("POST", "https://ok.test"+path, bytes.NewReader(body))
					q.ContentLength = -1
					resp, err := c.Do(q)
					if err != nil {
						refused.Add(1)
						continue
					}
					got, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					switch {
					case resp.StatusCode == 200 && err == nil && len(got) != len(body):
						t.Errorf("%s: %d bytes look like all", path, len(got))
					case i%2 == 0 && resp.StatusCode == 200 && err == nil:
						kept.Add(1)
					case i%2 == 0:
						lost.Add(1)
					}
				}
			})
		}
	}
	done, swapped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(swapped)
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			if i%2 == 0 {
				r.swap(without("/lose/**"))
			} else {
				r.swap(cutPolicy)
			}
		}
	}()
	agents.Wait()
	close(done)
	<-swapped
	t.Logf("%d kept, %d lost, %d refused", kept.Load(), lost.Load(), refused.Load())
	if kept.Load() != 3*8*6 {
		t.Error("requests that are allowed all the time were lost")
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		r.s.mu.Lock()
		streams := r.s.streams
		r.s.mu.Unlock()
		riders := 0
		for _, c := range r.s.upstreams.all() {
			r.s.upstreams.mu.Lock()
			riders += len(c.riders)
			r.s.upstreams.mu.Unlock()
		}
		active := r.s.upstreams.h2.active.Load()
		if streams == 0 && riders == 0 && active == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d streams, %d riders and %d requests are left", streams, riders, active)
		}
	}
}
