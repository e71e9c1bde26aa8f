package egress

import (
	"net/url"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy"
)

// maxOverrides is how many methods one query may name; none that is meant
// names more than one.
const maxOverrides = 4

// overrides are the methods that a query names for the request, other than its
// own. Frameworks let a parameter replace the method (Rails, Laravel and Symfony
// _method; Google's services $httpMethod), so such a request is judged as each
// of them, and every one must be allowed. ok is false if there are too many.
//
// The same field in the body of a form is judged while it is read: see scanForm.
func overrides(method, query string) (methods []string, ok bool) {
	for _, pair := range strings.FieldsFunc(query, func(c rune) bool { return c == '&' || c == ';' }) {
		key, value, _ := strings.Cut(pair, "=")
		if !namesMethod(lenient(key)) {
			continue
		}
		m := strings.ToUpper(strings.TrimSpace(lenient(value)))
		if m == "" || m == method || slices.Contains(methods, m) {
			continue
		}
		if len(methods) == maxOverrides {
			return nil, false
		}
		methods = append(methods, m)
	}
	return methods, true
}

// namesMethod takes the spellings that PHP folds into one: leading spaces go,
// dots, spaces and an open bracket become underscores.
func namesMethod(key string) bool {
	key = strings.ToLower(strings.TrimLeft(key, " "))
	if i := strings.IndexByte(key, 0); i >= 0 {
		key = key[:i]
	}
	if i := strings.LastIndexByte(key, '['); i > 0 {
		key = key[:i]
	}
	switch strings.NewReplacer(".", "_", " ", "_", "[", "_", "-", "_").Replace(key) {
	case "_method", "$httpmethod", "x_http_method_override", "x_http_method", "x_method_override":
		return true
	}
	return false
}

// lenient decodes a part of a query; one that is malformed stands for itself.
func lenient(text string) string {
	if dec, err := url.QueryUnescape(text); err == nil {
		return dec
	}
	return text
}

// judgeAll asks the policy about a request in every method that it may turn
// into, and gives the decision that is least favourable, and the request that
// is decided about. The caller has made sure that requests are judged at all.
func judgeAll(e *policy.Engine, asked []policy.Request) (d policy.Decision, denied *policy.Request) {
	for i := range asked {
		one := e.Request(asked[i])
		if i > 0 && (one.Verdict != policy.Allow || one.Audited) {
			one.Reason = "the query names another method, " + printableMethod(asked[i].Method) + ", and for it: " + one.Reason
		}
		if one.Verdict != policy.Allow {
			return one, &asked[i]
		}
		if i == 0 || one.Audited && !d.Audited {
			d = one
		}
	}
	return d, nil
}

// printableMethod is a method from a query, which can be any text.
func printableMethod(m string) string {
	if isToken(m) && len(m) <= maxMethod {
		return m
	}
	return "which is none"
}
