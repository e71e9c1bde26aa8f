package supervisor

import (
	"context"
	"os"
	"sync"
	"testing"
)

// TestPromiseBesideCatchUp: other starts, which look for what dead supervisors
// left, neither stop a start nor take what it has promised.
func TestPromiseBesideCatchUp(t *testing.T) {
	dir := t.TempDir()
	s := &supervisor{o: Options{Notice: func(text string) { t.Error(text) }}}
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	for range 3 {
		others.Go(func() {
			for ctx.Err() == nil {
				s.catchUpIn(dir)
			}
		})
	}
	for range 300 {
		f, err := lockNew(dir, "box-*.json")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(f.Name()); err != nil {
			t.Fatalf("the promise is gone: %v", err)
		}
		(&pending{f}).done()
	}
}
