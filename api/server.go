package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/creel-run/creel/cow"
	"github.com/creel-run/creel/fault"
)

// Backend answers for one sandbox. Its methods are called concurrently.
// Errors become Problems: a *fault.Error with its hints and code, a
// *FaultyPolicy with its faults.
type Backend interface {
	Sandbox(ctx context.Context) (Sandbox, error)
	Posture(ctx context.Context) (Posture, error)
	Reload(ctx context.Context, policy string) (Reloaded, error)
	Apply(ctx context.Context, o cow.Options) ([]cow.Result, error)
	Stop(ctx context.Context) error // returns at once; the end follows
}

// NewFaultyPolicy is the error by which a Backend refuses a policy, and a start;
// outcome says what that means, as in "nothing was changed".
func NewFaultyPolicy(outcome string, faults []Fault, hints ...string) *FaultyPolicy {
	text := "1 fault, " + outcome
	if n := len(faults); n != 1 {
		text = strconv.Itoa(n) + " faults, " + outcome
	}
	return &FaultyPolicy{Faults: faults, err: fault.UsageError("load policy", text, hints...)}
}

// Serve answers on l until ctx ends, then closes it and waits for the answers
// under way (bounded). A Socket keeps its name. Serve returns nil after ctx ended
// or l was closed.
func Serve(ctx context.Context, l net.Listener, b Backend) error {
	if s, ok := l.(*Socket); ok {
		l = hushed{s}
	}
	srv := &http.Server{
		Handler: Handler(b),
		// A peer is this user's own tool; the bounds are against a stuck one.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      answerTime,
		IdleTimeout:       10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		return err
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if srv.Shutdown(bounded) != nil {
		_ = srv.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Handler is the protocol without the socket.
func Handler(b Backend) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/sandbox", func(w http.ResponseWriter, r *http.Request) {
		s, err := b.Sandbox(r.Context())
		answer(w, http.StatusOK, s, err)
	})
	mux.HandleFunc("GET /v1/posture", func(w http.ResponseWriter, r *http.Request) {
		p, err := b.Posture(r.Context())
		answer(w, http.StatusOK, p, err)
	})
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		var args ReloadArgs
		if err := decodeBody(r.Body, &args); err != nil {
			answer(w, 0, nil, err)
			return
		}
		re, err := b.Reload(r.Context(), args.Policy)
		answer(w, http.StatusOK, re, err)
	})
	mux.HandleFunc("POST /v1/apply", func(w http.ResponseWriter, r *http.Request) {
		var o cow.Options
		if err := decodeBody(r.Body, &o); err != nil {
			answer(w, 0, nil, err)
			return
		}
		results, err := b.Apply(r.Context(), o)
		answer(w, http.StatusOK, results, err)
	})
	mux.HandleFunc("POST /v1/stop", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusAccepted, struct{}{}, b.Stop(r.Context()))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		write(w, http.StatusNotFound, Problem{Error: "no such request: this creel does not know it",
			Hints: []string{"use the creel that started the sandbox"}})
	})
	return mux
}

// hushed is a Socket whose Close does not give the name back.
type hushed struct{ *Socket }

func (h hushed) Close() error { return h.Hush() }

func decodeBody(r io.Reader, v any) error {
	b, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err == nil && len(b) > maxBody {
		err = errors.New("too long")
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fault.Wrap(err, "read request", fault.Usage)
	}
	return nil
}

// answer writes v, or err as a Problem: 422 for what the asker can change, 500 else.
func answer(w http.ResponseWriter, status int, v any, err error) {
	if err == nil {
		write(w, status, v)
		return
	}
	p := Problem{Error: err.Error(), Code: fault.General}
	var e *fault.Error
	if errors.As(err, &e) {
		p.Hints, p.Code = e.Hints, e.Exit()
	}
	var faulty *FaultyPolicy
	if errors.As(err, &faulty) {
		p.Faults = faulty.Faults
	}
	status = http.StatusInternalServerError
	if p.Code == fault.Usage {
		status = http.StatusUnprocessableEntity
	}
	write(w, status, p)
}

func write(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"encode answer"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}
