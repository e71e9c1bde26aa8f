// Package resolver asks a name server of the operator's choice what allowed names
// mean: over UDP and TCP, over TLS, or over HTTPS. Without a choice the host's own
// resolver is asked, and nothing of this package.
//
// Of the project it imports names and addresses alone. A Resolver is safe for
// concurrent use. One question for a name is asked at a time; it has
// lookupTimeout, and may outlive the caller that gave up, by no more than that.
//
// Everything is bounded: the cache in names and in time, the size of answers, the
// length of a chain of aliases. A time to live is never lengthened, and one of 0
// is not kept at all.
//
// How it fails: with *net.DNSError, as the standard library's resolver: IsNotFound
// if the name does not exist or has no address, IsTimeout if nobody answered. There
// is no other resolver to fall back to. Answers are not validated (DNSSEC): whom to
// believe is the choice of the server, and what it says is checked before it is
// dialled, by egress.
//
// Sources: RFC 1035, RFC 2308 (negative answers), RFC 7766 (TCP), RFC 7858 (TLS),
// RFC 8484 (HTTPS).
package resolver
