package naive

// GRPC is a call of gRPC.
type GRPC struct {
	Service string
	Method  string
}

// grpcFault: nothing that was read as a call.
func grpcFault(q Question) bool {
	return q.GRPC == nil || q.GRPC.Service == "" || q.GRPC.Method == "" || q.Method != "POST"
}

// grpcTakes: a rule is about services by name, whose parts a star does not cross,
// and about their methods; a deny rule without one is about all of them.
func grpcTakes(rules []Rule, g GRPC) bool {
	for _, r := range rules {
		method := r.Method
		if method == "" {
			method = "*"
		}
		service, err := Glob(r.Service, g.Service, '.')
		call, err2 := Glob(method, g.Method, '/')
		if err == nil && err2 == nil && service && call {
			return true
		}
	}
	return false
}
