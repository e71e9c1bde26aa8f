// Package parent reaches the internet where it lies behind a proxy of the
// operator's: HTTP CONNECT, the same over TLS, or SOCKS5.
//
// It may import leaves. Proxies is immutable and safe for concurrent use; no
// goroutine outlives a call. Which proxy is asked is written out, or is what a
// script of the operator's network says (PAC); evaluating that is Config.Find's, and
// what it gives is read as hostile text: an answer that is not understood denies.
// Who dials has resolved the name and checked its addresses, and asks the proxy for
// one of them, unless the operator said that the proxy resolves names (Proxy.ByName).
//
// How it fails: where a proxy is set and the host is not excepted, there is no
// other way but those that a script names: an error of the proxy is the
// connection's. Errors are *Error; their text names neither proxy nor credential,
// because it may reach the agent.
//
// Not here: running the script (egress/pac); SOCKS4; authentication beyond Basic and
// RFC 1929.
//
// Sources: RFC 9110 §9.3.6 and §11.7 (CONNECT, Proxy-Authorization), RFC 7617
// (Basic), RFC 1928 and 1929 (SOCKS5); NO_PROXY as golang.org/x/net/http/httpproxy
// reads it.
package parent
