// Command creel-fakemodel serves internal/fakemodel for the demo and for tests
// that start programs: a local model server that speaks the real protocols.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/creel-run/creel/internal/fakemodel"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "creel-fakemodel:", err)
		os.Exit(1)
	}
}

// run serves until the context ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("creel-fakemodel", flag.ContinueOnError)
	listen := fs.String("listen", "127.0.0.1:0", "address to listen on")
	script := fs.String("script", "", "file of steps: say TEXT, run COMMAND, read PATH, fetch URL, write PATH TEXT")
	keyEnv := fs.String("key-env", "", "variable that holds the key which requests must carry")
	logFile := fs.String("log", "", "file that gets one JSON line per request, without keys and bodies")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil // printed already
	} else if err != nil {
		return err
	}
	var conf fakemodel.Config
	if *script != "" {
		text, err := os.ReadFile(*script)
		if err != nil {
			return err
		}
		if conf.Script, err = fakemodel.ParseScript(strings.NewReader(string(text))); err != nil {
			return err
		}
	}
	if *keyEnv != "" {
		if conf.Key = os.Getenv(*keyEnv); conf.Key == "" {
			return fmt.Errorf("read key: variable %s is empty", *keyEnv)
		}
	}
	if *logFile != "" {
		f, err := os.OpenFile(*logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		conf.Log = f
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	// The first line is the base URL, for the program that started this one.
	if _, err := fmt.Fprintf(out, "http://%s\n", l.Addr()); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	srv := &http.Server{Handler: fakemodel.New(conf)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		_ = srv.Close()
	}()
	err = srv.Serve(l)
	stop()
	<-done
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
