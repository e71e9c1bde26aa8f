package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/creel-run/creel/audit"
)

// echoService is a gRPC service without generated code: every message is a StringValue.
var echoService = grpc.ServiceDesc{
	ServiceName: "test.v1.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Say", Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := dec(in); err != nil {
				return nil, err
			}
			switch in.Value {
			case "fail":
				_ = grpc.SetTrailer(ctx, metadata.Pairs("x-why", "asked"))
				return nil, status.Error(codes.FailedPrecondition, "100% asked for: ü")
			case "sleep":
				<-ctx.Done()
				return nil, ctx.Err()
			}
			md, _ := metadata.FromIncomingContext(ctx)
			_ = grpc.SetHeader(ctx, metadata.Pairs("x-head", "1"))
			_ = grpc.SetTrailer(ctx, metadata.Pairs("x-tail", "2"))
			return wrapperspb.String(in.Value + strings.Join(md.Get("x-more"), ",")), nil
		}},
		{MethodName: "Drop", Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			return new(wrapperspb.StringValue), dec(new(wrapperspb.StringValue))
		}},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "Talk", ServerStreams: true, ClientStreams: true, Handler: func(srv any, s grpc.ServerStream) error {
			_ = s.SendHeader(metadata.Pairs("x-early", "1"))
			for {
				in := new(wrapperspb.StringValue)
				if err := s.RecvMsg(in); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					if f, ok := srv.(func(error)); ok {
						f(s.Context().Err())
					}
					return err
				}
				if in.Value == "break" {
					return status.Error(codes.Aborted, "broken")
				}
				if err := s.SendMsg(in); err != nil {
					return err
				}
			}
		}},
		{StreamName: "Count", ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			in := new(wrapperspb.StringValue)
			if err := s.RecvMsg(in); err != nil {
				return err
			}
			n, _ := strconv.Atoi(in.Value)
			for i := range n {
				if err := s.SendMsg(wrapperspb.String(fmt.Sprintf("%d %s", i, strings.Repeat("x", 10_000)))); err != nil {
					return err
				}
			}
			return nil
		}},
	},
}

// grpcServer serves echoService behind a name, with TLS on 443.
func (r *rig) grpcServer(host string, port uint16, canceled func(error)) {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.upstream(host, port, l)
	var opts []grpc.ServerOption
	if port == 443 {
		opts = append(opts, grpc.Creds(credentials.NewTLS(r.serverTLS(host))))
	}
	s := grpc.NewServer(opts...)
	s.RegisterService(&echoService, any(canceled))
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	r.t.Cleanup(func() { s.Stop(); <-done })
}

func (r *rig) grpcClient(to string) *grpc.ClientConn {
	r.t.Helper()
	creds := insecure.NewCredentials()
	if strings.HasSuffix(to, ":443") {
		creds = credentials.NewTLS(&tls.Config{RootCAs: r.agent})
	}
	cc, err := grpc.NewClient("passthrough:///"+to, grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			c, _ := r.open(viaRedirect, to)
			return c, c.SetDeadline(time.Time{})
		}))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = cc.Close() })
	return cc
}

const echoPolicy = `version: 2
network_policies:
  echo:
    endpoints:
      - host: ok.test
        ports: [80, 443]
        protocol: rest
        rules:
          - allow: {method: POST, path: "/test.v1.Echo/Say"}
          - allow: {method: POST, path: "/test.v1.Echo/Talk"}
          - allow: {method: POST, path: "/test.v1.Echo/Count"}
    binaries: any
`

func say(ctx context.Context, cc *grpc.ClientConn, method, text string, opts ...grpc.CallOption) (string, error) {
	out := new(wrapperspb.StringValue)
	err := cc.Invoke(ctx, "/test.v1.Echo/"+method, wrapperspb.String(text), out, opts...)
	return out.Value, err
}

