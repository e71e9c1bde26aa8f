package format

import (
	"reflect"

	"github.com/creel-run/creel/policy"
)

// Same reports whether two documents mean the same: they are equal but for the
// positions of what they hold and the name of their file.
func Same(a, b *policy.Document) bool {
	if a == nil || b == nil {
		return false
	}
	x, y := *a, *b
	x.File, y.File = "", ""
	return same(reflect.ValueOf(x), reflect.ValueOf(y))
}

// same compares the policy's own types part by part, and those of others as
// they are.
func same(a, b reflect.Value) bool {
	switch {
	case a.Type() == reflect.TypeFor[policy.Position]():
		// Whether a section was written can matter, where does not.
		return a.IsZero() == b.IsZero()
	case a.Kind() == reflect.Struct && a.Type().PkgPath() == reflect.TypeFor[policy.Document]().PkgPath():
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case a.Kind() == reflect.Map && a.Type().Elem() == reflect.TypeFor[policy.Position](): // where keys stand
		if a.Len() != b.Len() {
			return false
		}
		for _, k := range a.MapKeys() {
			if !b.MapIndex(k).IsValid() {
				return false
			}
		}
		return true
	case a.Kind() == reflect.Slice:
		if a.Len() != b.Len() || a.IsNil() != b.IsNil() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case a.Kind() == reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for _, key := range a.MapKeys() {
			if v := b.MapIndex(key); !v.IsValid() || !same(a.MapIndex(key), v) {
				return false
			}
		}
		return true
	case a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil():
		return same(a.Elem(), b.Elem())
	}
	return a.CanInterface() && reflect.DeepEqual(a.Interface(), b.Interface())
}
