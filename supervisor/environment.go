package supervisor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Places of the sandbox's certificates: in a folder of the sandbox's own root,
// so that they exist whatever the policy shows of the host.
const (
	caFile     = "/run/creel/ca.pem"
	bundleFile = "/run/creel/ca-bundle.pem"
)

// fallbackPath is what a login shell would have.
const fallbackPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// passed are the only variables of the host that an agent gets unasked: how to
// speak to the person at the terminal.
var passed = []string{"TERM", "COLORTERM", "LANG", "LANGUAGE", "TZ", "NO_COLOR"}

// trusted are the variables by which programs find certificates.
var trusted = []struct{ name, value string }{
	{"SSL_CERT_FILE", bundleFile}, {"CURL_CA_BUNDLE", bundleFile}, {"REQUESTS_CA_BUNDLE", bundleFile}, {"GIT_SSL_CAINFO", bundleFile},
	{"PIP_CERT", bundleFile}, {"CARGO_HTTP_CAINFO", bundleFile}, {"AWS_CA_BUNDLE", bundleFile}, {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", bundleFile},
	{"NODE_EXTRA_CA_CERTS", caFile}, {"DENO_CERT", caFile},
}

// person is who the agent is inside.
type person struct {
	name, home string
}

func whoAmI() person {
	if os.Geteuid() == 0 {
		return person{name: "agent", home: "/home/agent"}
	}
	p := person{name: os.Getenv("USER"), home: os.Getenv("HOME")}
	if p.name == "" || strings.ContainsAny(p.name, ":\n/") {
		p.name = "agent"
	}
	if !filepath.IsAbs(p.home) || filepath.Clean(p.home) == "/" {
		p.home = "/home/" + p.name
	}
	p.home = filepath.Clean(p.home)
	return p
}

// environment builds the agent's variables from nothing. front comes first in
// PATH. extra comes from the
// parts (placeholders) and from the operator; a later one counts.
func environment(who person, sandbox string, front []string, visible func(string) bool, extra []string) []string {
	vars := map[string]string{
		"HOME": who.home, "USER": who.name, "LOGNAME": who.name, "SHELL": "/bin/sh",
		"PATH": strings.Join(append(slices.Clone(front), visiblePath(os.Getenv("PATH"), visible)), ":"), "TMPDIR": "/tmp", "CREEL_SANDBOX": sandbox,
	}
	if _, err := os.Stat("/bin/bash"); err == nil {
		vars["SHELL"] = "/bin/bash"
	}
	for _, k := range passed {
		if v, ok := os.LookupEnv(k); ok {
			vars[k] = v
		}
	}
	for _, e := range os.Environ() {
		if k, v, ok := strings.Cut(e, "="); ok && strings.HasPrefix(k, "LC_") {
			vars[k] = v
		}
	}
	for _, t := range trusted {
		vars[t.name] = t.value
	}
	for _, e := range extra {
		k, v, _ := strings.Cut(e, "=")
		vars[k] = v
	}
	env := make([]string, 0, len(vars))
	for k, v := range vars {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	return env
}

// visiblePath keeps the entries of the host's PATH that exist inside, and adds
// the usual ones.
func visiblePath(path string, visible func(string) bool) string {
	var keep []string
	for _, dir := range append(filepath.SplitList(path), filepath.SplitList(fallbackPath)...) {
		if !filepath.IsAbs(dir) || slices.Contains(keep, dir) {
			continue
		}
		real, err := filepath.EvalSymlinks(dir)
		if err == nil && (visible(dir) || visible(real)) {
			keep = append(keep, dir)
		}
	}
	if len(keep) == 0 {
		return fallbackPath
	}
	return strings.Join(keep, ":")
}
