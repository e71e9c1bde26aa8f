package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/sandbox"
)

// systemBundles are the places where distributions keep the certificates that
// their programs trust, the first that exists being the source.
var systemBundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch, Alpine
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
	"/etc/pki/tls/certs/ca-bundle.crt",                  // older RHEL
	"/etc/ssl/ca-bundle.pem",                            // SUSE
	"/etc/ssl/cert.pem",                                 // Alpine, OpenBSD style
}

// suppliedFiles are the small files that Creel puts in place of the host's: who
// and where the agent is, and how names are resolved.
func suppliedFiles(who person, uid, gid int, hostname string) []sandbox.File {
	text := func(path, data string) sandbox.File { return sandbox.File{Paths: []string{path}, Data: []byte(data)} }
	return []sandbox.File{
		// One name server that is not loopback (some resolvers refuse loopback), no search list.
		text("/etc/resolv.conf", "nameserver "+netname.NameServerV4.String()+"\noptions ndots:1 timeout:5 attempts:2\n"),
		// No service of the host answers names: nss-resolve, nscd and mDNS speak over its sockets.
		text("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\nethers: files\nrpc: files\n"),
		text("/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.0.1 "+hostname+"\n"),
		text("/etc/host.conf", "multi on\n"),
		text("/etc/gai.conf", "# the defaults of getaddrinfo(3)\n"),
		text("/etc/hostname", hostname+"\n"),
		text("/etc/passwd", fmt.Sprintf("root:x:0:0:root:/:/usr/sbin/nologin\n%s:x:%d:%d:agent:%s:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n", who.name, uid, gid, who.home)),
		text("/etc/group", fmt.Sprintf("root:x:0:\n%s:x:%d:\nnogroup:x:65534:\n", who.name, gid)),
	}
}

// systemTrust is where the host's programs look for whom they trust.
type systemTrust struct {
	bundles []string // PEM; the first is the source
	stores  []string // of Java
}

func findSystemTrust() systemTrust {
	t := systemTrust{stores: javaStores()}
	for _, path := range systemBundles {
		if unix.Access(path, unix.R_OK) == nil {
			t.bundles = append(t.bundles, path)
		}
	}
	return t
}

// anchors are the contents of the files by which programs know whom to trust.
type anchors struct {
	ca, bundle, java []byte
}

// read puts the sandbox's certificate authority beside the system's certificates.
func (t systemTrust) read(ca []byte) (anchors, error) {
	made := anchors{ca: ca, bundle: ca}
	if len(t.bundles) > 0 {
		system, err := os.ReadFile(t.bundles[0])
		if err != nil {
			return made, err
		}
		made.bundle = slices.Concat(system, []byte{'\n'}, ca)
	}
	if len(t.stores) > 0 {
		store := newJavaStore(len(made.bundle))
		store.add(made.bundle)
		made.java = store.bytes()
	}
	return made, nil
}

// files put them in place; made gives them once they are there.
func (t systemTrust) files(made func() (anchors, error)) []sandbox.File {
	file := func(paths []string, which func(anchors) []byte) sandbox.File {
		return sandbox.File{Paths: paths, Make: func() ([]byte, error) {
			m, err := made()
			return which(m), err
		}}
	}
	files := []sandbox.File{
		file([]string{caFile}, func(m anchors) []byte { return m.ca }),
		file(append([]string{bundleFile}, t.bundles...), func(m anchors) []byte { return m.bundle }),
	}
	if len(t.stores) > 0 {
		files = append(files, file(t.stores, func(m anchors) []byte { return m.java }))
	}
	return files
}

// javaStores are where the Java virtual machines of the host keep whom they
// trust, by their real paths.
func javaStores() []string {
	candidates := []string{"/etc/ssl/certs/java/cacerts", "/etc/pki/java/cacerts"}
	for dir, places := range map[string][]string{
		"/usr/lib/jvm": {"lib/security/cacerts", "jre/lib/security/cacerts"}, "/opt": {"lib/security/cacerts"},
	} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			for _, place := range places {
				candidates = append(candidates, filepath.Join(dir, e.Name(), place))
			}
		}
	}
	var real []string
	for _, c := range candidates {
		if _, err := os.Stat(c); err != nil {
			continue
		}
		if path, err := filepath.EvalSymlinks(c); err == nil && !slices.Contains(real, path) {
			real = append(real, path)
		}
	}
	return real
}
