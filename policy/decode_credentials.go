package policy

import "slices"

// signingModes are the values of credential_signing.
var signingModes = []string{"sigv4", "sigv4:body", "sigv4:no_body"}

// credentialKeys decodes the keys of an endpoint about secrets that the
// supervisor puts into the agent's traffic.
func (d *decoder) credentialKeys(s section, e *Endpoint) {
	c := &e.Credentials
	c.RewriteMessages = d.rewrite(s, e, "websocket_credential_rewrite", e.Protocol == REST || e.Protocol == WebSocket, "rest and websocket")
	c.RewriteBodies = d.rewrite(s, e, "request_body_credential_rewrite", e.Protocol == REST, "rest")
	if v, ok := s.get("allow_uninspected_credentials"); ok {
		if c.AllowUninspected = d.boolean(v); c.AllowUninspected {
			d.mark(s, e, "allow_uninspected_credentials")
		}
	}
	d.signing(s, e)
	if v, ok := s.get("credential_binding"); ok && !isNull(v.n) {
		d.mark(s, e, "credential_binding")
		d.binding(v, e)
	}
	if c.Provider != "" && (!e.Protocol.Inspected() || e.TLS == TLSSkip) && !c.AllowUninspected {
		d.warn(s.fields["credential_binding"], NoOperation, "no request of this endpoint is read, so no credential is put into one", "write protocol: rest")
	}
}

func (d *decoder) rewrite(s section, e *Endpoint, key string, ours bool, protocols string) bool {
	v, ok := s.get(key)
	if !ok || !d.boolean(v) {
		return false
	}
	d.protocolKey(s, e, key, ours, protocols)
	return true
}

func (d *decoder) signing(s section, e *Endpoint) {
	g := &e.Credentials.Signing
	mode, has := s.given("credential_signing")
	if has {
		d.mark(s, e, "credential_signing")
		const want = "sigv4, sigv4:body or sigv4:no_body"
		text, ok := d.text(mode, want)
		if ok {
			if g.Mode = text; !slices.Contains(signingModes, text) {
				d.fault(mode, BadValue, show(text), want, didYouMean(text, signingModes...))
			}
		}
		if e.Protocol == TCP {
			d.fault(mode, Conflict, "credential_signing on protocol: tcp, which judges the connection alone", "", "remove it")
		}
	}
	for _, key := range []string{"signing_service", "signing_region"} {
		v, ok := s.given(key)
		if !ok {
			continue
		}
		d.mark(s, e, key)
		text, _ := d.text(v, "a name")
		if key == "signing_service" {
			g.Service = text
		} else {
			g.Region = text
		}
		if !has {
			d.warn(v, NoOperation, key+" has no effect without credential_signing", "write credential_signing: sigv4")
		}
	}
	switch {
	case !has:
	case g.Service == "":
		d.fault(value{mode.n, s.at.path + ".signing_service"}, Missing, "", "the service that requests are signed for", "write signing_service: bedrock")
	case e.Credentials.RewriteBodies:
		d.fault(s.fields["request_body_credential_rewrite"], Conflict, "request_body_credential_rewrite with credential_signing", "one of them", "a body that is changed after it was signed is refused by the server")
	}
}

func (d *decoder) binding(v value, e *Endpoint) {
	s, ok := d.section(v, "credential_binding", bindingWords)
	if !ok {
		return
	}
	if e.Protocol == TCP {
		d.fault(v, Conflict, "credential_binding on protocol: tcp, which judges the connection alone", "", "remove it")
	}
	p, ok := s.given("provider")
	if !ok {
		d.fault(value{v.n, pathKey(v.path, "provider")}, Missing, "", "the name of a provider", "")
		return
	}
	e.Credentials.Provider, _ = d.text(p, "the name of a provider")
}
