package supervisor

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/netname"
)

// parseClientCerts reads what the operator proves himself with.
func parseClientCerts(flags []string) (map[endpoint]*tls.Certificate, error) {
	const op, hint = "read --client-cert", "creel run --client-cert api.test=cert.pem,key.pem -- …"
	all := map[endpoint]*tls.Certificate{}
	for _, f := range flags {
		bad := func(msg string) error { return fault.UsageError(op, f+": "+msg, hint) }
		where, files, ok := strings.Cut(f, "=")
		cert, key, ok2 := strings.Cut(files, ",")
		if !ok || !ok2 || cert == "" || key == "" {
			return nil, bad("want HOST[:PORT]=CERT,KEY")
		}
		name, text, ported := strings.Cut(where, ":")
		port := uint64(443)
		if ported {
			var err error
			if port, err = strconv.ParseUint(text, 10, 16); err != nil || port == 0 {
				return nil, bad("want a port of 1..65535")
			}
		}
		h, err := netname.ParseHost(name)
		if err != nil {
			return nil, bad(err.Error())
		}
		pair, err := tls.LoadX509KeyPair(cert, key)
		var file *fs.PathError
		switch {
		case errors.As(err, &file):
			return nil, fault.Wrap(err, op, fault.Usage, secretHints(err, nil)...)
		case err != nil: // its text may quote the file
			return nil, bad("the files hold no certificate and the key that belongs to it, in PEM form")
		}
		at := endpoint{h, uint16(port)}
		if all[at] != nil {
			return nil, bad("the host has another certificate already")
		}
		all[at] = &pair
	}
	return all, nil
}
