package policy

// webSocketRules decodes access, rules and deny_rules of a websocket endpoint:
// about handshakes and messages by method and path, or about GraphQL
// operations in the messages.
func (d *decoder) webSocketRules(v value, s section, e *Endpoint) {
	d.endpointRules(v, s, e, ruleReader{
		presets: true,
		decode:  func(v value, deny bool) RequestRule { return d.webSocketRule(v, e, deny) },
		empty: func(r RequestRule) bool {
			return r.Method == "" && r.Path == "" && r.OperationType == "" && r.OperationName == ""
		},
		example: `write - allow: {method: GET, path: "/**"} for the handshake, and - allow: {method: WEBSOCKET_TEXT, path: "/**"} for messages`,
	})
	if !e.GraphQLMessages() {
		return
	}
	for _, r := range e.Allow {
		if r.Method == MethodText {
			d.faultAt(r.At, v.path+".rules", Conflict, "the method "+MethodText+" on an endpoint whose messages are GraphQL", "rules with operation_type",
				"remove the rule, or every operation rule and the registry")
		}
	}
	if e.Access != "" && e.Access != "read-only" {
		d.warn(s.fields["access"], NeverFires, "messages are GraphQL here, so access: "+e.Access+" allows the handshake alone",
			"write rules: the handshake, and one for each operation")
	}
}

func (d *decoder) webSocketRule(v value, e *Endpoint, deny bool) RequestRule {
	s, ok := d.ruleSection(v, e, "method", "path", "query", "operation_type", "operation_name", "fields")
	if !ok {
		return RequestRule{At: d.at(v.n)}
	}
	var http, operation string
	for _, key := range []string{"method", "path", "query"} {
		if _, ok := s.given(key); ok {
			http = key
		}
	}
	for _, key := range []string{"operation_type", "operation_name", "fields"} {
		if _, ok := s.given(key); ok {
			operation = key
		}
	}
	switch {
	case http != "" && operation != "":
		d.fault(v, Conflict, http+" and "+operation+" in one rule", "one of them", "the handshake and the operations in its messages are judged by rules of their own")
		return RequestRule{At: d.at(v.n)}
	case operation != "":
		return d.operationRule(v, s, e)
	}
	return d.httpRule(v, s, e, deny)
}
