package grpc

import "testing"

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		query        bool
		want         Request // zero: an error
	}{
		{"POST", "/acme.v1.Greeter/SayHello", false, Request{"acme.v1.Greeter", "SayHello"}},
		{"POST", "/Greeter/Say_2", false, Request{"Greeter", "Say_2"}},
		{"POST", "/grpc.health.v1.Health/Check", false, Request{"grpc.health.v1.Health", "Check"}},
		{"GET", "/acme.v1.Greeter/SayHello", false, Request{}},
		{"post", "/acme.v1.Greeter/SayHello", false, Request{}},
		{"POST", "/acme.v1.Greeter/SayHello", true, Request{}},
		{"POST", "acme.v1.Greeter/SayHello", false, Request{}},
		{"POST", "/acme.v1.Greeter/SayHello/", false, Request{}},
		{"POST", "/acme.v1.Greeter/SayHello/x", false, Request{}},
		{"POST", "/acme.v1.Greeter/", false, Request{}},
		{"POST", "/acme.v1.Greeter", false, Request{}},
		{"POST", "//SayHello", false, Request{}},
		{"POST", "/", false, Request{}},
		{"POST", "", false, Request{}},
		{"POST", "/.acme/Say", false, Request{}},
		{"POST", "/acme./Say", false, Request{}},
		{"POST", "/acme..v1/Say", false, Request{}},
		{"POST", "/acme.1v/Say", false, Request{}},
		{"POST", "/acme/Say.Hello", false, Request{}},
		{"POST", "/acme/Say%20", false, Request{}},
		{"POST", "/acme/S\u00e4y", false, Request{}},
		{"POST", "/acme/*", false, Request{}},
	} {
		got, err := Parse(tt.method, tt.path, tt.query)
		if got != tt.want || (err == nil) != (tt.want != Request{}) {
			t.Errorf("%s %s %t: %v %v", tt.method, tt.path, tt.query, got, err)
		}
	}
}

func TestCheckHead(t *testing.T) {
	for kind, ok := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "Application/gRPC": true, "application/grpc; x=y": true,
		"application/grpc-web": false, "application/grpc-web+proto": false, "application/grpcx": false, "application/grpc+": false,
		"application/proto": false, "application/json": false, "": false, "text/plain, application/grpc": false,
	} {
		if err := CheckHead(map[string][]string{"Content-Type": {kind}}); (err == nil) != ok {
			t.Errorf("%q: %v", kind, err)
		}
	}
	if CheckHead(nil) == nil || CheckHead(map[string][]string{"Content-Type": {"application/grpc", "application/grpc"}}) == nil {
		t.Error("none, or two, are taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/acme.v1.Greeter/SayHello")
	f.Add("/a/b/c")
	f.Fuzz(func(t *testing.T, path string) {
		r, err := Parse("POST", path, false)
		if err == nil && "/"+r.Service+"/"+r.Method != path {
			t.Errorf("%q was read as %+v", path, r)
		}
	})
}
