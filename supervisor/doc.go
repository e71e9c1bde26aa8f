// Package supervisor wires one sandbox: it loads the policy, builds the
// sandbox, serves its network, relays its streams, watches the policy file and
// answers on the control socket until the agent ends. It is the only package
// that knows all the parts.
//
// Run owns every goroutine that it starts and waits for them. A failure of the
// audit closes the network; a failure of any part of the data path ends the
// sandbox. Only the CLI imports it.
package supervisor
