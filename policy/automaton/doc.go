// Package automaton decides questions about sets of texts exactly: whether two
// patterns share a text, whether one covers another, which text tells them
// apart. The sets are those that policies name: path globs, path selectors of
// endpoints, globs of query values, host patterns and binary patterns, within
// the texts that can occur at all (canonical paths, canonical host names, clean
// absolute paths of programs, UTF-8 values).
//
// An Automaton is a complete deterministic automaton over bytes; bytes that it
// does not tell apart share a class. Classify is the product of many automata
// at once: it lists every combination of them that some text has, each with a
// shortest text. Nothing here samples.
//
// A product can have as many states as the product of its parts. Every
// construction is bounded in states and work, and ends in a *TooLargeError
// beyond that, never in a guess. Lengths are not part of the sets, but every witness is a
// shortest one: if it is longer than a path or a name may be, no text of its
// class is short enough. Where a part of a text has a bound (the labels of a
// host), HostNamesCounted counts.
//
// The package is pure and its values are immutable. It imports the packages
// whose patterns it reads: policy/glob, policy/target and netname.
//
// Sources: Glushkov 1961 (position automata), Rabin and Scott 1959 (subsets,
// products), Moore 1956 (minimisation).
package automaton
