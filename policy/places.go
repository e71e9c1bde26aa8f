package policy

import (
	"path"
	"slices"
	"strings"

	"github.com/creel-run/creel/netname"
)

// echoSuffixes are hosts that hand on what is sent to them, the address of a
// request included: pastes, request bins, callbacks, anonymous uploads. Where
// one can be read, a GET is enough to carry data out.
var echoSuffixes = []string{
	// Request bins and callbacks: the URL itself is shown to whoever made the bin.
	"webhook.site", "requestbin.com", "requestbin.net", "pipedream.net", "beeceptor.com", "requestcatcher.com", "hookbin.com", "ptsv3.com",
	"mockbin.org", "mocky.io", "pipe.dev", "typedwebhook.tools", "webhook.cool", "canarytokens.com", "interact.sh", "oast.fun", "oast.live",
	"oast.me", "oast.online", "oast.pro", "oast.site", "burpcollaborator.net", "oastify.com", "dnslog.cn", "postb.in",
	// Echo services.
	"httpbin.org", "httpbingo.org", "postman-echo.com", "echo.free.beeceptor.com",
	// Pastes and anonymous uploads.
	"pastebin.com", "paste.ee", "hastebin.com", "dpaste.org", "dpaste.com", "ghostbin.com", "rentry.co", "privatebin.net", "controlc.com",
	"termbin.com", "ix.io", "0x0.st", "transfer.sh", "file.io", "gofile.io", "catbox.moe", "bashupload.com", "gist.github.com", "write.as", "telegra.ph",
	// Shorteners and counters, which show who asked for what.
	"bit.ly", "grabify.link", "iplogger.org",
}

// Echoes reports a host that hands on what is sent to it, as far as it is known.
func Echoes(h netname.Host) (suffix string, ok bool) { return below(h, echoSuffixes) }

// SharedHosting reports a host below a domain under which anybody can have one.
func SharedHosting(h netname.Host) (suffix string, ok bool) { return below(h, sharedSuffixes) }

// ModelHost reports a host of a well-known model service.
func ModelHost(h netname.Host) bool { return slices.Contains(modelHosts, h.String()) }

func below(h netname.Host, suffixes []string) (string, bool) {
	if h.IsAddr() {
		return "", false
	}
	name := h.String()
	for {
		if slices.Contains(suffixes, name) {
			return name, true
		}
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return "", false
		}
		name = rest
	}
}

// interpreters run code that they are given: as an argument, a file, or input.
var interpreters = []string{
	"sh", "bash", "dash", "ash", "zsh", "fish", "ksh", "mksh", "tcsh", "csh", "rbash", "busybox", "toybox", "env", "xargs", "find", "awk", "gawk", "mawk",
	"python", "pypy", "node", "nodejs", "deno", "bun", "ruby", "perl", "php", "lua", "luajit", "java", "jshell", "pwsh", "tclsh", "expect", "Rscript",
	"guile", "racket", "sbcl", "ghci", "runghc", "erl", "elixir", "julia", "groovy", "scala", "npx", "uvx", "make", "vim", "emacs", "gdb",
}

// Interpreter reports a program that runs any code that it is given, by its
// name: a rule for it is a rule for whatever the agent writes.
func Interpreter(binary string) bool {
	name := path.Base(binary)
	if slices.Contains(interpreters, name) {
		return true
	}
	// python3.12, lua5.4, php8
	return slices.Contains(interpreters, strings.TrimRight(strings.TrimRight(name, "0123456789.-"), "-"))
}

// LooksSecret reports a text that could be a token. It errs on the side of yes.
func LooksSecret(s string) bool { return looksSecret(s) }
