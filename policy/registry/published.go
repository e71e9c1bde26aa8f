package registry

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Source is a request to a registry whose answer says when a version appeared.
type Source struct {
	Path   string // canonical
	Accept string

	read func(in io.Reader, r *Request, file string) (time.Time, error)
	file string // that is downloaded
}

// ErrNoTime means that an answer does not say when a version appeared.
var ErrNoTime = errors.New("read publication time: the registry does not tell")

// Sources are what can be asked about a download, in the order in which to ask.
// at is the canonical path of the download. Debian archives say nothing.
//
// A Go module's time is that of the commit, which its author sets.
func Sources(r *Request, prefix, at string) []Source {
	if r == nil || r.Action != Download {
		return nil
	}
	prefix = strings.TrimSuffix(prefix, "/")
	source := func(path, accept string, read func(io.Reader, *Request, string) (time.Time, error)) Source {
		return Source{path, accept, read, at[strings.LastIndexByte(at, '/')+1:]}
	}
	switch r.Kind {
	case NPM:
		if base, _, ok := strings.Cut(at, "/-/"); ok {
			return []Source{source(base, "application/json", npmTime)}
		}
	case PyPI:
		return []Source{
			source(prefix+"/simple/"+r.Name+"/", "application/vnd.pypi.simple.v1+json", simpleTime),
			source(prefix+"/pypi/"+r.Name+"/"+r.Version+"/json", "application/json", warehouseTime),
		}
	case Go:
		if base, ok := strings.CutSuffix(at, ".zip"); ok {
			return []Source{source(base+".info", "application/json", goTime)}
		}
	case Cargo:
		s, ok := cutPrefix(at, prefix)
		if !ok {
			return nil
		}
		if len(s) > 3 && s[0] == "api" {
			s = s[2:]
		}
		if len(s) < 2 || s[0] != "crates" {
			return nil
		}
		return []Source{
			source(prefix+"/api/v1/crates/"+s[1]+"/"+r.Version, "application/json", crateTime),
			source(prefix+"/"+indexPath(strings.ToLower(s[1])), "text/plain", indexTime),
		}
	case Debian:
	}
	return nil
}

// Read finds the time in an answer. What it reads it reads through once; how much
// that may be is the caller's to bound.
func (s Source) Read(in io.Reader, r *Request) (time.Time, error) {
	t, err := s.read(bufio.NewReader(in), r, s.file)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", ErrNoTime, err)
	}
	if t.IsZero() {
		return time.Time{}, ErrNoTime
	}
	return t, nil
}

// npmTime reads "time" of a packument, which has every version.
func npmTime(in io.Reader, r *Request, _ string) (at time.Time, err error) {
	err = member(json.NewDecoder(in), "time", func(dec *json.Decoder) error {
		return member(dec, r.Version, func(dec *json.Decoder) error { return dec.Decode(&at) })
	})
	return at, err
}

// member reads an object up to a member and calls f for its value.
func member(dec *json.Decoder, key string, f func(*json.Decoder) error) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.Join(errors.New("not an object"), err)
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		if t == key {
			return f(dec)
		}
		if err := skip(dec); err != nil {
			return err
		}
	}
	return nil
}

// skip reads a value through without keeping it.
func skip(dec *json.Decoder) error {
	for depth := 0; ; {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		if d, ok := t.(json.Delim); ok {
			if d == '{' || d == '[' {
				depth++
			} else {
				depth--
			}
		}
		if depth == 0 {
			return nil
		}
	}
}

// items calls f for every element of the array that comes, until it says stop.
func items[T any](dec *json.Decoder, f func(T) (stop bool)) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return errors.Join(errors.New("not a list"), err)
	}
	for dec.More() {
		var v T
		if err := dec.Decode(&v); err != nil {
			return err
		}
		if f(v) {
			return nil
		}
	}
	return nil
}

// simpleTime reads the simple API (PEP 691, with the times of PEP 700).
func simpleTime(in io.Reader, _ *Request, file string) (at time.Time, err error) {
	err = member(json.NewDecoder(in), "files", func(dec *json.Decoder) error {
		return items(dec, func(f struct {
			Filename string    `json:"filename"`
			Uploaded time.Time `json:"upload-time"`
		}) bool {
			if f.Filename == file {
				at = f.Uploaded
			}
			return f.Filename == file
		})
	})
	return at, err
}

// warehouseTime reads the JSON API about a version.
func warehouseTime(in io.Reader, _ *Request, file string) (at time.Time, err error) {
	err = member(json.NewDecoder(in), "urls", func(dec *json.Decoder) error {
		return items(dec, func(f struct {
			Filename string    `json:"filename"`
			Uploaded time.Time `json:"upload_time_iso_8601"`
		}) bool {
			if f.Filename == file {
				at = f.Uploaded
			}
			return f.Filename == file
		})
	})
	return at, err
}

func goTime(in io.Reader, r *Request, _ string) (time.Time, error) {
	var info struct {
		Version string
		Time    time.Time
	}
	if err := json.NewDecoder(in).Decode(&info); err != nil {
		return time.Time{}, err
	}
	if info.Version != r.Version {
		return time.Time{}, errors.New("another version")
	}
	return info.Time, nil
}

// crateTime reads the web API about a version.
func crateTime(in io.Reader, r *Request, _ string) (time.Time, error) {
	var about struct {
		Version struct {
			Num     string    `json:"num"`
			Created time.Time `json:"created_at"`
		} `json:"version"`
	}
	if err := json.NewDecoder(in).Decode(&about); err != nil {
		return time.Time{}, err
	}
	if about.Version.Num != r.Version {
		return time.Time{}, errors.New("another version")
	}
	return about.Version.Created, nil
}

// indexTime reads the index: a line of JSON for each version.
func indexTime(in io.Reader, r *Request, _ string) (time.Time, error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var line struct {
			Version string    `json:"vers"`
			Time    time.Time `json:"pubtime"`
		}
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return time.Time{}, err
		}
		if line.Version == r.Version {
			return line.Time, nil
		}
	}
	return time.Time{}, lines.Err()
}
