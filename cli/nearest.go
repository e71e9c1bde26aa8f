package cli

import "strings"

// nearest returns the known word that word was probably meant to be: one that
// it begins, or the one with the least edits if they are few for its length.
func nearest(word string, known []string) (string, bool) {
	const longest = 64 // bytes; what is longer is no misspelt command
	if word == "" || len(word) > longest {
		return "", false
	}
	best, bestCost := "", 1+max(1, len(word)/3)
	for _, k := range known {
		cost := edits(word, k)
		if strings.HasPrefix(k, word) {
			cost = 0
		}
		if cost < bestCost {
			best, bestCost = k, cost
		}
	}
	return best, best != ""
}

// edits is the number of bytes to put in, take out, change or swap with the
// next (optimal string alignment).
func edits(a, b string) int {
	two := make([]int, len(b)+1) // the row before the last
	last := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, last, row = last, row, two
	}
	return last[len(b)]
}
