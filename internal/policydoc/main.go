// Command policydoc prints docs/policy/reference.md (make docs).
package main

import (
	"fmt"
	"os"

	"github.com/creel-run/creel/policy/schema"
)

func main() {
	if _, err := os.Stdout.WriteString(schema.Reference()); err != nil {
		fmt.Fprintln(os.Stderr, "policydoc:", err)
		os.Exit(1)
	}
}