func TestGRPC(t *testing.T) {
	for _, to := range []string{"ok.test:443", "ok.test:80"} {
		t.Run(to, func(t *testing.T) {
			r := newRig(t, echoPolicy)
			canceled := make(chan error, 1)
			port := uint16(443)
			if to == "ok.test:80" {
				port = 80
			}
			r.grpcServer("ok.test", port, func(err error) { canceled <- err })
			cc := r.grpcClient(to)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()

			var head, tail metadata.MD
			got, err := say(metadata.AppendToOutgoingContext(ctx, "x-more", "!"), cc, "Say", "hi", grpc.Header(&head), grpc.Trailer(&tail))
			if err != nil || got != "hi!" || head.Get("x-head")[0] != "1" || tail.Get("x-tail")[0] != "2" {
				t.Errorf("%q %v %v %v", got, err, head, tail)
			}

			_, err = say(ctx, cc, "Say", "fail", grpc.Trailer(&tail))
			if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "100% asked for: ü" || tail.Get("x-why")[0] != "asked" {
				t.Errorf("%v %v", err, tail)
			}

			_, err = say(ctx, cc, "Drop", "x")
			if s := status.Convert(err); s.Code() != codes.PermissionDenied || !strings.Contains(s.Message(), "not permitted") {
				t.Errorf("a denied method: %v", err)
			}

			short, stop := context.WithTimeout(ctx, 200*time.Millisecond)
			if _, err = say(short, cc, "Say", "sleep"); status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("deadline: %v", err)
			}
			stop()

			// Each message goes and comes before the next one, and the head before all.
			s, err := cc.NewStream(ctx, &echoService.Streams[0], "/test.v1.Echo/Talk")
			if err != nil {
				t.Fatal(err)
			}
			if h, err := s.Header(); err != nil || h.Get("x-early")[0] != "1" {
				t.Fatal(h, err)
			}
			for i := range 50 {
				out := new(wrapperspb.StringValue)
				if err := s.SendMsg(wrapperspb.String(fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
				if err := s.RecvMsg(out); err != nil || out.Value != fmt.Sprint(i) {
					t.Fatal(out, err)
				}
			}
			_ = s.CloseSend()
			if err := s.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
				t.Errorf("end: %v", err)
			}

			// The server ends with an error while the client could go on.
			s, err = cc.NewStream(ctx, &echoService.Streams[0], "/test.v1.Echo/Talk")
			if err != nil {
				t.Fatal(err)
			}
			_ = s.SendMsg(wrapperspb.String("break"))
			if err := s.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.Aborted {
				t.Errorf("broken: %v", err)
			}

			// The client gives up: the server hears of it.
			cctx, giveUp := context.WithCancel(ctx)
			if s, err = cc.NewStream(cctx, &echoService.Streams[0], "/test.v1.Echo/Talk"); err != nil {
				t.Fatal(err)
			}
			if _, err = s.Header(); err != nil {
				t.Fatal(err)
			}
			giveUp()
			select {
			case err := <-canceled:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("the server saw %v", err)
				}
			case <-ctx.Done():
				t.Error("the server did not hear that the client gave up")
			}

			// More than every window.
			if s, err = cc.NewStream(ctx, &echoService.Streams[1], "/test.v1.Echo/Count"); err != nil {
				t.Fatal(err)
			}
			_ = s.SendMsg(wrapperspb.String("1000"))
			_ = s.CloseSend()
			n := 0
			for ; ; n++ {
				out := new(wrapperspb.StringValue)
				if err = s.RecvMsg(out); err != nil {
					break
				}
				if !strings.HasPrefix(out.Value, fmt.Sprintf("%d ", n)) {
					t.Fatalf("message %d is %.10s", n, out.Value)
				}
			}
			if n != 1000 || !errors.Is(err, io.EOF) {
				t.Errorf("%d messages, then %v", n, err)
			}
			big := strings.Repeat("y", 3<<20)
			if got, err := say(ctx, cc, "Say", big); err != nil || got != big {
				t.Errorf("%d bytes came back: %v", len(got), err)
			}
		})
	}
}

