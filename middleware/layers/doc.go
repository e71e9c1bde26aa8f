// Package layers shows what is hidden in a text by encoding it: the text itself,
// then the same text with one layer of encoding taken off, and so on until
// nothing is left to take off.
//
// A layer is taken off everywhere at once, in place, so that what stands around
// an encoded piece stays around it: first escapes (of JSON, in any number of
// layers, of percent-encoding and of character references; NUL bytes and
// invisible characters go, which turns UTF-16 and UTF-32 into ASCII), and where
// there are none, base64, base32 and hexadecimal digits, and gzip and zlib data
// in them. A piece of base64 that makes no sense where it begins is tried from
// its next three characters on.
//
// Every layer knows where its bytes come from. The work is bounded by the number
// of layers and by the bytes of all of them; beyond that it is an error, and
// never less than the whole.
//
// Joined shows the texts of a document without what stands between them.
//
// Encryption, compression of another kind and encodings of one's own are not
// undone by anyone who does not know of them: this raises the price of a way
// out, and closes none.
//
// It is a leaf.
package layers
