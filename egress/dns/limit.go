package dns

import "time"

// auditBurst and auditEvery bound the audit events about refused queries: a
// program that asks for HTTPS records with each request must not fill a
// disk, and the first refusals tell an operator what there is to tell.
const (
	auditBurst = 50
	auditEvery = time.Second
)
