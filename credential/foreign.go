package credential

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// foreignHeaders are those from which services commonly take a credential.
// Towards a bound host they are refused unless they are the bound one: a
// request speaks for the operator's account or not at all. Cookies belong to
// it: they carry sessions.
var foreignHeaders = []string{
	"Authorization",
	"Proxy-Authorization",
	"Cookie",
	"X-Api-Key",
	"Api-Key",
	"Apikey",
	"X-Api-Token",
	"X-Auth-Token",
	"X-Access-Token",
	"X-Auth-Key",
	"X-Goog-Api-Key",
	"X-Goog-Iam-Authorization-Token",
	"X-Amz-Security-Token",
	"X-Functions-Key",
	"X-Vault-Token",
	"Private-Token",
	"Job-Token",
	"Deploy-Token",
	"X-Gitlab-Token",
	"X-Shopify-Access-Token",
	"Ocp-Apim-Subscription-Key",
	"Dd-Api-Key",
	"Dd-Application-Key",
	"Circle-Token",
}

// foreignQuery are query keys of the same kind, in lower case. Names that are
// common for other things (key, token, sig) are left out.
var foreignQuery = map[string]bool{
	"access_token":         true,
	"api_key":              true,
	"api-key":              true,
	"apikey":               true,
	"auth_token":           true,
	"oauth_token":          true,
	"private_token":        true,
	"job_token":            true,
	"client_secret":        true,
	"x-amz-credential":     true,
	"x-amz-signature":      true,
	"x-amz-security-token": true,
	"x-goog-credential":    true,
	"x-goog-signature":     true,
}

// neverBound are headers that frame or route a message; a credential in them
// would break or misdirect it.
var neverBound = map[string]bool{
	"Host": true, "Connection": true, "Keep-Alive": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
	"Upgrade": true, "Content-Length": true, "Content-Type": true, "Content-Encoding": true, "Expect": true,
	"Proxy-Authorization": true, "Proxy-Authenticate": true, "Proxy-Connection": true, "Forwarded": true, "Via": true,
}

// headerName checks and canonicalises the header of a flag.
func headerName(text string) (string, error) {
	if text == "" || len(text) > 128 {
		return "", fmt.Errorf("the header %.130q is not a name", text)
	}
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 { // RFC 9110 §5.6.2
			return "", fmt.Errorf("the header %q is not a name", text)
		}
	}
	name := http.CanonicalHeaderKey(text)
	if neverBound[name] || strings.HasPrefix(name, "Sec-Websocket-") {
		return "", fmt.Errorf("the header %s cannot carry a credential", name)
	}
	return name, nil
}

// asRead is the name by which a server with a CGI past knows a header: it makes a
// variable of it, in which all signs are one.
func asRead(name string) string {
	return http.CanonicalHeaderKey(strings.Map(func(r rune) rune {
		if r < 0x80 && (r|0x20 < 'a' || r|0x20 > 'z') && (r < '0' || r > '9') {
			return '-'
		}
		return r
	}, name))
}

// maxProtocol is the longest name of a WebSocket subprotocol that is none of a
// token, in bytes; registered ones stay below 40.
const maxProtocol = 48

// tokenAsProtocol: browsers can set no header on a WebSocket, so services take a
// credential as one of the subprotocols, marked by a name before it or by a prefix.
func tokenAsProtocol(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	switch name {
	case "access_token", "accesstoken", "auth", "authorization", "bearer", "jwt", "token", "api_key", "apikey":
		return true
	}
	return len(name) > maxProtocol || strings.HasPrefix(name, "openai-insecure-api-key.") || strings.Contains(name, "bearer.authorization.")
}

// foreign finds a credential that the request brought itself, besides the
// headers that are bound.
func foreign(req *http.Request, bound map[string]bool) error {
	for name := range req.Header {
		if read := asRead(name); (slices.Contains(foreignHeaders, read) || bound[read]) && !bound[name] {
			return fmt.Errorf("the request carries a credential of its own in %s; this host accepts the bound one only", name)
		}
	}
	for _, v := range req.Header["Sec-Websocket-Protocol"] {
		if slices.ContainsFunc(strings.Split(v, ","), tokenAsProtocol) {
			return fmt.Errorf("the request carries a credential of its own in Sec-WebSocket-Protocol; this host accepts the bound one only")
		}
	}
	if req.URL.User != nil {
		return fmt.Errorf("the request carries a credential of its own in its URL; this host accepts the bound one only")
	}
	// Parsed leniently, pair by pair: a faulty pair must not hide the others.
	for _, pair := range strings.FieldsFunc(req.URL.RawQuery, func(c rune) bool { return c == '&' || c == ';' }) {
		key, _, _ := strings.Cut(pair, "=")
		if dec, err := url.QueryUnescape(key); err == nil {
			key = dec
		}
		if foreignQuery[strings.ToLower(key)] {
			return fmt.Errorf("the request carries a credential of its own in query key %q; this host accepts the bound one only", key)
		}
	}
	return nil
}
