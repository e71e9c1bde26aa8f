// Package pac asks a proxy configuration script (PAC: a JavaScript function of URL
// and host) which way a connection is to take.
//
// A script is a program of somebody else's, so it does not run where the secrets are.
// Evaluator stands in the supervisor and has no engine; Serve runs the script in a
// process of its own, which its caller has shut in before: no files, no sockets, no
// environment (sandbox/confine). Between them is a socket with one question at a time:
//
//	supervisor                     child
//	  {script, url, host, me} ──▶
//	                          ◀──  {lookup: name}     at most maxLookups times
//	  {addrs}                 ──▶
//	                          ◀──  {answer} or {error}
//
// Each message is its length (4 bytes, big endian) and JSON. Every answer comes out of
// an engine that was made for it: nothing of one question is seen by the next.
//
// The script is told scheme, host and port, the time, this machine's addresses, and
// what names mean; no path, no file, no secret. What it can do to others is choose a
// proxy that its network reaches, and have names looked up.
//
// How it fails: whatever the child does but answer in time, in bounds and in order is
// an error, it is killed, and the next question starts another one, maxDeaths times in
// deathWindow. An error is never a way out. Evaluator is safe for concurrent use;
// questions wait for each other. A goroutine may outlive a call that was given up,
// for as long as a question may take; Close waits for it.
//
// It may import leaves. The engine is imported here and nowhere else; it is C made Go,
// whose memory Go does not check: that is the child's to hold, too.
//
// Sources: the Navigator 2.0 proxy auto-config format (1996) as browsers keep it, with
// their readings where the text is open: hours of timeRange are inclusive, shExpMatch
// knows * and ? alone. The functions that end in Ex are those of Windows, for IPv6.
package pac
