package graphql

import "testing"

func BenchmarkParseHTTP(b *testing.B) {
	body := []byte(quote(b, `query Viewer($first: Int = 10) { viewer { login repositories(first: $first) { nodes { name owner { login } } } } ...Rest } fragment Rest on Query { rateLimit { remaining } }`))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseHTTP("POST", "", nil, body, 0); err != nil {
			b.Fatal(err)
		}
	}
}
