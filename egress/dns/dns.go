// Package dns answers every query of a sandbox with synthetic addresses that
// stand for names; nothing is forwarded.
package dns
