package supervisor

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// waits is for what comes at once, on a machine that is busy.
const waits = 20 * time.Second

// next waits until a watch has something.
func next(t *testing.T, what string, w *watch) news {
	t.Helper()
	select {
	case <-w.woken:
	case <-time.After(waits):
		t.Fatalf("%s: nothing is told", what)
	}
	return w.take()
}

// tells waits until a watch has told of an event of a path.
func tells(t *testing.T, what string, w *watch, path string, mask uint32) {
	t.Helper()
	for {
		if n := next(t, what, w); n.events[path]&mask != 0 {
			return
		}
	}
}

func save(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".next", text)
	if err := os.Rename(path+".next", path); err != nil {
		t.Fatal(err)
	}
}

// instances counts this process's inotify descriptors.
func instances(t *testing.T) (n int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); to == "anon_inode:inotify" {
			n++
		}
	}
	return n
}

// TestWatches: two parts of a supervisor watch the same folder, under two names of
// it, through one instance; each is told what it asked for, and no more.
func TestWatches(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	var all watches
	defer all.close()
	file, absent := filepath.Join(dir, "p.yaml"), filepath.Join(link, ".envrc")
	p := all.add(allEvents, false)
	a := all.add(unix.IN_CREATE|unix.IN_MOVED_TO, true)
	for _, err := range []error{p.set([]string{file}), a.set([]string{absent, filepath.Join(link, "none", "x")})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := instances(t); n != 1 {
		t.Errorf("%d instances", n)
	}
	save(t, file, "1")
	tells(t, "a file that is moved there", p, file, unix.IN_MOVED_TO)
	write(t, file, "2")
	tells(t, "a file that is written", p, file, unix.IN_CLOSE_WRITE)
	write(t, absent, "")
	tells(t, "a file that appears", a, absent, unix.IN_CREATE)
	if err := os.Remove(absent); err != nil {
		t.Fatal(err)
	}
	write(t, absent, "")
	if err := os.Remove(absent); err != nil {
		t.Fatal(err)
	}
	tells(t, "a file that appears and vanishes", a, absent, unix.IN_CREATE)
	if len(p.woken) != 0 || len(a.woken) != 0 {
		t.Errorf("told what nobody asked for: %v, %v", p.take(), a.take())
	}

	// Another file is the policy now: the first one's folder is not watched for it.
	other := filepath.Join(t.TempDir(), "p.yaml")
	if err := p.set([]string{other}); err != nil {
		t.Fatal(err)
	}
	save(t, file, "3")
	save(t, other, "3")
	if n := next(t, "the other file", p); n.events[file] != 0 || n.events[other] == 0 {
		t.Errorf("after the move: %v", n)
	}
	a.close()
	if n := len(all.folders); n != 1 {
		t.Errorf("%d folders are watched for one file", n)
	}
	p.close()
	if n := len(all.folders); n != 0 {
		t.Errorf("%d folders are watched for nobody", n)
	}
	if err := p.set([]string{filepath.Join(dir, "none", "p.yaml")}); err == nil || len(all.all) != 0 {
		t.Errorf("a folder that is not there: %v, %d watches", err, len(all.all))
	}
	all.close()
	if n := instances(t); n != 0 {
		t.Errorf("%d instances after the end", n)
	}
}

// TestWatchedFolderGoes: who watches a folder is told when it is another one, also
// if somebody else looks first.
func TestWatchedFolderGoes(t *testing.T) {
	for name, act := range map[string]func(dir string) error{
		"moved":   func(dir string) error { return os.Rename(dir, dir+".old") },
		"removed": os.RemoveAll,
		"replaced": func(dir string) error {
			if err := os.Rename(dir, dir+".old"); err != nil {
				return err
			}
			return os.Mkdir(dir, 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sub")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			var all watches
			defer all.close()
			p, a := all.add(allEvents, false), all.add(allEvents, true)
			paths := []string{filepath.Join(dir, "p.yaml")}
			for _, w := range []*watch{p, a} {
				if err := w.set(paths); err != nil {
					t.Fatal(err)
				}
			}
			all.mu.Lock() // the reader is late
			err := act(dir)
			all.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			_ = a.set(paths)
			for n := (news{}); !n.gone; {
				n = next(t, "the folder goes", p)
			}
		})
	}
}

// TestWatchesAreBounded: files that nobody asked for cost no memory, and when they
// fill the kernel's queue everybody is told to look again.
func TestWatchesAreBounded(t *testing.T) {
	dir := t.TempDir()
	var all watches
	defer all.close()
	p, a := all.add(allEvents, false), all.add(unix.IN_CREATE, true)
	file, absent := filepath.Join(dir, "p.yaml"), filepath.Join(dir, ".envrc")
	for _, err := range []error{p.set([]string{file}), a.set([]string{absent})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	queue, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	var most int
	if err == nil {
		_, err = fmt.Sscan(string(queue), &most)
	}
	if err != nil {
		t.Fatal(err)
	}
	all.mu.Lock() // the reader is late
	one := filepath.Join(dir, "one")
	for i := range most + 1024 { // the reader has some already; the kernel folds what equals the last event
		write(t, fmt.Sprint(one, i%2), "")
	}
	save(t, file, "1")
	all.mu.Unlock()
	for _, w := range []*watch{p, a} {
		for n := (news{}); !n.lost; {
			if n = next(t, "a queue that is full", w); len(n.events) > 1 {
				t.Fatalf("kept: %v", n.events)
			}
		}
	}
	save(t, file, "2")
	tells(t, "a file after the queue was full", p, file, unix.IN_MOVED_TO)

	// While files come and go as fast as they can, news comes through.
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			path := fmt.Sprint(one, i)
			_ = os.WriteFile(path, nil, 0o600)
			_ = os.Remove(path)
		}
	}()
	for range 20 {
		save(t, file, "3")
		for n := (news{}); n.events[file]&unix.IN_MOVED_TO == 0 && !n.lost; {
			n = next(t, "a file among many", p)
		}
	}
	stop()
	<-done
	read := testing.AllocsPerRun(100, func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		for wd := range all.folders {
			all.dispatch(event(wd, unix.IN_CREATE, "nobody-asked-for-this"))
		}
	})
	if read > 2 { // the event itself
		t.Errorf("%v allocations for a file that nobody asked for", read)
	}
}

