package analyse

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/creel-run/creel/policy"
)

// Unknown is a part of a policy that this package cannot judge exactly: a
// protocol or a key that the engine knows and it does not. It is an error of the
// analysis, never a guess.
type Unknown struct {
	At   policy.Position `json:"at"`
	What string          `json:"what"`
	// Place is the host and ports of an endpoint: all that is opened there may be
	// missing in an answer. Empty: it is about more than one place.
	Place string `json:"place,omitempty"`

	requests bool // of requests alone: whether a connection is opened is known
}

func (u Unknown) Error() string {
	text := "cannot be told exactly: " + u.What
	if u.Place != "" {
		text += " for " + u.Place
	}
	if at := u.At.String(); at != "" {
		text = at + ": " + text
	}
	return text
}

// The fields that lower reads. A field that a later policy package adds and
// that is not here makes an analysis inexact, so that it cannot be forgotten.
const (
	documentFields   = "File Version Filesystem Landlock Process Syscalls Resources DNS Networks Inference Files Unmatched Limits Middlewares"
	middlewareFields = "Key Name Implementation Order Config FailOpen Include Exclude At"
	networkFields    = "Key Name Endpoints AnyBinary Binaries Ancestors Unmatched Expires Limits MaxUses At"
	binaryFields     = "Path At SHA256"
	endpointFields   = "Host Pattern Ports Protocol Path TLS TLSWritten Enforcement Access Allow Deny AllowedIPs AllowEncodedSlash InternalAddresses Models " +
		"Expires Limits MaxUses Unmatched Withdrawn Registry RegistryPath MaxBody GraphQL MCP ToolPins Credentials At KeyAt"
	graphqlFields    = "AllowRegistered Registry"
	mcpFields        = "LooseToolNames AllMethods"
	credentialFields = "RewriteMessages RewriteBodies AllowUninspected Signing Provider"
	signingFields    = "Mode Service Region"
	ruleFields       = "Method Path Query OperationType OperationName Fields Tools Arguments Command Operation Repository Refs Force Delete Package Versions MinAge Publish Service At"
)

// unknownFields names the fields of a struct that are set and not among known.
func unknownFields(pointer any, known string) []string {
	var list []string
	v := reflect.ValueOf(pointer).Elem()
	for _, i := range fieldsOf(v.Type()).without(known) {
		if !isEmpty(v.Field(i)) {
			list = append(list, v.Type().Field(i).Name)
		}
	}
	return list
}

// fields are those of a struct. They are asked for once per type: a policy has
// thousands of rules, and reflection is slow.
type fields struct {
	names     []string
	positions []bool // the field is a policy.Position
	stringer  bool   // the struct has a text of its own

	mu      sync.Mutex
	unknown map[string][]int
}

var fieldsBy sync.Map // of reflect.Type: *fields

func fieldsOf(t reflect.Type) *fields {
	if f, ok := fieldsBy.Load(t); ok {
		return f.(*fields)
	}
	f := &fields{stringer: t.Implements(reflect.TypeFor[fmt.Stringer]()), unknown: map[string][]int{}}
	for i := range t.NumField() {
		f.names = append(f.names, t.Field(i).Name)
		f.positions = append(f.positions, t.Field(i).Type == positionType)
	}
	first, _ := fieldsBy.LoadOrStore(t, f)
	return first.(*fields)
}

// without are the places of the fields that are not among known.
func (f *fields) without(known string) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	list, ok := f.unknown[known]
	if !ok {
		for i, name := range f.names {
			if !slices.Contains(strings.Fields(known), name) {
				list = append(list, i)
			}
		}
		f.unknown[known] = list
	}
	return list
}

// keyText says in the words of the language what a field was made of.
func keyText(field string) string { return "the key " + wordOf(field) }

func unknownPrints(pointer any, known string) []string {
	var list []string
	for _, f := range unknownFields(pointer, known) {
		list = append(list, f+"="+fingerprint(reflect.ValueOf(pointer).Elem().FieldByName(f).Interface()))
	}
	return list
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return v.IsZero()
}

var positionType = reflect.TypeFor[policy.Position]()

// fingerprint is a text that is equal for values that differ in positions alone.
func fingerprint(v any) string {
	var b strings.Builder
	writePrint(&b, reflect.ValueOf(v))
	return b.String()
}

func writePrint(b *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == positionType {
			return
		}
		f := fieldsOf(v.Type())
		if f.stringer && v.CanInterface() {
			if s, ok := v.Interface().(fmt.Stringer); ok {
				b.WriteString(strconv.Quote(s.String()))
				return
			}
		}
		b.WriteByte('{')
		for i, name := range f.names {
			if f.positions[i] || v.Field(i).IsZero() {
				continue
			}
			b.WriteString(name)
			b.WriteByte(':')
			writePrint(b, v.Field(i))
			b.WriteByte(' ')
		}
		b.WriteByte('}')
	case reflect.Slice, reflect.Array:
		b.WriteByte('[')
		for i := range v.Len() {
			writePrint(b, v.Index(i))
			b.WriteByte(' ')
		}
		b.WriteByte(']')
	case reflect.Map:
		var items []string
		for iter := v.MapRange(); iter.Next(); {
			var one strings.Builder
			writePrint(&one, iter.Key())
			one.WriteByte('=')
			writePrint(&one, iter.Value())
			items = append(items, one.String())
		}
		slices.Sort(items)
		fmt.Fprint(b, items)
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			writePrint(b, v.Elem())
		}
	case reflect.String:
		b.WriteString(strconv.Quote(v.String()))
	default:
		fmt.Fprint(b, v)
	}
}
