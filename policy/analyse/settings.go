package analyse

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/creel-run/creel/policy"
)

// Setting is one difference outside of the network: a path, a limit, a switch.
// Was or Is is empty if the value is not there.
type Setting struct {
	Key string `json:"key"` // filesystem_policy.read_only
	Was string `json:"was,omitempty"`
	Is  string `json:"is,omitempty"`
}

// settings compares all sections but the network's, whatever fields they have.
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
		default:
			name = wordOf(name)
		}
		compareSetting(&list, name, x.Field(i), y.Field(i))
	}
	return list
}

// wordOf is the key of the language for a field's name.
func wordOf(field string) string {
	switch field {
	case "CPU", "PIDs":
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

func compareSetting(list *[]Setting, key string, x, y reflect.Value) {
	switch {
	case x.Type() == positionType:
		return
	case x.Kind() == reflect.Struct:
		for i := range x.NumField() {
			f := x.Type().Field(i)
			compareSetting(list, key+"."+wordOf(f.Name), x.Field(i), y.Field(i))
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
		compareSetting(list, key, part(x), part(y))
		if x.IsNil() != y.IsNil() && len(*list) == before {
			*list = append(*list, Setting{key, presence(x), presence(y)})
		}
		return
	case x.Kind() == reflect.Slice:
		was, is := showAll(x), showAll(y)
		if x.IsNil() != y.IsNil() && len(was)+len(is) == 0 {
			*list = append(*list, Setting{key, presence(x), presence(y)})
		}
		for _, s := range was {
			if !slices.Contains(is, s) {
				*list = append(*list, Setting{Key: key, Was: s})
			}
		}
		for _, s := range is {
			if !slices.Contains(was, s) {
				*list = append(*list, Setting{Key: key, Is: s})
			}
		}
		return
	}
	if was, is := showNumber(key, x), showNumber(key, y); was != is {
		*list = append(*list, Setting{key, was, is})
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
	if s, ok := v.Interface().(fmt.Stringer); ok {
		return s.String()
	}
	if v.Kind() == reflect.String {
		return v.String()
	}
	return strings.TrimSpace(fingerprint(v.Interface()))
}
