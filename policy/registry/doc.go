// Package registry turns a request to a package registry into plain data, so that
// rules can speak of packages and versions instead of paths.
//
// Five protocols are known, each by the paths that its own client asks for: npm,
// PyPI (the simple API, PEP 503 and 691, and its files), the Go module proxy, Cargo
// (sparse index and downloads) and Debian archives. What a path means is told from
// the path alone; a path that the protocol does not have is an error, and so is a
// method that it does not use there. When a version was published is not in a
// path: who knows it (from the registry's own answers) sets Request.Published.
//
// A leaf: it imports nothing of creel. Paths come in canonical form
// (policy/target), so that no second reading of them is possible here.
//
// Sources: the npm registry API, PEP 427 (names of wheels), PEP 503, PEP 625, PEP
// 691, go.dev/ref/mod (GOPROXY protocol, escaped paths), the Cargo book (registry
// index and web API), the Debian repository format.
package registry
