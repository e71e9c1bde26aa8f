package secrets

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/creel-run/creel/middleware"
)

// OpenShellName is the one built-in middleware of OpenShell. It is here so that
// its policies mean the same; creel/secrets finds more.
const OpenShellName = "openshell/regex"

// openShellBody is its largest body, in bytes.
const openShellBody = 256 << 10

// openShellNames are the fields whose values it replaces.
var openShellNames = []string{"api_key", "api-key", "apikey", "access_token", "access-token", "accesstoken", "secret", "password"}

var openShellRules = sync.OnceValue(func() []openShellRule {
	const (
		sign  = `["']?\s*[=:]\s*["']` // between a name and its value
		value = `[^\s,}"']+`
	)
	return []openShellRule{
		{"keyword", regexp.MustCompile(`(?i)((?:` + strings.Join(openShellNames, "|") + `)` + sign + `)` + value), "${1}[REDACTED]"},
		{"openai", regexp.MustCompile(`sk-[\w-]{16,}`), "[REDACTED]"},
	}
})

type openShellRule struct {
	name  string
	regex *regexp.Regexp
	with  string
}

// OpenShell makes openshell/regex: it replaces what stands behind a few names
// and keys of one form in request bodies, which are UTF-8. Its one setting is
// mode: redact.
func OpenShell(config map[string]any) (middleware.Middleware, error) {
	settings := middleware.NewSettings(config)
	settings.Choice("mode", "redact", "redact")
	if err := settings.Err(); err != nil {
		return nil, err
	}
	return openShell{}, nil
}

type openShell struct{}

func (openShell) Takes() middleware.Direction { return middleware.Request }
func (openShell) MaxBody() int                { return openShellBody }

func (openShell) Check(ctx context.Context, m *middleware.Message) (middleware.Answer, error) {
	if !utf8.Valid(m.Body) {
		return middleware.Answer{}, errors.New("the body is no text in UTF-8")
	}
	a := middleware.Answer{Action: middleware.Pass}
	body := m.Body
	for _, r := range openShellRules() {
		if err := ctx.Err(); err != nil {
			return middleware.Answer{}, err
		}
		all := r.regex.FindAllIndex(body, -1)
		for range all { // places of a body that may have been changed tell nothing
			a.Findings = append(a.Findings, middleware.Finding{Rule: "regex/" + r.name})
		}
		if len(all) > 0 {
			a.Action, body = middleware.Change, r.regex.ReplaceAll(body, []byte(r.with))
			a.Body = body
		}
	}
	return a, nil
}
