//go:build !linux

package cow

import "errors"

var errLinux = errors.New("copy-on-write workspaces exist on Linux only")

func namesProtected(string) bool { return false }

func (l *Layer) Changes() ([]Change, error)      { return nil, errLinux }
func (l *Layer) Apply(Options) ([]Result, error) { return nil, errLinux }
func (l *Layer) Prune() ([]Change, error)        { return nil, errLinux }
func (l *Layer) Discard([]string) (int, error)   { return 0, errLinux }
func (l *Layer) Lock() error                     { return errLinux }
func (l *Layer) Running() bool                   { return false }
func (l *Layer) Remove() error                   { return errLinux }
func (l *Layer) Text(Change) (string, error)     { return "", errLinux }
