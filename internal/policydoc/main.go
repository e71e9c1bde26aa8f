// Command policydoc writes the generated pages of docs/policy (make docs).
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/creel-run/creel/policy/schema"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: policydoc DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "policydoc:", err)
		os.Exit(1)
	}
}

// pages are the generated pages by their names.
func pages() (map[string]string, error) {
	presets, err := presetPage()
	return map[string]string{"reference.md": schema.Reference(), "presets.md": presets}, err
}

func write(dir string) error {
	all, err := pages()
	if err != nil {
		return err
	}
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
