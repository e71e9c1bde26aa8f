package strictjson

import (
	"mime"
	"strings"
)

// CheckHead reports whether a head lets its body be read as JSON. Names of
// fields are compared without case; all lines of a field count.
//
// A content type that is not JSON is refused, for its reader may find something
// else in the same bytes: {"a":"&query=…"} is a form, too. None at all is
// taken, as version 1 policies do. Any content coding but identity is refused.
// Beside application/json and application/…+json the types in also are JSON.
func CheckHead(header map[string][]string, also ...string) error {
	types := 0
	for name, values := range header {
		switch {
		case strings.EqualFold(name, "Content-Encoding"):
			for _, v := range values {
				if v = strings.Trim(v, " \t"); v != "" && !strings.EqualFold(v, "identity") {
					return &Error{ContentCoding, -1}
				}
			}
		case strings.EqualFold(name, "Content-Type"):
			for _, v := range values {
				if types++; types > 1 {
					return &Error{ManyTypes, -1}
				}
				if err := checkType(v, also); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func checkType(value string, also []string) error {
	media, params, err := mime.ParseMediaType(value)
	if err != nil || !isJSON(media, also) {
		return &Error{MediaType, -1}
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return &Error{Charset, -1}
	}
	return nil
}

// isJSON takes a media type in lower case.
func isJSON(media string, also []string) bool {
	sub, ok := strings.CutPrefix(media, "application/")
	if ok && (sub == "json" || strings.HasSuffix(sub, "+json")) {
		return true
	}
	for _, a := range also {
		if media == a {
			return true
		}
	}
	return false
}
