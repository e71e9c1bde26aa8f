// Package secret holds values that must never be shown: a Value redacts itself
// in every form of printing, logging and encoding.
package secret
