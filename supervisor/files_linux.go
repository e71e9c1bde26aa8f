package supervisor

import (
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"

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

// javaStores are where Java virtual machines keep theirs.
var javaStores = []string{
	"/etc/ssl/certs/java/cacerts", "/etc/pki/java/cacerts",
	"/usr/lib/jvm/*/lib/security/cacerts", "/usr/lib/jvm/*/jre/lib/security/cacerts", "/opt/*/lib/security/cacerts",
}

// javaPassword is the password that every Java virtual machine expects of a
// store of public certificates; it protects nothing.
const javaPassword = "changeit"

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

// trustFiles put the sandbox's certificate authority, besides the system's
// certificates, where programs look for whom to trust.
func trustFiles(ca []byte) ([]sandbox.File, error) {
	files := []sandbox.File{{Path: caFile, Data: ca}}
	bundle := ca
	var places []string
	for _, path := range systemBundles {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if len(places) == 0 {
			bundle = append(append(append([]byte{}, b...), '\n'), ca...)
		}
		places = append(places, path)
	}
	files = append(files, sandbox.File{Path: bundleFile, Data: bundle})
	for _, p := range places {
		files = append(files, sandbox.File{Path: p, Data: bundle})
	}
	java, err := javaFiles(bundle)
	if err != nil {
		return nil, err
	}
	return append(files, java...), nil
}

// javaFiles stand over the trust stores of the Java virtual machines that the
// host has; most hosts have none, and then nothing is computed.
func javaFiles(bundle []byte) ([]sandbox.File, error) {
	real := map[string]bool{}
	for _, pattern := range javaStores {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("find java trust stores: %w", err)
		}
		for _, path := range found {
			if p, err := filepath.EvalSymlinks(path); err == nil {
				real[p] = true
			}
		}
	}
	if len(real) == 0 {
		return nil, nil
	}
	store := keystore.New()
	n := 0
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		err := store.SetTrustedCertificateEntry(fmt.Sprintf("creel-%d", n), keystore.TrustedCertificateEntry{
			CreationTime: time.Unix(0, 0),
			Certificate:  keystore.Certificate{Type: "X509", Content: block.Bytes},
		})
		if err != nil {
			return nil, fmt.Errorf("build java trust store: %w", err)
		}
		n++
	}
	var out strings.Builder
	if err := store.Store(&out, []byte(javaPassword)); err != nil {
		return nil, fmt.Errorf("build java trust store: %w", err)
	}
	var files []sandbox.File
	for path := range real {
		files = append(files, sandbox.File{Path: path, Data: []byte(out.String())})
	}
	return files, nil
}
