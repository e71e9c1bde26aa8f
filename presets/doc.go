// Package presets holds network rules for common services, as data, and merges
// them into policies.
//
// data/NAME.yaml is a policy of version 2 with a section about itself: a title,
// what it opens, what its risks are, which parameters it has. It allows the
// least that the service is useful with: methods and paths, not whole hosts.
// Texts may hold ${host}, ${port}, ${path} and the names of parameters; an
// endpoint whose host is ${host} is repeated for every host.
//
// Where packages come from is the machine's to say: no host of a package
// registry stands here. Discover reads it from the configuration of npm, pip,
// go, cargo and apt of this user and this machine, and never from the
// workspace, whose files may come from a stranger. It starts no programs.
// Files are bounded; what is malformed in them is left out and told in a note.
// Credentials in a URL are dropped.
//
// Merge changes the text of a policy by nothing but the new lines. It refuses
// names that are taken, and a result that does not parse or that changes what
// was there.
//
// It imports policy, policy/format, netname and fault; cli imports it. Values are
// plain data and safe to share.
//
// Sources: npm-config(7) and npmrc(5); pip's "Configuration"; `go help
// environment` and `go help goproxy`; the cargo book, "Configuration" and
// "Source Replacement"; sources.list(5).
package presets
