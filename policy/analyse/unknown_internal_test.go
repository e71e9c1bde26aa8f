package analyse

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
)

// Every field that a document has is known here: one that is added would make
// answers inexact. Say what it means for them, and add it to the list.
func TestEveryFieldIsKnown(t *testing.T) {
	for _, x := range []struct {
		of    reflect.Type
		known string
	}{
		{reflect.TypeFor[policy.Document](), documentFields},
		{reflect.TypeFor[policy.Middleware](), middlewareFields},
		{reflect.TypeFor[policy.Network](), networkFields},
		{reflect.TypeFor[policy.Binary](), binaryFields},
		{reflect.TypeFor[policy.Endpoint](), endpointFields},
		{reflect.TypeFor[policy.GraphQLOptions](), graphqlFields},
		{reflect.TypeFor[policy.MCPOptions](), mcpFields},
		{reflect.TypeFor[policy.Credentials](), credentialFields},
		{reflect.TypeFor[policy.RequestRule](), ruleFields},
		{reflect.TypeFor[policy.ArgumentRule](), "Name Any"},
		{reflect.TypeFor[policy.ToolPin](), "Tool SHA256 At"},
		{reflect.TypeFor[policy.Limits](), "Connections Requests BytesOut BytesIn ResponseTypes At"},
		{reflect.TypeOf(policy.Credentials{}.Signing), signingFields},
	} {
		for i := range x.of.NumField() {
			if f := x.of.Field(i); f.IsExported() && !slices.Contains(strings.Fields(x.known), f.Name) {
				t.Errorf("%s.%s is not known to the analyser", x.of, f.Name)
			}
		}
	}
}
