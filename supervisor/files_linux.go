package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

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
	text := func(path, data string) sandbox.File { return sandbox.File{Path: path, Data: []byte(data)} }
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

// systemTrust is whom the host's programs trust, and where they look for it.
type systemTrust struct {
	bundle []byte // PEM
	places []string
	java   *javaStore // of the bundle; nil on most hosts
	stores []string
}

func readSystemTrust() *systemTrust {
	t := &systemTrust{stores: javaStores()}
	for _, path := range systemBundles {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if len(t.places) == 0 {
			t.bundle = b
		}
		t.places = append(t.places, path)
	}
	if len(t.stores) > 0 {
		t.java = newJavaStore(len(t.bundle))
		t.java.add(t.bundle)
	}
	return t
}

// files put the sandbox's certificate authority, besides the system's
// certificates, where programs look for whom to trust.
func (t *systemTrust) files(ca []byte) []sandbox.File {
	bundle := ca
	if len(t.places) > 0 {
		bundle = slices.Concat(t.bundle, []byte{'\n'}, ca)
	}
	files := []sandbox.File{{Path: caFile, Data: ca}, {Path: bundleFile, Data: bundle}}
	for _, p := range t.places {
		files = append(files, sandbox.File{Path: p, Data: bundle})
	}
	if t.java != nil {
		t.java.add(ca)
		data := t.java.bytes()
		for _, path := range t.stores {
			files = append(files, sandbox.File{Path: path, Data: data})
		}
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
