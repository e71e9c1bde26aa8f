package audit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
)

// Read gives the events of a log in its order, without checking the chain: that
// is Verify's. A line that is no event, and a torn last line, end it with an
// error.
func Read(r io.Reader) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		for n := 1; ; n++ {
			line, size, end, err := readLine(in)
			if err == nil && end && size == 0 {
				return
			}
			var e Event
			switch {
			case err != nil:
				err = fmt.Errorf("read audit log: %w", err)
			case end:
				err = fmt.Errorf("read audit log: line %d has no end", n)
			default:
				if err = json.Unmarshal(line, &e); err != nil {
					err = fmt.Errorf("read audit log: line %d: %w", n, err)
				}
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}
