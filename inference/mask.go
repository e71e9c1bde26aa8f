package inference

import (
	"errors"
	"net/url"
	"strings"

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
