package policy

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Least values: below them creel's own process in the sandbox cannot work.
const (
	minMemory    = 16 << 20
	minDisk      = 1 << 20
	minCPU       = 10 // thousandths
	minOpenFiles = 16
	maxCount     = 1 << 22 // what the kernel has process ids for
)

// ParseMemory, ParseDisk, ParseCPU, ParsePIDs and ParseOpenFiles read what flags
// and policies say alike.

// ParseMemory reads a size of at least 16M, in bytes.
func ParseMemory(text string) (int64, error) { return parseSize(text, minMemory, "16M") }

// ParseDisk reads a size of at least 1M, in bytes.
func ParseDisk(text string) (int64, error) { return parseSize(text, minDisk, "1M") }

// ParseCPU reads processors with up to three decimals, in thousandths.
func ParseCPU(text string) (int64, error) {
	const want = "processors, like 0.5 or 2, of at least 0.01"
	whole, part, dotted := strings.Cut(text, ".")
	if !decimal(whole) || len(whole) > 5 || dotted && (part == "" || len(part) > 3 || strings.Trim(part, "0123456789") != "") {
		return 0, fmt.Errorf("found %s, want %s", show(text), want)
	}
	n, err := strconv.ParseInt(whole+(part + "000")[:3], 10, 64)
	if err != nil || n < minCPU {
		return 0, fmt.Errorf("found %s, want %s", show(text), want)
	}
	return n, nil
}

// ParsePIDs reads a number of processes and threads.
func ParsePIDs(text string) (int64, error) { return parseCount(text, 1) }

// ParseOpenFiles reads a number of descriptors.
func ParseOpenFiles(text string) (int64, error) { return parseCount(text, minOpenFiles) }

func parseCount(text string, least int64) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || !decimal(text) || n < least || n > maxCount {
		return 0, fmt.Errorf("found %s, want a number of %d..%d", show(text), least, maxCount)
	}
	return n, nil
}

// parseSize reads a number of bytes, or one with a unit of powers of 1024.
func parseSize(text string, least int64, shown string) (int64, error) {
	digits := strings.TrimRight(text, "KMGTi")
	unit := int64(1)
	ok := decimal(digits)
	switch strings.TrimPrefix(text, digits) {
	case "":
	case "K", "Ki":
		unit = 1 << 10
	case "M", "Mi":
		unit = 1 << 20
	case "G", "Gi":
		unit = 1 << 30
	case "T", "Ti":
		unit = 1 << 40
	default:
		ok = false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n > math.MaxInt64/unit || n*unit < least {
		return 0, fmt.Errorf("found %s, want bytes, or a size like 512M or 2G, of at least %s", show(text), shown)
	}
	return n * unit, nil
}

// sizeHint is what a size in other words would be.
func sizeHint(text string) string {
	short := strings.TrimSuffix(strings.ToUpper(strings.ReplaceAll(text, " ", "")), "B")
	if _, err := parseSize(short, 1, ""); err != nil || short == text {
		return ""
	}
	return "write " + short
}

func (d *decoder) resources(v value) Resources {
	r := Resources{At: d.at(v.n)}
	s, ok := d.section(v, "resources", resourceWords)
	if !ok {
		return r
	}
	for _, f := range []struct {
		key   string
		to    *int64
		parse func(string) (int64, error)
	}{
		{"memory", &r.Memory, ParseMemory},
		{"cpu", &r.CPU, ParseCPU},
		{"pids", &r.PIDs, ParsePIDs},
		{"disk", &r.Disk, ParseDisk},
		{"open_files", &r.OpenFiles, ParseOpenFiles},
	} {
		w, ok := s.get(f.key)
		if !ok {
			continue
		}
		if tag := w.n.ShortTag(); w.n.Kind != yaml.ScalarNode || tag != "!!str" && tag != "!!int" && tag != "!!float" {
			d.fault(w, WrongType, describe(w.n), "a number or a size", "")
			continue
		}
		n, err := f.parse(w.n.Value)
		if err != nil {
			found, want, _ := strings.Cut(strings.TrimPrefix(err.Error(), "found "), ", want ")
			d.fault(w, BadValue, found, want, sizeHint(w.n.Value))
			continue
		}
		*f.to = n
	}
	if w, ok := s.get("compatibility"); ok {
		word, ok := d.text(w, "best_effort or hard_requirement")
		switch {
		case !ok:
		case word == "best_effort":
			r.Compatibility = BestEffort
		case word != "hard_requirement":
			d.fault(w, BadValue, show(word), "best_effort or hard_requirement", didYouMean(word, "best_effort", "hard_requirement"))
		}
	}
	return r
}
