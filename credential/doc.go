// Package credential keeps real credentials outside the sandbox: the agent
// holds placeholders, and a value is put into the one header it is bound to,
// towards the one host it is bound to, at the last moment.
//
// # What holds for a request
//
// Towards a bound host, the bound header
//   - is absent: the value is put in (as "Bearer VALUE" in Authorization, bare elsewhere);
//   - holds the placeholder, whole, behind a scheme ("token PLACEHOLDER") or in the
//     user or password of Basic: the placeholder is replaced where it stands;
//   - holds anything else: the request is refused, so that an account of an
//     attacker on an allowed host is no way out. The same goes for every other
//     header and query key that services take credentials from (foreign.go).
//
// The value is put in only into encrypted requests.
//
// Everywhere else, in requests to any host, a placeholder is refused: in the
// target (also percent-encoded once), in any header (also in Basic), and in the
// body, whose bytes are looked at while they are sent (Scanner). What counts as
// a placeholder is the prefix that all of them share, whichever Set made it.
//
// In the answers of a bound host the values are replaced by their placeholders
// (Mask), so that an endpoint that gives a request back shows nothing.
//
// It may import leaves and audit. A Set is immutable and safe for concurrent
// use. Errors name the credential, host and header, never a value.
package credential
