package caller

import "testing"

func TestParseStatus(t *testing.T) {
	for _, tt := range []struct {
		text       string
		tgid, ppid int
		ok         bool
	}{
		{"Name:\tx\nTgid:\t12\nNgid:\t0\nPid:\t13\nPPid:\t4\n", 12, 4, true},
		{"Name:\tx\\nTgid:\t1\nTgid:\t12\nPPid:\t4\n", 12, 4, true}, // line breaks in names are escaped
		{"Name:\tx\nTgid:\t12\n", 0, 0, false},
		{"Tgid:\tx\nPPid:\t4\n", 0, 0, false},
		{"", 0, 0, false},
	} {
		tgid, ppid, err := parseStatus([]byte(tt.text))
		if (err == nil) != tt.ok || tt.ok && (tgid != tt.tgid || ppid != tt.ppid) {
			t.Errorf("parseStatus(%q) = %d, %d, %v", tt.text, tgid, ppid, err)
		}
	}
}
