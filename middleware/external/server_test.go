package external_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/middleware/external"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/secret"
)

// schema is middleware.proto as another implementation reads it.
var schema = sync.OnceValue(func() protoreflect.MethodDescriptor {
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}}
	files, err := c.Compile(context.Background(), "middleware.proto")
	if err != nil {
		panic(err)
	}
	return files[0].Services().ByName("Middleware").Methods().ByName("Check")
})

// serve is a real server of Connect and gRPC, whose handler is a middleware.
func serve(t *testing.T, answer func(ctx context.Context, q *dynamicpb.Message, head http.Header) (*dynamicpb.Message, error)) http.Handler {
	t.Helper()
	m := schema()
	h := connect.NewUnaryHandler("/creel.middleware.v1.Middleware/Check",
		func(ctx context.Context, q *connect.Request[dynamicpb.Message]) (*connect.Response[dynamicpb.Message], error) {
			a, err := answer(ctx, q.Msg, q.Header())
			if err != nil {
				return nil, err
			}
			return connect.NewResponse(a), nil
		},
		connect.WithSchema(m), connect.WithRequestInitializer(func(_ connect.Spec, v any) error {
			*v.(*dynamicpb.Message) = *dynamicpb.NewMessage(m.Input()) //nolint:govet // it is empty still
			return nil
		}))
	mux := http.NewServeMux()
	mux.Handle("/creel.middleware.v1.Middleware/Check", h)
	return mux
}

func set(m *dynamicpb.Message, field string, v any) {
	m.Set(m.Descriptor().Fields().ByName(protoreflect.Name(field)), protoreflect.ValueOf(v))
}

func get(m *dynamicpb.Message, field string) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(field)))
}

// reply makes an answer.
func reply(verdict int, reason, body string) *dynamicpb.Message {
	a := dynamicpb.NewMessage(schema().Output())
	set(a, "verdict", protoreflect.EnumNumber(verdict))
	set(a, "reason", reason)
	set(a, "body", []byte(body))
	return a
}

// where is a way to reach a handler.
type where struct {
	name  string
	start func(t *testing.T, h http.Handler) external.Registration
}

var ways = func() (all []where) {
	for _, p := range []external.Protocol{external.Connect, external.GRPC} {
		name := []string{"connect", "grpc"}[p]
		protocols := new(http.Protocols)
		protocols.SetHTTP1(true)
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(true)
		all = append(all,
			where{name + " unix", func(t *testing.T, h http.Handler) external.Registration {
				path := filepath.Join(t.TempDir(), "s")
				l, err := net.Listen("unix", path)
				if err != nil {
					t.Fatal(err)
				}
				srv := &http.Server{Handler: h, Protocols: protocols}
				done := make(chan struct{})
				go func() { defer close(done); _ = srv.Serve(l) }()
				t.Cleanup(func() { _ = srv.Close(); <-done })
				return external.Registration{Endpoint: "unix://" + path, Protocol: p}
			}},
			where{name + " loopback", func(t *testing.T, h http.Handler) external.Registration {
				srv := httptest.NewUnstartedServer(h)
				srv.Config.Protocols = protocols
				srv.Start()
				t.Cleanup(srv.Close)
				return external.Registration{Endpoint: srv.URL, Protocol: p}
			}},
			where{name + " https", func(t *testing.T, h http.Handler) external.Registration {
				srv := httptest.NewUnstartedServer(h)
				srv.EnableHTTP2 = true
				srv.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
				srv.StartTLS()
				t.Cleanup(srv.Close)
				pool := x509.NewCertPool()
				pool.AddCert(srv.Certificate())
				return external.Registration{Endpoint: srv.URL, Protocol: p, RootCAs: pool}
			}})
	}
	return all
}()

