// Package strictjson reads one JSON text the way the strictest reader would, so
// that no server can find another meaning in the same bytes: UTF-8 without a
// byte order mark, one value and nothing behind it, no two equal keys in an
// object however they are escaped, no lone surrogates, numbers that a double
// can hold, and bounds on bytes, depth and number of values.
//
// Pick hands out the members that a caller looks at. It refuses an object with
// a key that a lenient reader would take for one of them: another case, or a
// NUL behind it.
//
// CheckHead says whether a request head lets its body be read as JSON at all.
//
// It knows nothing of what the values mean. policy/jsonrpc and policy/graphql
// import it, and it imports nothing of the project. Errors are *Error and never
// repeat the text, which may hold secrets. Values are plain data; the zero
// Value is an absent one.
//
// Sources: RFC 8259, RFC 7493 (I-JSON), RFC 9110 §8.3 and §8.4.
package strictjson
