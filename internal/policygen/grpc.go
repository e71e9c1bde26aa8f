package policygen

import (
	"fmt"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/grpc"
)

var (
	services    = []string{"acme.v1.Echo", "acme.v1.Echo", "acme.*.Echo", "acme.**", "**", "*", "acme.v1.{Echo,Store}", "grpc.health.v1.Health"}
	grpcMethods = []string{"Say", "Say", "S*", "*", "{Say,Put}", "Put"}
)

// grpc draws a rule about gRPC calls.
func (g *gen) grpc(deny bool) string {
	text := fmt.Sprintf("service: %q", g.pick("service", services...))
	if deny && g.chance("whole service", 3) {
		return text
	}
	return text + fmt.Sprintf(", method: %q", g.pick("method of gRPC", grpcMethods...))
}

func grpcOf(t *rapid.T, e policy.Endpoint) (method string, r *grpc.Request) {
	rule := policy.RequestRule{Service: "acme.v1.Echo", Method: "Say"}
	if all := append(append([]policy.RequestRule{}, e.Allow...), e.Deny...); len(all) > 0 {
		rule = rapid.SampledFrom(all).Draw(t, "rule about gRPC")
	}
	method = "POST"
	if once(t, 10, "no POST") {
		method = "GET"
	}
	r = &grpc.Request{Service: Instance(t, rule.Service, '.'), Method: Instance(t, rule.Method, '/')}
	if once(t, 5, "other service") {
		r.Service = rapid.SampledFrom([]string{"acme.v1.Echo", "acme.v2.Echo", "acme.v1.beta.Store", "grpc.health.v1.Health", ""}).Draw(t, "service")
	}
	if once(t, 5, "other method of gRPC") {
		r.Method = rapid.SampledFrom([]string{"Say", "Put", "Drop", ""}).Draw(t, "method of gRPC")
	}
	return method, r
}
