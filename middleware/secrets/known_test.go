package secrets

import (
	"fmt"
	"math/rand/v2"

	"github.com/creel-run/creel/secret"
)

// someKnown gives values that look like API keys, drawn anew in each process.
func someKnown(n int) []Known {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	var list []Known
	for i := range n {
		b := make([]byte, 40)
		for i := range b {
			b[i] = letters[rand.IntN(len(letters))]
		}
		list = append(list, Known{fmt.Sprintf("provider-%d/key", i), secret.New("key-" + string(b))})
	}
	return list
}
