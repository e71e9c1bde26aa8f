package caller

import (
	"strings"
	"testing"
)

func TestScriptName(t *testing.T) {
	for line, want := range map[string]string{
		"": "", "python3\x00": "", "python3\x00x.py\x00": "x.py", "python3\x00-u\x00/work/x.py\x00-c\x00y\x00": "/work/x.py",
		"python3\x00-c\x00print()\x00": "", "node\x00-e\x001\x00x.js\x00": "", "python3\x00-m\x00pip\x00": "", "bash\x00-": "",
		"bash\x00cut off": "", "sh\x00\x1b[2J\x00": "\x1b[2J", "sh\x00" + strings.Repeat("a", maxScript+1) + "\x00": "",
	} {
		if got := scriptName([]byte(line)); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	for name, want := range map[string]bool{"/usr/bin/python3.11": true, "/usr/bin/node": true, "/bin/sh": true, "/usr/bin/ssh": false, "/usr/bin/shred": false, "/usr/bin/perl5.36.0": true, "/usr/bin/curl": false} {
		if isInterpreter(name) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
}