// event is one as the kernel writes it.
func event(wd int32, mask uint32, name string) []byte {
	b := make([]byte, unix.SizeofInotifyEvent, 64)
	binary.NativeEndian.PutUint32(b, uint32(wd))
	binary.NativeEndian.PutUint32(b[4:], mask)
	binary.NativeEndian.PutUint32(b[12:], uint32(len(name)+1))
	return append(append(b, name...), 0)
}

// TestAbsentPaths: folders on the way are watched, and tell nothing themselves.
func TestAbsentPaths(t *testing.T) {
	names, watched := absentPaths("/ws", []string{".envrc", ".git", ".git/config", ".jj/repo/config.toml"})
	if want := map[string]string{"/ws/.envrc": ".envrc", "/ws/.git": ".git", "/ws/.jj/repo/config.toml": ".jj/repo/config.toml"}; !maps.Equal(names, want) {
		t.Errorf("names %q", names)
	}
	if want := []string{"/ws/.envrc", "/ws/.git", "/ws/.jj", "/ws/.jj/repo", "/ws/.jj/repo/config.toml"}; !slices.Equal(watched, want) {
		t.Errorf("watched %q", watched)
	}
	names, watched = absentPaths("/ws", []string{".git/config"})
	if len(names) != 1 || !slices.Equal(watched, []string{"/ws/.git", "/ws/.git/config"}) {
		t.Errorf("in a repository: %q, %q", names, watched)
	}
}

// TestLook: what a poll tells apart.
func TestLook(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	write(t, one, "1")
	l := newLook([]string{one, two})
	for _, step := range []struct {
		name string
		act  func()
		want difference
	}{
		{"the first look", func() {}, replaced},
		{"nothing", func() {}, same},
		{"longer", func() { write(t, one, "12") }, written},
		{"of the same size", func() { time.Sleep(pollNew); write(t, one, "34") }, written},
		{"with its old time", func() {
			time.Sleep(pollNew)
			fi, _ := os.Stat(one)
			write(t, one, "56")
			_ = os.Chtimes(one, fi.ModTime(), fi.ModTime())
		}, written},
		{"moved there", func() { save(t, one, "56") }, replaced},
		{"moved away", func() { _ = os.Rename(one, one+".old") }, same},
		{"another one appears", func() { write(t, two, "") }, replaced},
		{"both", func() { write(t, two, "1"); save(t, one, "7") }, replaced},
		{"nothing more", func() {}, same},
	} {
		step.act()
		if got := l.again(); got != step.want {
			t.Errorf("%s: %d, want %d", step.name, got, step.want)
		}
	}
}

// TestStirs: something that happens wakes, however often, once for each time that
// they are armed; what cannot tell says so.
func TestStirs(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "p.yaml")
	s := newStirs([]string{file, filepath.Join(dir, "q.yaml")}, false)
	defer s.close()
	if len(s.dirs) != 1 {
		t.Errorf("folders %q", s.dirs)
	}
	if on, err := os.ReadFile("/proc/sys/fs/dir-notify-enable"); err != nil || string(on) != "1\n" {
		if s.arm() {
			t.Error("armed, without the kernel's help")
		}
		return
	}
	for name, act := range map[string]func(){
		"a file that is made":     func() { write(t, filepath.Join(dir, "other"), "") },
		"a file that is written":  func() { write(t, file, "1") },
		"a file that is moved in": func() { save(t, file, "2") },
		"many": func() {
			for i := range 1000 {
				write(t, filepath.Join(dir, fmt.Sprint(i)), "")
			}
		},
	} {
		if !s.arm() {
			t.Fatal("not armed")
		}
		select {
		case <-s.c: // of the last one
		default:
		}
		act()
		select {
		case <-s.c:
		case <-time.After(waits):
			t.Errorf("%s: wakes nobody", name)
		}
	}
	none := newStirs([]string{filepath.Join(dir, "none", "p.yaml")}, false)
	defer none.close()
	if none.arm() {
		t.Error("armed for a folder that is not there")
	}
	some := newStirs([]string{file, filepath.Join(dir, "none", "p.yaml")}, true)
	defer some.close()
	if !some.arm() {
		t.Error("not armed for the folders that are there")
	}
}
