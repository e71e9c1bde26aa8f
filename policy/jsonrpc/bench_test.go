package jsonrpc

import "testing"

func BenchmarkParseBody(b *testing.B) {
	body := []byte(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"search","arguments":{"query":"text","limit":10,"tags":["a","b"]}}}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseBody(body, Options{MCP: true}); err != nil {
			b.Fatal(err)
		}
	}
}
