package policy

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Load reads a policy file and those that it extends, at most MaxBytes of each.
func Load(path string) (*Document, Warnings, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	return ParseLayers(path, data, Beside(ReadFile))
}

// ReadFile reads the text of one policy file, at most one byte more than MaxBytes,
// which Parse refuses.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, named("open policy:", path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return nil, named("read policy:", path, err)
	}
	return data, nil
}

// named says the verb and the path once.
func named(op, path string, err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

// Beside is the Resolver of files: a name is absolute, or lies in the folder of
// the file that names it or below. read is called with the file that the name
// leads to, links followed: a relative name may not lead out of its folder. It
// serves one document: whoever extends the file that it began with is given the
// name that this has already.
func Beside(read func(path string) ([]byte, error)) Resolver {
	known := make(map[string]string) // by the real path
	return func(from, name string) (string, []byte, error) {
		if real, err := filepath.EvalSymlinks(from); err == nil {
			if real, err = filepath.Abs(real); err == nil && known[real] == "" {
				known[real] = from
			}
		}
		path, err := besidePath(from, name)
		if err != nil {
			return "", nil, err
		}
		fi, err := os.Stat(path)
		switch {
		case err != nil:
			return "", nil, plainPathError(err)
		case !fi.Mode().IsRegular():
			return "", nil, errors.New("it is not a regular file")
		}
		data, err := read(path)
		if err != nil {
			return "", nil, plainPathError(err)
		}
		if first, ok := known[path]; ok {
			path = first
		}
		return path, data, nil
	}
}

func besidePath(from, name string) (string, error) {
	folder, err := filepath.EvalSymlinks(filepath.Dir(from))
	if err == nil {
		folder, err = filepath.Abs(folder)
	}
	if err != nil {
		return "", plainPathError(err)
	}
	path, inside := name, false
	if !filepath.IsAbs(name) {
		if !filepath.IsLocal(name) {
			return "", errors.New("it leads out of the folder of this file; write the absolute path")
		}
		path, inside = filepath.Join(folder, name), true
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", plainPathError(err)
	}
	if inside && !strings.HasPrefix(real, strings.TrimSuffix(folder, string(filepath.Separator))+string(filepath.Separator)) {
		return "", errors.New("a link leads out of the folder of this file; write the absolute path")
	}
	return real, nil
}

// plainPathError is the cause without the path, which the fault shows itself.
func plainPathError(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("there is no such file")
	}
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return errors.New("it cannot be read")
}
