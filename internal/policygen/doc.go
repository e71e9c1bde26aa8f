// Package policygen draws random policies and requests for property tests
// (pgregory.net/rapid): Source draws the YAML of a policy, Draw parses it and
// says if Parse refused it, Question draws a request that is likely to touch what
// the policy says, and Reduce takes out of a document what a failure does not need.
//
// The words come from small pools, so that hosts, ports, paths, queries and
// programs overlap: wildcards over literals, deny rules inside of allowed trees,
// one host with several endpoints. What has to agree between endpoints that
// overlap (tls, allowed_ips, enforcement for selectors of one specificity) is
// drawn once for a document; what Parse refuses all the same is the caller's to
// skip and count.
//
// Only tests import it. It imports netname, policy and policy/target for their
// types and parsers, and never Compile.
package policygen
