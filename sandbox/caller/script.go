package caller

import (
	"bytes"
	"path"
	"strings"
)

// The kernel runs a script by running its interpreter, and keeps nothing of the
// script but the arguments, which lie in memory that the program can write. So a
// script's name is the program's own word: shown as that, and never matched.

// interpreters are the programs whose first argument is worth a look, by the
// beginning of their name: python3.11 is one.
var interpreters = []string{"python", "node", "bun", "deno", "ruby", "perl", "php", "lua", "bash", "dash", "zsh", "ksh", "fish", "sh", "busybox", "java", "Rscript"}

func isInterpreter(binary string) bool {
	name := path.Base(binary)
	for _, i := range interpreters {
		if rest, ok := strings.CutPrefix(name, i); ok && strings.Trim(rest, ".-0123456789") == "" {
			return true
		}
	}
	return false
}

// maxCommandLine is how much of /proc/PID/cmdline is read, and maxScript how long
// a name may be, bytes.
const (
	maxCommandLine = 4096
	maxScript      = 1024
)

// scriptName is the first argument that is no option. An option that carries
// program text or a module ends the search; the values of others may be taken
// for a name.
func scriptName(cmdline []byte) string {
	args := bytes.Split(cmdline, []byte{0})
	for i, a := range args {
		switch arg := string(a); {
		case i == 0 || arg == "" && i < len(args)-1:
		case arg == "-c" || arg == "-e" || arg == "-p" || arg == "-pe" || arg == "-m" || arg == "--eval" || arg == "--print" || arg == "-":
			return ""
		case strings.HasPrefix(arg, "-"):
		case i == len(args)-1: // cut off, or the end: a whole argument ends with a NUL
			return ""
		case len(arg) > maxScript:
			return ""
		default:
			return arg
		}
	}
	return ""
}
