package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	script, log := filepath.Join(dir, "script"), filepath.Join(dir, "log")
	if err := os.WriteFile(script, []byte("say hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("THE_KEY", "k")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"--listen", "127.0.0.1:0", "--script", script, "--key-env", "THE_KEY", "--log", log}, pw)
		pw.Close()
	}()
	url, err := bufio.NewReader(pr).ReadString('\n')
	if err != nil {
		t.Fatal(err, <-done)
	}
	req, err := http.NewRequest("POST", strings.TrimSpace(url)+"/v1/messages", strings.NewReader(`{"model":"m"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Api-Key", "k")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || !strings.Contains(string(body), "hello") {
		t.Errorf("got %s, %v", body, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), `"key":"expected"`) {
		t.Errorf("log %q, %v", text, err)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{{"--key-env", "NOT_SET_HERE"}, {"--script", "/does/not/exist"}, {"--listen", "nonsense"}} {
		if err := run(context.Background(), args, io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}

func TestRunHelp(t *testing.T) {
	if err := run(context.Background(), []string{"--help"}, io.Discard); err != nil {
		t.Errorf("help is no failure: %v", err)
	}
}
