// Package cli is the command line: flags become plain option structs, runX
// functions do the work and are what tests call, and one switch turns errors
// into exit statuses.
//
// It may import everything below it; nothing imports it but cmd/creel. It
// prints to the streams of its IO alone, and every string that did not come
// from this program goes through audit.Printable first. Commands that print
// data have --json. Nothing here keeps state between commands.
package cli
