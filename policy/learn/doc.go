// Package learn makes the smallest policy that allows calls which were denied,
// for a person to review: one rule for a host and a program, with the methods
// and paths that were asked for, riskiest first, each with its reasons.
//
// It imports policy and netname and knows no log: whoever has one tells it the
// calls and what is known about their hosts. It trusts nothing: hosts are never
// widened, methods never, and of paths only segments that vary and look like ids.
// What it proposes is parsed, compiled and asked again before it is handed out,
// so a call that it says to allow is allowed; the others are told with the reason.
//
// Foreign texts (paths of programs, keys) stand in YAML as quoted scalars, and in
// comments escaped and shortened.
package learn
