package secrets

import (
	"bytes"
	"context"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// ownSources are linked in, because bench runs this program elsewhere.
//
//go:embed scan.go automaton.go known.go rule.go catalogue.go
var ownSources embed.FS

// bodies are what agents send, of about n bytes each: a conversation with a
// model about this package's own sources, an upload of a picture in JSON, a lock
// file, and a form.
func bodies(tb testing.TB, n int) map[string][]byte {
	tb.Helper()
	rng := rand.New(rand.NewPCG(3, uint64(n)))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	var sources []string
	for _, name := range []string{"scan.go", "automaton.go", "known.go", "rule.go", "catalogue.go"} {
		b, err := ownSources.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		sources = append(sources, string(b))
	}
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	var talk struct {
		Model    string    `json:"model"`
		Messages []message `json:"messages"`
	}
	talk.Model = "a-model"
	for size, i := 0, 0; size < n; i++ {
		m := message{"user", sources[i%len(sources)]}
		if size+len(m.Content) > n {
			m.Content = m.Content[:min(n-size, len(m.Content))]
		}
		talk.Messages = append(talk.Messages, m)
		size += len(m.Content) + 1
	}
	out := map[string][]byte{}
	out["conversation"], _ = json.Marshal(talk)
	out["picture"], _ = json.Marshal(map[string]any{"type": "image", "data": base64.StdEncoding.EncodeToString(noise(n * 3 / 4))})
	var lock bytes.Buffer
	for lock.Len() < n {
		name := hex.EncodeToString(noise(4))
		fmt.Fprintf(&lock, "    \"node_modules/%s\": {\n      \"version\": \"%d.%d.%d\",\n      \"integrity\": \"sha512-%s\",\n      \"engines\": {\"node\": \">=%d\"}\n    },\n",
			name, rng.IntN(9), rng.IntN(20), rng.IntN(20), base64.StdEncoding.EncodeToString(noise(64)), rng.IntN(20))
	}
	out["lockfile"] = lock.Bytes()
	out["form"] = []byte("note=" + strings.NewReplacer("\n", "%0A", " ", "+", `"`, "%22", "=", "%3D").Replace(strings.Join(sources, "\n")))
	for len(out["form"]) < n {
		out["form"] = append(out["form"], out["form"]...)
	}
	out["form"] = out["form"][:n]
	return out
}

// BenchmarkScan is B13 of bench: bodies without a secret through the rules and
// twenty known values.
func BenchmarkScan(b *testing.B) {
	s, err := NewScanner(someKnown(20)...)
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{64, 1024} {
		all := bodies(b, size<<10)
		for _, kind := range []string{"conversation", "picture", "lockfile", "form"} {
			b.Run(fmt.Sprintf("%s-%dKB", kind, size), func(b *testing.B) {
				body := all[kind]
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					if found, err := s.Find(context.Background(), body); err != nil || len(found) > 0 {
						b.Fatal(found, err)
					}
				}
			})
		}
	}
}

// BenchmarkFirst is what the first text of a process costs beside that.
func BenchmarkFirst(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		newCatalogue(table[:])
	}
}
