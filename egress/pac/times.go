package pac

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

var (
	weekdays = []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
	months   = []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
)

// clock takes a last argument "GMT" off, and gives the time in the zone that counts.
func (w world) clock(args []any) ([]any, time.Time) {
	if n := len(args); n > 0 {
		if s, ok := args[n-1].(string); ok && strings.EqualFold(s, "GMT") {
			return args[:n-1], w.now.UTC()
		}
	}
	return args, w.now
}

// within reports whether a moment, written as numbers of falling weight, lies in a
// range with both ends. One that ends before it begins goes around: over midnight,
// the weekend, the new year.
func within(now, from, to []int) bool {
	if slices.Compare(from, to) <= 0 {
		return slices.Compare(from, now) <= 0 && slices.Compare(now, to) <= 0
	}
	return slices.Compare(from, now) <= 0 || slices.Compare(now, to) <= 0
}

func named(list []string, arg any) (int, bool) {
	s, ok := arg.(string)
	i := slices.Index(list, strings.ToUpper(s))
	return i, ok && i >= 0
}

// weekdayRange: one day, or the first and the last.
func (w world) weekdayRange(args []any) any {
	args, now := w.clock(args)
	if len(args) < 1 || len(args) > 2 {
		return false
	}
	from, ok := named(weekdays, args[0])
	to, ok2 := named(weekdays, args[len(args)-1])
	return ok && ok2 && within([]int{int(now.Weekday())}, []int{from}, []int{to})
}

// timeRange: an hour; the first and the last hour; with minutes; with seconds.
func (w world) timeRange(args []any) any {
	args, now := w.clock(args)
	limits := []int{24, 60, 60}
	n := max(1, len(args)/2) // numbers of each end
	if len(args) != 1 && (len(args)%2 != 0 || n > 3) || len(args) == 0 {
		return false
	}
	list := make([]int, len(args))
	for i, a := range args {
		v, ok := parseNumber(a)
		if !ok || v < 0 || v >= limits[i%n] && !(v == 24 && i%n == 0) {
			return false
		}
		list[i] = v
	}
	moment := []int{now.Hour(), now.Minute(), now.Second()}[:n]
	return within(moment, list[:n], list[len(list)-n:])
}

// part is one argument of dateRange: what it is follows from its form.
type part struct{ weight, value int }

const (
	day = iota
	month
	year
)

func dateParts(args []any) ([]part, bool) {
	var parts []part
	for _, a := range args {
		if m, ok := named(months, a); ok {
			parts = append(parts, part{month, m + 1})
			continue
		}
		n, ok := parseNumber(a)
		switch {
		case !ok || n < 1:
			return nil, false
		case n <= 31:
			parts = append(parts, part{day, n})
		default:
			parts = append(parts, part{year, n})
		}
	}
	return parts, true
}

// dateRange: a day of the month, a month or a year, or two of the same form, or two
// ends of day and month, month and year, or all three.
func (w world) dateRange(args []any) any {
	args, now := w.clock(args)
	parts, ok := dateParts(args)
	if !ok || len(parts) == 0 || len(parts) > 6 || len(parts) > 1 && len(parts)%2 != 0 {
		return false
	}
	n := max(1, len(parts)/2)
	from, to := parts[:n], parts[len(parts)-n:]
	today := []part{{day, now.Day()}, {month, int(now.Month())}, {year, now.Year()}}
	today = slices.DeleteFunc(today, func(p part) bool { return !has(from, p.weight) })
	if len(today) != n || has(from, day) && has(from, year) && !has(from, month) {
		return false // one of them twice, or days of no month
	}
	for _, p := range today {
		if !has(to, p.weight) {
			return false
		}
	}
	a, b, c := byWeight(from), byWeight(to), byWeight(today)
	if has(from, year) && slices.Compare(a, b) > 0 {
		return false // years do not go around
	}
	return within(c, a, b)
}

func has(parts []part, weight int) bool {
	return slices.ContainsFunc(parts, func(p part) bool { return p.weight == weight })
}

func byWeight(parts []part) []int {
	sorted := slices.Clone(parts)
	slices.SortFunc(sorted, func(a, b part) int { return cmp.Compare(b.weight, a.weight) })
	list := make([]int, len(sorted))
	for i, p := range sorted {
		list[i] = p.value
	}
	return list
}
