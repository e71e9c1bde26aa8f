package cow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Meta is what is known of a layer.
type Meta struct {
	Name      string    `json:"name"`
	Workspace string    `json:"workspace"`
	Ino       uint64    `json:"ino"` // of the workspace's folder
	Command   []string  `json:"command"`
	Created   time.Time `json:"created"`
	// Applied has, for each path that was applied, the change time of what then
	// stood there, in nanoseconds: whatever is younger than Created and not this was
	// changed by somebody else.
	Applied map[string]int64 `json:"applied,omitempty"`
}

// Layer is an open layer.
type Layer struct {
	Meta
	folder string
	lock   *os.File // nil: for reading
}

// Data is the folder that a sandbox mounts.
func (l *Layer) Data() string { return filepath.Join(l.folder, "data") }

func (l *Layer) upper() string { return filepath.Join(l.folder, "data", "upper") }

// ErrRunning says that a sandbox has the layer.
var ErrRunning = errors.New("its sandbox is running")

// Base is where layers lie below a state folder.
func Base(state string) string { return filepath.Join(state, "cow") }

// Read opens a layer for reading. Its absence is fs.ErrNotExist; with any other
// error it can still be removed.
func Read(state, name string) (*Layer, error) {
	l := &Layer{folder: filepath.Join(Base(state), name)}
	l.Name = name
	b, err := os.ReadFile(filepath.Join(l.folder, metaName))
	if err == nil {
		err = json.Unmarshal(b, &l.Meta)
	}
	if err != nil {
		return l, fmt.Errorf("open layer %s: %w", name, err)
	}
	return l, nil
}

const metaName = "layer.json"

// List is every layer of a state folder, by name; one that cannot be read has its
// name alone.
func List(state string) ([]Meta, error) {
	entries, err := os.ReadDir(Base(state))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	var all []Meta
	for _, e := range entries {
		l, err := Read(state, e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // a sandbox that did not start
		}
		if err != nil {
			all = append(all, Meta{Name: e.Name()})
			continue
		}
		all = append(all, l.Meta)
	}
	return all, nil
}

// Names of the layers.
func Names(state string) []string {
	all, _ := List(state)
	names := make([]string, len(all))
	for i, m := range all {
		names[i] = m.Name
	}
	return names
}

func (l *Layer) save() error {
	b, err := json.Marshal(l.Meta)
	if err != nil {
		return fmt.Errorf("write layer %s: %w", l.Name, err)
	}
	tmp := filepath.Join(l.folder, metaName+".new")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write layer %s: %w", l.Name, err)
	}
	return os.Rename(tmp, filepath.Join(l.folder, metaName))
}

// Close lets the layer go.
func (l *Layer) Close() {
	if l.lock != nil {
		_ = l.lock.Close()
	}
}
