package external

import (
	"errors"
	"maps"
	"slices"

	"github.com/creel-run/creel/middleware"
)

// maxFindings of an answer are taken; more are an error.
const maxFindings = 1000

// request is what a call says.
type request struct {
	entry *entry
	m     *middleware.Message
}

type header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (q request) headers() []header {
	var list []header
	for _, name := range slices.Sorted(maps.Keys(q.m.Header)) {
		for _, v := range q.m.Header[name] {
			list = append(list, header{name, v})
		}
	}
	return list
}

// direction is the number and the name of a direction in middleware.proto.
func direction(d middleware.Direction) (uint64, string) {
	switch d {
	case middleware.Request:
		return 1, "DIRECTION_REQUEST"
	case middleware.Response:
		return 2, "DIRECTION_RESPONSE"
	case middleware.AgentMessage:
		return 3, "DIRECTION_MESSAGE"
	case middleware.ServerMessage:
		return 4, "DIRECTION_SERVER_MESSAGE"
	}
	return 0, "DIRECTION_UNSPECIFIED"
}

// verdicts are those of middleware.proto, by number.
var verdicts = []string{"VERDICT_UNSPECIFIED", "VERDICT_PASS", "VERDICT_CHANGE", "VERDICT_DENY"}

// response is what an answer says.
type response struct {
	verdict  uint64
	reason   string
	body     []byte
	findings []finding
}

type finding struct {
	rule, part, name string
	from, to         uint64
}

var errVerdict = errors.New("its answer has no verdict of the protocol")

// answer checks what a service said.
func (r *response) answer() (middleware.Answer, error) {
	var a middleware.Answer
	switch r.verdict {
	case 1:
		a.Action = middleware.Pass
	case 2:
		a.Action, a.Body = middleware.Change, r.body
	case 3:
		a.Action, a.Reason = middleware.Deny, r.reason
	default:
		return a, errVerdict
	}
	if r.verdict != 2 && len(r.body) > 0 {
		return middleware.Answer{}, errors.New("its answer has a body without the verdict to change it")
	}
	if len(r.findings) > maxFindings {
		return middleware.Answer{}, errors.New("its answer has too many findings")
	}
	for _, f := range r.findings {
		x := middleware.Finding{Rule: clean(f.rule), Name: clean(f.name), From: int(uint32(f.from)), To: int(uint32(f.to))}
		switch f.part {
		case "", "body":
		case "target":
			x.Part = middleware.Target
		case "header":
			x.Part = middleware.Header
		default:
			return middleware.Answer{}, errors.New("its answer has a finding in no part of a message")
		}
		a.Findings = append(a.Findings, x)
	}
	return a, nil
}

// clean keeps what a rule or a header is called, which ends up in the log: it
// is no place for a part of the message.
func clean(name string) string {
	out := make([]byte, 0, min(len(name), 64))
	for i := 0; i < len(name) && len(out) < 64; i++ {
		c := name[i]
		if c < '!' || c > '~' {
			c = '?'
		}
		out = append(out, c)
	}
	return string(out)
}
