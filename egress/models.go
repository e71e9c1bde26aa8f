package egress

import (
	"net/http"

	"github.com/creel-run/creel/policy"
)

// models decides what becomes of a request that is allowed, and reports whether
// it goes on: where it has the shape of a model protocol, as the inference
// route's if that serves it, and else not. Callers hold mu of the connection.
func (x *exchange) models(j *judged, asked []policy.Request) bool {
	served, model := x.modelCall(asked)
	x.served = served
	switch {
	case !model:
	case served != "":
		j.mode, j.decision.Verdict = modeReroute, policy.Reroute
	default:
		j.model, j.decision = true, policy.Decision{Rule: j.decision.Rule, Reason: policy.ReasonModel}
		return false
	}
	return true
}

// modelCall reports that a request is a model call in some method that it may
// turn into, and where the inference route serves it; empty: nowhere.
func (x *exchange) modelCall(asked []policy.Request) (served string, model bool) {
	engine := x.c.s.conf.Engine()
	for i := range asked {
		call, ok := engine.Models(&asked[i], x.h.upgrade != "")
		if !ok {
			continue
		}
		// What may turn into another method is not known to be the route's.
		if inf := x.c.s.inference(); inf != nil && len(asked) == 1 && asked[i].Method == http.MethodPost && call.Served != "" && inf.Serves(call.Served) {
			served = call.Served
		}
		model = true
	}
	return served, model
}

// recheckModel judges a request that is being answered again: it ends where it
// would go elsewhere now. Callers hold mu of the connection.
func (x *exchange) recheckModel(d policy.ConnectDecision) (_ policy.Decision, denied *policy.Request) {
	served, model := x.modelCall(x.asked)
	if served == x.served && model == (served != "") {
		return policy.Decision{}, nil
	}
	return policy.Decision{Reason: "this request would be treated otherwise now", Rule: d.Rule}, &x.request
}
