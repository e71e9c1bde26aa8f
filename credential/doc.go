// Package credential keeps real credentials outside the sandbox: the agent
// holds placeholders, and a value is put into the one header it is bound to,
// towards the one host it is bound to, at the last moment.
package credential
