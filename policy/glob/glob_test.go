package glob

import (
	"regexp"
	"strings"
	"testing"
)

func TestDropped(t *testing.T) {
	for pattern, want := range map[string]bool{
		"/a{b,}": true, "/a{,b}": true, "/{a,{b,}}": true, "{a,,b}": true, "{**,}": true,
		"/a": false, "/a{}": false, "/a{,}": false, "/a,": false, "/{a,b}": false, `/\{a,}`: false, "/{a,": false, "{**/,a}": false, "[{a,}]": false, "": false,
	} {
		if got := Dropped(pattern, '/'); got != want {
			t.Errorf("%s: %t", pattern, got)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern string
		sep     byte
		match   []string
		not     []string
	}{
		{"/a/**/b", '/', []string{"/a/b", "/a/x/b", "/a/x/y/b", "/a//b"}, []string{"/ab", "/a/bb", "/a/x/b/"}},
		{"/a/**", '/', []string{"/a/", "/a/b/c"}, []string{"/a", "/ab"}},
		{"**/b", '/', []string{"b", "/b", "/a/b"}, []string{"ab", "/ab"}},
		{"**/", '/', []string{"", "a", "/a/b"}, nil},
		{"**/**", '/', []string{"", "a", "/a/b"}, nil},
		{"/a/**/**", '/', []string{"/a/", "/a/b"}, []string{"/a"}},
		{"/a/**/**/b", '/', []string{"/a/b", "/a/c/d/b"}, []string{"/ab"}},
		{"/a**", '/', []string{"/a", "/abc"}, []string{"/a/b"}},
		{"/**a", '/', []string{"/a", "/xa"}, []string{"/x/a"}},
		{"/***", '/', []string{"/", "/x"}, []string{"/x/a"}},
		{"/[!0]x", '/', []string{"/ax", "//x"}, []string{"/0x", "/x"}},
		{"/[]a]", '/', []string{"/]", "/a"}, []string{"/b"}},
		{"/[a-]", '/', []string{"/-", "/a"}, []string{"/b"}},
		{"/[-a]", '/', []string{"/-", "/a"}, []string{"/b"}},
		{"/[*]", '/', []string{"/*"}, []string{"/a"}},
		{"/{a,b{c,d}}", '/', []string{"/a", "/bc", "/bd"}, []string{"/b", "/{a,b{c,d}}"}},
		{"/a{,b}", '/', []string{"/ab"}, []string{"/a"}},
		{"/a{}", '/', []string{"/a"}, []string{"/a{}"}},
		{"/{**/x,y}", '/', []string{"/x", "/a/b/x", "/y"}, []string{"/ax"}},
		{"/{a/**,b}", '/', []string{"/a/", "/a/b/c", "/b"}, []string{"/a", "/b/c"}},
		{"/{**,b}", '/', []string{"/", "/x"}, []string{"/x/y"}},
		{`/\*`, '/', []string{"/*"}, []string{"/a"}},
		{`/\[a`, '/', []string{"/[a"}, nil},
		{"/a,b", '/', []string{"/a,b"}, []string{"/a"}},
		{"*.example.com", '.', []string{"a.example.com", ".example.com"}, []string{"example.com", "a.b.example.com"}},
		{"**.example.com", '.', []string{"a.example.com", "a.b.example.com"}, []string{"example.com", "xexample.com"}},
		{"a.**.com", '.', []string{"a.x.com", "a.x.y.com"}, []string{"a.com"}},
		{"a.**", '.', []string{"a.b", "a.b.c"}, []string{"a"}},
		{"a[!x]b", '.', []string{"ayb", "a/b"}, []string{"a.b", "axb"}},
		{"a?b", '.', []string{"a/b"}, []string{"a.b"}},
		{"a/*", '.', []string{"a/b/c"}, []string{"a/b.c"}},
		{"", '.', []string{""}, []string{"a"}},
	} {
		g, err := Compile(c.pattern, c.sep)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		for _, s := range c.match {
			if !g.Match(s) {
				t.Errorf("%s does not match %q", c.pattern, s)
			}
		}
		for _, s := range c.not {
			if g.Match(s) {
				t.Errorf("%s matches %q", c.pattern, s)
			}
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	for pattern, offset := range map[string]int{
		"/a[": 2, "/a[!": 2, "/[]": 1, "/[z-a]": 1, "/a{b": 2, "/a{b,c": 2, "/a}": 2, `/a\`: 2, "/[é]": 1,
		"/\xff": 0, "/\x00": 0, strings.Repeat("a", MaxPattern+1): 0,
		strings.Repeat("{", maxDepth+1) + strings.Repeat("}", maxDepth+1): maxDepth,
	} {
		_, err := Compile(pattern, '/')
		e, ok := err.(*SyntaxError)
		if !ok || e.Offset != offset {
			t.Errorf("%.20q: %v, want an error at %d", pattern, err, offset)
		}
	}
}

func TestZeroMatchesNothing(t *testing.T) {
	var g Glob
	if g.Match("") || g.Match("/") || !g.IsZero() {
		t.Error("the zero glob matches")
	}
	if _, ok := g.Literal(); ok {
		t.Error("the zero glob is a literal")
	}
}

func TestLiteral(t *testing.T) {
	for pattern, want := range map[string]string{"/a/b": "/a/b", `/\*`: "/*", "/[a]": "/a", "": ""} {
		g, err := Compile(pattern, '/')
		if got, ok := g.Literal(); err != nil || !ok || got != want {
			t.Errorf("%s: %q %t %v", pattern, got, ok, err)
		}
	}
	for _, pattern := range []string{"/*", "/[ab]", "/{a,b}", "**"} {
		g, _ := Compile(pattern, '/')
		if got, ok := g.Literal(); ok {
			t.Errorf("%s is the literal %q", pattern, got)
		}
	}
}

// Decisions must not make garbage, and a hostile text must not cost more than
// its length: the pattern here needs the wide automaton.
func TestMatchDoesNotAllocate(t *testing.T) {
	long := "/x" + strings.Repeat("a", 4000)
	for _, pattern := range []string{"/a", "/a/**", "/*/b/*", "/**/b/**/c", "/{a,b}*", strings.Repeat("?", 100) + "*{a,b}"} {
		g, err := Compile(pattern, '/')
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(10, func() { g.Match(long) }); n != 0 {
			t.Errorf("%s: %v allocations", pattern, n)
		}
	}
}

// reference translates a pattern into a regular expression with rules of its
// own, token by token, for ASCII patterns and "/".
func reference(pattern string) (*regexp.Regexp, bool) {
	type frame struct{ alts []string }
	var stack []frame
	var out []string // tokens of the current sequence
	const star, prefix, infix, suffix = `[^/]*`, `(?:/?|(?s:.*)/)`, `(?:/|/(?s:.*)/)`, `/(?s:.*)`
	pop := func() string { t := out[len(out)-1]; out = out[:len(out)-1]; return t }
	i := 0
	peek := func() byte {
		if i < len(pattern) {
			return pattern[i]
		}
		return 0
	}
	for i < len(pattern) {
		c := pattern[i]
		i++
		switch c {
		case '*':
			if peek() != '*' {
				out = append(out, star)
				continue
			}
			prev := byte(0)
			if i >= 2 {
				prev = pattern[i-2]
			}
			i++
			nested := len(stack) > 0
			atEnd := i == len(pattern)
			switch {
			case len(out) == 0 && (peek() == '/' || atEnd && !nested):
				out = append(out, prefix)
				i++
			case len(out) == 0 || prev != '/' || out[len(out)-1] != "/" && out[len(out)-1] != prefix && out[len(out)-1] != infix:
				out = append(out, star)
			case atEnd || nested && (peek() == ',' || peek() == '}'):
				if t := pop(); t == prefix {
					out = append(out, prefix)
				} else {
					out = append(out, suffix)
				}
			case peek() == '/':
				i++
				if t := pop(); t == prefix {
					out = append(out, prefix)
				} else {
					out = append(out, infix)
				}
			default:
				out = append(out, star)
			}
		case '?':
			out = append(out, `[^/]`)
		case '[':
			body := i
			if body < len(pattern) && (pattern[body] == '!' || pattern[body] == '^') {
				body++
			}
			if body >= len(pattern) {
				return nil, false
			}
			end := strings.IndexByte(pattern[body+1:], ']')
			if end < 0 {
				return nil, false
			}
			end += body + 1
			text := pattern[body:end]
			class := "["
			if body > i {
				class = "[^"
			}
			for k := 0; k < len(text); k++ {
				lo, hi := text[k], text[k]
				if k+2 < len(text) && text[k+1] == '-' {
					hi = text[k+2]
					k += 2
					// "a-b-c": a range goes on from its own end
					if hi < lo {
						return nil, false
					}
					class += quoteRange(lo, hi)
					for k+2 < len(text) && text[k+1] == '-' {
						if text[k+2] < hi {
							return nil, false
						}
						class += quoteRange(hi, text[k+2])
						hi = text[k+2]
						k += 2
					}
					continue
				}
				class += quoteRange(lo, hi)
			}
			out = append(out, class+"]")
			i = end + 1
		case '{':
			if len(stack) == maxDepth {
				return nil, false
			}
			stack = append(stack, frame{alts: []string{"\x01" + strings.Join(out, "\x02")}})
			out = nil
		case ',', '}':
			if len(stack) == 0 {
				if c == '}' {
					return nil, false
				}
				out = append(out, ",")
				continue
			}
			top := &stack[len(stack)-1]
			if len(out) > 0 {
				top.alts = append(top.alts, strings.Join(out, ""))
			}
			out = nil
			if c == '}' {
				if saved := top.alts[0][1:]; saved != "" {
					out = strings.Split(saved, "\x02")
				}
				group := "(?:" + strings.Join(top.alts[1:], "|") + ")"
				stack = stack[:len(stack)-1]
				out = append(out, group)
			}
		case '\\':
			if i == len(pattern) {
				return nil, false
			}
			out = append(out, quote(pattern[i]))
			i++
		default:
			out = append(out, quote(c))
		}
	}
	if len(stack) > 0 {
		return nil, false
	}
	if len(out) == 1 && out[0] == prefix {
		out[0] = `(?s:.*)`
	}
	re, err := regexp.Compile(`\A(?s:` + strings.Join(out, "") + `)\z`)
	return re, err == nil
}

func quote(c byte) string {
	if c == '/' {
		return "/"
	}
	return regexp.QuoteMeta(string(rune(c)))
}

func quoteRange(lo, hi byte) string {
	q := func(c byte) string {
		const hex = "0123456789abcdef"
		return `\x` + string([]byte{hex[c>>4], hex[c&15]})
	}
	return q(lo) + "-" + q(hi)
}

func plainASCII(s string) bool {
	for i := range len(s) {
		if s[i] < 3 || s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func FuzzMatch(f *testing.F) {
	for _, s := range [][2]string{
		{"/a/**/b", "/a/x/b"}, {"**/b", "/b"}, {"/{a,b/**,c{d,e}}", "/b/x"}, {"/[!0-9a-]x", "//x"}, {"/a**b/*", "/aXb/c"},
		{"{**/a,**}/b", "/b"}, {"**/**", "/"}, {"/[]-a]", "/]"}, {`\**`, "*x"}, {"{,a}", "a"}, {"/**/*/**/", "/a/b/"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		g, err := Compile(pattern, '/')
		dotted, derr := Compile(pattern, '.')
		if (err == nil) != (derr == nil) {
			t.Fatalf("%q: well formed for one separator only: %v, %v", pattern, err, derr)
		}
		dotted.Match(text)
		if err != nil {
			if g.Match(text) {
				t.Fatalf("malformed %q matches", pattern)
			}
			if _, ok := reference(pattern); ok && plainASCII(pattern) && len(pattern) <= MaxPattern {
				t.Fatalf("%q: %v, but the reference accepts it", pattern, err)
			}
			return
		}
		if l, ok := g.Literal(); ok && (!g.Match(l) || g.Match(l+"x")) {
			t.Fatalf("%q: literal %q", pattern, l)
		}
		// An escaped comma or brace before ** reads as the start of an
		// alternative in the reference only.
		if !plainASCII(pattern) || !plainASCII(text) || strings.Contains(pattern, `\`) && strings.Contains(pattern, "**") {
			return
		}
		re, ok := reference(pattern)
		if !ok {
			t.Fatalf("%q: the reference refuses it", pattern)
		}
		if got, want := g.Match(text), re.MatchString(text); got != want {
			t.Fatalf("%q on %q: %t, reference %t (%s)", pattern, text, got, want, re)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, c := range [][2]string{
		{"/repos/**", "/repos/owner/name/issues/1234/comments"},
		{"/repos/*/*/issues/**", "/repos/owner/name/issues/1234/comments"},
		{"/**/git-{upload,receive}-pack", "/owner/some-name.git/git-upload-pack"},
	} {
		g, err := Compile(c[0], '/')
		if err != nil {
			b.Fatal(err)
		}
		b.Run(strings.ReplaceAll(c[0], "/", "_"), func(b *testing.B) {
			for b.Loop() {
				g.Match(c[1])
			}
		})
	}
}
