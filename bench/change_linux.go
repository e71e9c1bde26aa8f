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
	flipPause   = 60 * time.Millisecond
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
// judged by it, with 1 and with 100 sandboxes that live under that file.
func (b *bench) change() *comparison {
	c := &comparison{
		id: "B7", title: "A policy change to its effect on a running agent", unit: "ms", reference: "1 sandbox, median",
		target:     "p99 at most 50 ms; aim 10",
		conditions: fmt.Sprintf("From the rename of the file to the answer of the first request that is judged anew, seen by a program inside that asks all the time; each round is %d changes, in both directions. 100: as many sandboxes live under the same file, and all load it.", flipChanges),
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
	for _, n := range []int{1, 100} {
		p50, p99, err := b.changes(w, n, l.Addr().String())
		if err != nil {
			c.skipped = append(c.skipped, fmt.Sprintf("%d: %v", n, err))
			continue
		}
		c.list = append(c.list, &contender{name: plural(n) + ", median", values: p50}, &contender{name: plural(n) + ", p99", values: p99})
	}
	return c
}

func plural(n int) string {
	if n == 1 {
		return "1 sandbox"
	}
	return fmt.Sprintf("%d sandboxes", n)
}

func (b *bench) changes(w who, n int, server string) (p50, p99 sample, err error) {
	file := filepath.Join(b.dir, fmt.Sprintf("flip-%d.yaml", n))
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
		args := []string{"sleep", "600"}
		if i == n-1 {
			args = []string{b.self, roleFlip}
		}
		cmd := w.command(ctx, append([]string{b.creel, "run", "--quiet", "--policy", file, "--workspace", w.work(), "--name", fmt.Sprintf("flip-%d-%d", n, i),
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
			time.Sleep(flipPause)
		}
		if round > 0 {
			p50, p99 = append(p50, took.median()), append(p99, took.quantile(0.99))
		}
	}
	return p50, p99, nil
}
