package analyse

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// Setting is one difference outside of what is let through: a path, a limit, a
// credential, a switch. Was or Is is empty if the value is not there.
type Setting struct {
	Key string `json:"key"` // filesystem_policy.read_only
	Was string `json:"was,omitempty"`
	Is  string `json:"is,omitempty"`
	// At is where the new value stands, or the old one if there is no new one.
	At policy.Position `json:"at,omitzero"`
}

// settings compares all sections but the network's, whatever fields they have,
// and of the network what decides no request.
func settings(a, b *policy.Document) []Setting {
	list := []Setting{}
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range x.NumField() {
		name := x.Type().Field(i).Name
		switch name {
		case "File", "Files", "Version", "Networks":
			continue
		case "Filesystem":
			name = "filesystem_policy"
		case "Middlewares":
			name = "network_middlewares"
		default:
			name = wordOf(name)
		}
		compareSetting(&list, name, x.Field(i), y.Field(i), policy.Position{}, policy.Position{})
	}
	return append(list, networkSettings(a, b)...)
}

// onlyTakesAway: the setting bounds what rules let through, or looks at it.
func onlyTakesAway(key string) bool {
	for _, word := range []string{"resources.", "limits", "network_middlewares", "max_uses", "body limit", "mcp.pins"} {
		if strings.HasPrefix(key, word) {
			return true
		}
	}
	return false
}

// wordOf is the key of the language for a field's name.
func wordOf(field string) string {
	switch field {
	case "CPU", "PIDs", "DNS":
		return strings.ToLower(field)
	case "NoExec":
		return "noexec"
	}
	var b strings.Builder
	for i, r := range field {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// at is where a value stands, if it says so.
func at(v reflect.Value, above policy.Position) policy.Position {
	if v.Kind() == reflect.Struct {
		if f := v.FieldByName("At"); f.IsValid() && f.Type() == positionType && !f.IsZero() {
			return f.Interface().(policy.Position)
		}
	}
	return above
}

func compareSetting(list *[]Setting, key string, x, y reflect.Value, xAt, yAt policy.Position) {
	xAt, yAt = at(x, xAt), at(y, yAt)
	add := func(s Setting, x, y policy.Position) {
		if s.At = y; s.Is == "" || y.Line == 0 {
			s.At = x
		}
		*list = append(*list, s)
	}
	switch {
	case x.Type() == positionType:
		return
	case x.Kind() == reflect.Struct && x.Type() != reflect.TypeFor[netname.NameServer]():
		for i := range x.NumField() {
			f := x.Type().Field(i)
			compareSetting(list, key+"."+wordOf(f.Name), x.Field(i), y.Field(i), xAt, yAt)
		}
		return
	case x.Kind() == reflect.Pointer && x.Type().Elem().Kind() == reflect.Struct:
		if x.IsNil() && y.IsNil() {
			return
		}
		zero := reflect.New(x.Type().Elem()).Elem()
		part := func(v reflect.Value) reflect.Value {
			if v.IsNil() {
				return zero
			}
			return v.Elem()
		}
		before := len(*list)
		compareSetting(list, key, part(x), part(y), xAt, yAt)
		if x.IsNil() != y.IsNil() && len(*list) == before {
			add(Setting{Key: key, Was: presence(x), Is: presence(y)}, xAt, yAt)
		}
		return
	case x.Kind() == reflect.Slice:
		was, is := showAll(x), showAll(y)
		if x.IsNil() != y.IsNil() && len(was)+len(is) == 0 {
			add(Setting{Key: key, Was: presence(x), Is: presence(y)}, xAt, yAt)
		}
		for i, s := range was {
			if !slices.Contains(is, s) {
				add(Setting{Key: key, Was: s}, at(x.Index(i), xAt), policy.Position{})
			}
		}
		for i, s := range is {
			if !slices.Contains(was, s) {
				add(Setting{Key: key, Is: s}, policy.Position{}, at(y.Index(i), yAt))
			}
		}
		return
	}
	if was, is := showNumber(key, x), showNumber(key, y); was != is {
		add(Setting{Key: key, Was: was, Is: is}, xAt, yAt)
	}
}

// showNumber is show for what may be a number, in the units of the language: 0
// is a bound that is not written.
func showNumber(key string, v reflect.Value) string {
	switch {
	case v.Kind() != reflect.Int64:
		return show(v)
	case v.Int() == 0:
		return ""
	case v.Type() == reflect.TypeFor[time.Duration]():
		return policy.DurationText(time.Duration(v.Int()))
	}
	switch key {
	case "resources.memory", "resources.disk", "limits.bytes_out.count", "limits.bytes_in.count":
		return policy.SizeText(v.Int())
	case "resources.cpu":
		return policy.CPUText(v.Int())
	}
	return show(v)
}

func presence(v reflect.Value) string {
	if v.IsNil() {
		return "not written"
	}
	return "written"
}

func showAll(v reflect.Value) []string {
	list := make([]string, v.Len())
	for i := range list {
		list[i] = show(v.Index(i))
	}
	return list
}

// show is a value for people; equal texts stand for equal values.
func show(v reflect.Value) string {
	if v.Type() == reflect.TypeFor[policy.Path]() {
		p := v.Interface().(policy.Path)
		if p.Optional {
			return p.Path + " (optional)"
		}
		return p.Path
	}
	if v.Type() == reflect.TypeFor[policy.Middleware]() {
		return middlewareText(v.Interface().(policy.Middleware))
	}
	if s, ok := v.Interface().(fmt.Stringer); ok {
		return s.String()
	}
	if v.Kind() == reflect.String {
		return v.String()
	}
	return strings.TrimSpace(fingerprint(v.Interface()))
}