// open makes the middleware of a registration.
func open(t *testing.T, r external.Registration, config map[string]any) middleware.Middleware {
	t.Helper()
	r.Name = "guard"
	s, err := external.Open(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	m, err := s.Factory(config)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func message(t *testing.T) *middleware.Message {
	t.Helper()
	h, err := netname.ParseHost("api.test")
	if err != nil {
		t.Fatal(err)
	}
	return &middleware.Message{Direction: middleware.Request, Method: "POST", Scheme: "https", Host: h, Port: 443, Path: "/a%20b", RawQuery: "q=1",
		Header: http.Header{"Content-Type": {"text/plain"}, "X": {"1", "2"}}, Body: []byte("a body of \x00\xff bytes")}
}

// TestCall: what is asked is what the server of another implementation reads,
// and its answers are understood, in each form and over each kind of endpoint.
func TestCall(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			var asked string
			var token string
			next := reply(1, "", "")
			r := way.start(t, serve(t, func(_ context.Context, q *dynamicpb.Message, head http.Header) (*dynamicpb.Message, error) {
				asked, token = "", head.Get("Authorization")
				for i := range q.Descriptor().Fields().Len() {
					f := q.Descriptor().Fields().Get(i)
					if f.IsList() {
						for j := range q.Get(f).List().Len() {
							h := q.Get(f).List().Get(j).Message().Interface().(*dynamicpb.Message)
							asked += fmt.Sprintf(" %s: %s", get(h, "name"), get(h, "value"))
						}
					} else if f.Kind() == protoreflect.BytesKind {
						asked += fmt.Sprintf(" %s=%q", f.Name(), q.Get(f).Bytes())
					} else {
						asked += fmt.Sprintf(" %s=%v", f.Name(), q.Get(f))
					}
				}
				return next, nil
			}))
			r.Token = secret.New("a-token")
			r.On = middleware.Request | middleware.Response | middleware.ServerMessage
			mw := open(t, r, map[string]any{"terms": []any{"x"}})
			if mw.Takes() != r.On || mw.MaxBody() != middleware.MaxBody {
				t.Errorf("takes %v, %d bytes", mw.Takes(), mw.MaxBody())
			}

			a, err := mw.Check(context.Background(), message(t))
			if err != nil || a.Action != middleware.Pass {
				t.Fatalf("%+v, %v", a, err)
			}
			const want = ` middleware=guard config={"terms":["x"]} direction=1 method=POST scheme=https host=api.test port=443 path=/a%20b query=q=1 status=0` +
				` Content-Type: text/plain X: 1 X: 2 body="a body of \x00\xff bytes" binary=false`
			if asked != want || token != "Bearer a-token" {
				t.Errorf("asked\n%s with %q, want\n%s", asked, token, want)
			}

			next = reply(2, "", "new \xff")
			list := next.Mutable(next.Descriptor().Fields().ByName("findings")).List()
			f := list.NewElement().Message().Interface().(*dynamicpb.Message)
			set(f, "rule", "a rule\n")
			set(f, "part", "header")
			set(f, "name", "X")
			set(f, "from", uint32(3))
			set(f, "to", uint32(300))
			list.Append(protoreflect.ValueOfMessage(f))
			a, err = mw.Check(context.Background(), message(t))
			if err != nil || a.Action != middleware.Change || string(a.Body) != "new \xff" || len(a.Findings) != 1 ||
				a.Findings[0].Rule != "a?rule?" || a.Findings[0].Part != middleware.Header || a.Findings[0].Name != "X" || a.Findings[0].From != 3 || a.Findings[0].To != 300 {
				t.Errorf("%+v, %v", a, err)
			}
			next = reply(2, "", "")
			if a, err = mw.Check(context.Background(), message(t)); err != nil || a.Action != middleware.Change || len(a.Body) != 0 {
				t.Errorf("an empty body: %+v, %v", a, err)
			}
			next = reply(3, "not here", "")
			m := message(t)
			m.Direction, m.Status, m.Binary = middleware.ServerMessage, 101, true
			if a, err = mw.Check(context.Background(), m); err != nil || a.Action != middleware.Deny || a.Reason != "not here" {
				t.Errorf("%+v, %v", a, err)
			}
			for _, wrong := range []*dynamicpb.Message{reply(0, "", ""), reply(9, "", ""), reply(1, "", "a body")} {
				next = wrong
				if a, err := mw.Check(context.Background(), message(t)); err == nil || a.Action != middleware.Deny {
					t.Errorf("%v: %+v, %v", wrong, a, err)
				}
			}
		})
	}
}
