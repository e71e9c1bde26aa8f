package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The committed pages are what the tables and presets say.
func TestPagesAreCurrent(t *testing.T) {
	all, err := pages()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range all {
		got, err := os.ReadFile(filepath.Join("../../docs/policy", name))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("docs/policy/%s is stale: make docs", name)
		}
	}
}
