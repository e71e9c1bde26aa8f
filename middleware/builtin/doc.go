// Package builtin knows the middlewares that a policy may name, by name: those
// of Creel, the one of OpenShell, and those that the operator registered.
//
// It may import middleware and all packages below it.
package builtin
