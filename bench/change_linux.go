package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// roleFlip is this program's part of B7: it asks for the same path again and
// again, and prints when the answer changed.
const roleFlip = "flip"

const (
	flipHost    = "flip.bench.test"
	flipPort    = 8080
	flipChanges = 40 // a round
	// flipPause is until the next change, a sandbox more that loads it adds flipEach:
	// a change begins when the one before is in force everywhere.
	flipPause = 60 * time.Millisecond
	flipEach  = 2 * time.Millisecond
)

// flip prints the wall clock, in ns, at each change of the answer, until its input ends.
func flip() int {
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); os.Exit(0) }()
	c := &http.Client{Timeout: 10 * time.Second}
	last := 0
	for {
		resp, err := c.Get("http://" + net.JoinHostPort(flipHost, strconv.Itoa(flipPort)) + "/flip")
		now := time.Now()
		if err != nil {
			continue // it was cut by the change
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != last {
			fmt.Println(resp.StatusCode, now.UnixNano())
			last = resp.StatusCode
		}
	}
}

func (b *bench) flipPolicy(allowed bool) string {
	path := "/other"
	if allowed {
		path = "/flip"
	}
	return `version: 2
filesystem_policy:
  include_workdir: true
  read_only: [/usr, /etc, {path: /bin, optional: true}, {path: /lib, optional: true}, {path: /lib64, optional: true}, ` + b.self + `]
network_policies:
  web:
    endpoints:
      - {host: ` + flipHost + `, port: ` + strconv.Itoa(flipPort) + `, protocol: rest, rules: [{allow: {method: GET, path: ` + path + `}}]}
    binaries: any
`
}

// change is B7: from the rename of the policy file to the first request that is
// judged by it, with 1 and with 100 live sandboxes.
func (b *bench) change() *comparison {
	c := &comparison{
		id: "B7", title: "A policy change to its effect on a running agent", unit: "ms", reference: "1 sandbox, median",
		target:     "p99 at most 50 ms; aim 10",
		conditions: fmt.Sprintf("From the rename of the file to the answer of the first request that is judged anew, seen by a program inside that asks all the time; each round is %d changes, in both directions. One file: all 100 sandboxes live under it and load it. A file each: 99 others live, and theirs do not change.", flipChanges),
	}
	users := b.users()
	w := users[len(users)-1]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.skipped = append(c.skipped, "all: "+err.Error())
		return c
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }), ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	for _, one := range []struct {
		name   string
		n      int
		shared bool
	}{
		{"1 sandbox", 1, true},
		{"100 sandboxes, a file each", 100, false},
		{"100 sandboxes, one file", 100, true},
	} {
		p50, p99, err := b.changes(w, one.n, one.shared, l.Addr().String())
		if err != nil {
			c.skipped = append(c.skipped, fmt.Sprintf("%s: %v", one.name, err))
			continue
		}
		c.list = append(c.list, &contender{name: one.name + ", median", values: p50}, &contender{name: one.name + ", p99", values: p99})
	}
	return c
}

// changes measures n sandboxes, of which the last one asks. The others live under
// the file that changes if it is shared, and under a copy that does not if not.
func (b *bench) changes(w who, n int, shared bool, server string) (p50, p99 sample, err error) {
	file := filepath.Join(b.dir, fmt.Sprintf("flip-%d-%t.yaml", n, shared))
	others, pause := file, flipPause+time.Duration(n)*flipEach
	if !shared {
		pause = flipPause
		others = b.policy("flip-others.yaml", b.flipPolicy(false))
	}
	put := func(allowed bool) (time.Time, error) {
		next := file + ".next"
		if err := os.WriteFile(next, []byte(b.flipPolicy(allowed)), 0o644); err != nil {
			return time.Time{}, err
		}
		now := time.Now()
		return now, os.Rename(next, file)
	}
	if _, err := put(false); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var cmds []*exec.Cmd
	defer func() {
		cancel()
		for _, cmd := range cmds {
			_ = cmd.Wait()
		}
	}()
	var answers *bufio.Reader
	for i := range n {
		args, under := []string{"sleep", "600"}, others
		if i == n-1 {
			args, under = []string{b.self, roleFlip}, file
		}
		cmd := w.command(ctx, append([]string{b.creel, "run", "--quiet", "--policy", under, "--workspace", w.work(), "--name", fmt.Sprintf("flip-%d-%t-%d", n, shared, i),
			"--upstream", fmt.Sprintf("%s:%d=%s", flipHost, flipPort, server), "--"}, args...)...)
		if i == n-1 {
			out, err := cmd.StdoutPipe()
			if err != nil {
				return nil, nil, err
			}
			if _, err := cmd.StdinPipe(); err != nil {
				return nil, nil, err
			}
			answers = bufio.NewReader(out)
		}
		if err := cmd.Start(); err != nil {
			return nil, nil, err
		}
		cmds = append(cmds, cmd)
	}
	next := func(want int) (time.Time, error) {
		line, err := answers.ReadString('\n')
		if err != nil {
			return time.Time{}, err
		}
		var status int
		var at int64
		if _, err := fmt.Sscan(strings.TrimSpace(line), &status, &at); err != nil || status != want {
			return time.Time{}, errors.New("the agent says " + strings.TrimSpace(line))
		}
		return time.Unix(0, at), nil
	}
	if _, err := next(http.StatusForbidden); err != nil {
		return nil, nil, err
	}
	time.Sleep(time.Duration(n) * 50 * time.Millisecond) // until all of them have started
	for round := range 7 {
		var took sample
		for i := range flipChanges {
			allowed, want := i%2 == 0, http.StatusOK
			if !allowed {
				want = http.StatusForbidden
			}
			at, err := put(allowed)
			if err != nil {
				return nil, nil, err
			}
			seen, err := next(want)
			if err != nil {
				return nil, nil, err
			}
			took = append(took, float64(seen.Sub(at).Microseconds())/1000)
			time.Sleep(pause)
		}
		if round > 0 {
			p50, p99 = append(p50, took.median()), append(p99, took.quantile(0.99))
		}
	}
	return p50, p99, nil
}
