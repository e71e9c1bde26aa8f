// Package policygen draws random policies and requests for property tests
// (pgregory.net/rapid): Source draws the YAML of a policy, Draw parses it and
// says if Parse refused it, Layers draws policies that extend each other,
// Question draws a connection with a request on it, in all protocols, that is
// likely to touch what a policy says, and Reduce takes out of a document what a
// failure does not need. Of says which version and protocols are wanted.
//
// The words come from small pools, so that hosts, ports, paths, queries and
// programs overlap: wildcards over literals, deny rules inside of allowed trees,
// one host with several endpoints. What has to agree between endpoints that
// overlap (tls, allowed_ips, protocol and enforcement for selectors of one
// specificity) is drawn once for a document; what Parse refuses all the same is
// the caller's to skip and count. Of layers many are refused: a layer is drawn as
// a narrower one above, by words.
//
// Only tests import it. It imports netname, policy and the packages of its
// requests for their types and parsers, and never Compile.
package policygen
