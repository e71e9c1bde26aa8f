package policy

import "reflect"

// alike compares two values of one type, and does not look at where they stand:
// positions, and maps of them. Empty and absent lists of structs
// are the same; Parse refuses an empty allowed_ips, where they would not be.
func alike(x, y reflect.Value) bool {
	place := reflect.TypeFor[Position]()
	switch x.Kind() {
	case reflect.Struct:
		if x.Type() == place {
			return true
		}
		for i := range x.NumField() {
			if !x.Type().Field(i).IsExported() {
				return reflect.DeepEqual(x.Interface(), y.Interface())
			}
		}
		for i := range x.NumField() {
			if !alike(x.Field(i), y.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if x.Len() != y.Len() {
			return false
		}
		for i := range x.Len() {
			if !alike(x.Index(i), y.Index(i)) {
				return false
			}
		}
		return x.Len() > 0 || x.Type().Elem().Kind() == reflect.Struct || x.IsNil() == y.IsNil()
	case reflect.Map:
		if x.Type().Elem() == place {
			return true
		}
		if x.Len() != y.Len() {
			return false
		}
		for _, k := range x.MapKeys() {
			if v := y.MapIndex(k); !v.IsValid() || !alike(x.MapIndex(k), v) {
				return false
			}
		}
		return true
	case reflect.Pointer:
		if x.IsNil() || y.IsNil() {
			return x.IsNil() == y.IsNil()
		}
		return alike(x.Elem(), y.Elem())
	default:
		return reflect.DeepEqual(x.Interface(), y.Interface())
	}
}

func alikeValues[T any](x, y T) bool { return alike(reflect.ValueOf(x), reflect.ValueOf(y)) }