// TestGRPCPolicy: protocol: grpc judges services and methods, and takes nothing else.
func TestGRPCPolicy(t *testing.T) {
	r := newRig(t, `version: 2
network_policies:
  echo:
    endpoints:
      - host: ok.test
        ports: [80, 443]
        protocol: grpc
        rules:
          - allow: {service: "test.*.Echo", method: "*"}
        deny_rules:
          - {service: test.v1.Echo, method: Drop}
    binaries: any
`)
	r.grpcServer("ok.test", 443, nil)
	cc := r.grpcClient("ok.test:443")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := say(ctx, cc, "Say", "hi"); err != nil || got != "hi" {
		t.Error(got, err)
	}
	if _, err := say(ctx, cc, "Drop", "x"); status.Code(err) != codes.PermissionDenied {
		t.Error(err)
	}
	if err := cc.Invoke(ctx, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", wrapperspb.String(""), new(wrapperspb.StringValue)); status.Code(err) != codes.PermissionDenied {
		t.Error(err)
	}
	for name, fields := range map[string][]string{
		"JSON":      post("/test.v1.Echo/Say", "content-type: application/json"),
		"no type":   post("/test.v1.Echo/Say"),
		"gRPC-Web":  post("/test.v1.Echo/Say", "content-type: application/grpc-web+proto"),
		"two types": post("/test.v1.Echo/Say", "content-type: text/plain", "content-type: application/grpc"),
		"GET":       get("/test.v1.Echo/Say", "content-type: application/grpc"),
		"query":     post("/test.v1.Echo/Say?x=y", "content-type: application/grpc"),
		"path":      post("/test.v1.Echo/Say/x", "content-type: application/grpc"),
		"escaped":   post("/test.v1.Echo/Sa%79%00", "content-type: application/grpc"),
	} {
		f := r.framed("ok.test:443")
		f.open(1, true, fields...)
		if o := f.result(1); o.end != "403" && o.end != "400" && (o.end != "200" || o.headers.Get("Grpc-Status") == "0" || o.headers.Get("Grpc-Status") == "") {
			t.Errorf("%s: %+v", name, o)
		}
	}
	resp, body := r.https(viaRedirect, "ok.test:443", "POST /test.v1.Echo/Say HTTP/1.1\r\nHost: ok.test\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n")
	r.event("denied call", func(ev audit.Event) bool {
		return ev.Verdict == "deny" && ev.Detail["grpc"] != "" && strings.Contains(ev.Detail[audit.RuleMissing], "#   - allow: {service: grpc.reflection.v1.ServerReflection, method: ServerReflectionInfo}")
	})
	if d := wantDenial(t, resp, body, 403, codePolicy); !strings.Contains(d.Reason, "HTTP/2") {
		t.Error(d.Reason)
	}
}

// TestGRPCUnavailable: a server that is not there, and one that has no HTTP/2.
func TestGRPCUnavailable(t *testing.T) {
	r := newRig(t, echoPolicy)
	r.raw1("ok.test", func(string) {}, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := say(ctx, r.grpcClient("ok.test:443"), "Say", "x"); status.Code(err) == codes.OK {
		t.Error("an answer that is no gRPC was taken for one")
	}
	if _, err := say(ctx, r.grpcClient("ok.test:80"), "Say", "x"); status.Code(err) != codes.Unavailable {
		t.Errorf("a server that is not there: %v", err)
	}
}

// TestGRPCBroken: a server that goes away in the middle of a stream.
func TestGRPCBroken(t *testing.T) {
	r := newRig(t, echoPolicy)
	r.web("ok.test", 443, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := r.grpcClient("ok.test:443").NewStream(ctx, &echoService.Streams[0], "/test.v1.Echo/Talk")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "broke the answer off") {
		t.Error(err)
	}
}

// TestTrailersHTTP1: trailers reach a client of HTTP/1.1 that says it takes them, and no other.
func TestTrailersHTTP1(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("ok.test", 443, func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write([]byte("abc"))
		w.Header().Set(http.TrailerPrefix+"X-Sum", "42")
	})
	for te, want := range map[string]string{"": "", "TE: trailers\r\nConnection: TE\r\n": "42", "TE: gzip\r\n": ""} {
		resp, body := r.https(viaRedirect, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n"+te+"\r\n")
		if body != "abc" || resp.Trailer.Get("X-Sum") != want {
			t.Errorf("%q: %s, trailers %v, want %q", te, body, resp.Trailer, want)
		}
	}
}
