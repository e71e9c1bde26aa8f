package policy

import (
	"strconv"
	"strings"
)

// maxShown bounds how much of a foreign value a message repeats, in bytes.
const maxShown = 80

// show quotes a value of the document for a message: escaped, shortened, and
// not at all if it could be a secret, because policies are pasted into issues
// and logs together with the messages about them.
func show(s string) string {
	if looksSecret(s) {
		return "a value that is not shown (it looks like a secret)"
	}
	if len(s) > maxShown {
		return strconv.Quote(strings.ToValidUTF8(s[:maxShown], "")) + " (shortened)"
	}
	return strconv.Quote(s)
}

// pathKey is the text of a mapping key inside a path.
func pathKey(parent, key string) string {
	plain := key != "" && len(key) <= maxShown && !looksSecret(key)
	for i := 0; plain && i < len(key); i++ {
		plain = isWord(key[i]) || key[i] == '-'
	}
	switch {
	case !plain && parent == "":
		return "[" + show(key) + "]"
	case !plain:
		return parent + "[" + show(key) + "]"
	case parent == "":
		return key
	}
	return parent + "." + key
}

func pathIndex(parent string, i int) string { return parent + "[" + strconv.Itoa(i) + "]" }

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// secretPrefixes are beginnings of well-known tokens and headers.
var secretPrefixes = [...]string{
	"sk-", "pk-", "ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "xapp-", "AKIA", "ASIA", "AIza",
	"ya29.", "eyJ", "-----BEGIN", "hf_", "nvapi-", "tvly-", "Bearer ", "Basic ", "bearer ", "basic ",
}

// A run of secretRun letters and digits with at least secretDigits digits is
// taken for a token: shorter ones are everyday words, and host names, paths
// and versions seldom have so many digits between two separators.
const (
	secretRun    = 20
	secretDigits = 4
)

// looksSecret errs on the side of hiding. It guards messages, not traffic.
func looksSecret(s string) bool {
	for _, p := range secretPrefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	if _, rest, ok := strings.Cut(s, "://"); ok && strings.Contains(rest, "@") {
		return true
	}
	run, digits, letters := 0, 0, 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !isWord(c) && c != '-' && c != '+' && c != '=' {
			run, digits, letters = 0, 0, 0
			continue
		}
		run++
		if c >= '0' && c <= '9' {
			digits++
		} else {
			letters++
		}
		if run >= secretRun && digits >= secretDigits && letters > 0 {
			return true
		}
	}
	return false
}
