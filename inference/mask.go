package inference

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"syscall"

	"github.com/creel-run/creel/secret"
)

// keyMask blots out the key in an answer, because error pages and echo services
// give it back. Stars keep the length of what was there, and so Content-Length.
func keyMask(key secret.Value) *secret.Mask { return secret.NewMask(secret.Cover{Value: key}) }

// cause is the reason of a failed exchange without the URL around it.
func cause(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return strings.TrimPrefix(err.Error(), "net/http: ")
}

// brief is the cause without the address, which stands beside it in the summary.
func brief(err error) string {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number.Error()
	}
	var name *net.DNSError
	if errors.As(err, &name) {
		return name.Err
	}
	return cause(err)
}
