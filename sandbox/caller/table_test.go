package caller

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func named(path string) Caller { return Caller{Known: true, PID: 7, Binary: path, Dev: 1, Ino: 2} }

func TestTable(t *testing.T) {
	start := time.Unix(1000, 0)
	var tab table
	if c := tab.take(1, start); c.Known {
		t.Fatalf("an empty table knows %+v", c)
	}
	tab.put(1, named("/a"), start)
	tab.put(2, named("/b"), start.Add(time.Second))
	if c := tab.take(1, start.Add(entryLife)); c.Binary != "/a" {
		t.Errorf("at the end of its life: %+v", c)
	}
	if c := tab.take(1, start); c.Known {
		t.Errorf("taken twice: %+v", c)
	}
	if c := tab.take(2, start.Add(entryLife+2*time.Second)); c.Known {
		t.Errorf("after its life: %+v", c)
	}

	tab.put(3, named("/a"), start)
	tab.put(3, named("/a"), start) // the same program may ask again
	if c := tab.take(3, start); !c.Known {
		t.Error("the same program twice is unknown")
	}
	for _, second := range []Caller{named("/b"), {}, {Known: true, Binary: "/a", Dev: 1, Ino: 3}} {
		tab.put(4, named("/a"), start)
		tab.put(4, second, start)
		tab.put(4, named("/a"), start) // and nobody can claim it back
		if c := tab.take(4, start); !reflect.DeepEqual(c, Caller{}) {
			t.Errorf("shared with %+v: %+v", second, c)
		}
	}
	tab.put(5, named("/a"), start)
	tab.drop(5)
	if c := tab.take(5, start); c.Known || tab.text != 0 || len(tab.byID) != 0 {
		t.Errorf("after drop: %+v, %d bytes, %d entries", c, tab.text, len(tab.byID))
	}
}

func TestTableIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	var tab table
	for i := range uint64(2 * maxEntries) {
		tab.put(i, named("/a"), now)
	}
	if len(tab.byID) != maxEntries || tab.order.Len() != maxEntries {
		t.Errorf("%d entries", len(tab.byID))
	}
	if tab.take(0, now).Known || !tab.take(2*maxEntries-1, now).Known {
		t.Error("the oldest did not go first")
	}
	long := named(strings.Repeat("x", 4096))
	for i := range 64 {
		long.Ancestors = append(long.Ancestors, fmt.Sprintf("%4096d", i))
	}
	for i := range uint64(maxEntries) {
		tab.put(1<<32+i, long, now)
		if tab.text > maxText {
			t.Fatalf("%d bytes of text", tab.text)
		}
	}
	if !tab.take(1<<32+maxEntries-1, now).Known {
		t.Error("the newest is gone")
	}
}

func FuzzParseAnswer(f *testing.F) {
	local, remote := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")
	good := make([]byte, nlmsgHeader+diagResponse)
	ne := binary.NativeEndian
	ne.PutUint32(good, uint32(len(good)))
	ne.PutUint16(good[4:], sockDiagByFamily)
	ne.PutUint32(good[8:], 7)
	good[nlmsgHeader] = familyInet
	id := good[nlmsgHeader+4:]
	binary.BigEndian.PutUint16(id, 1)
	binary.BigEndian.PutUint16(id[2:], 2)
	copy(id[4:], local.Addr().AsSlice())
	copy(id[20:], remote.Addr().AsSlice())
	ne.PutUint64(id[40:], 42)
	if cookie, again, err := parseAnswer(good, 7, local, remote); cookie != 42 || again || err != nil {
		f.Fatalf("parseAnswer = %d, %v, %v", cookie, again, err)
	}
	if _, again, _ := parseAnswer(good, 8, local, remote); !again {
		f.Fatal("the answer to another query was taken")
	}
	if _, _, err := parseAnswer(good, 7, remote, local); err == nil {
		f.Fatal("another socket was taken")
	}
	f.Add(good)
	f.Add(good[:nlmsgHeader])
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := parseAnswer(b, 7, local, remote); err == nil && len(b) < len(good) {
			t.Fatalf("took %x", b)
		}
	})
}
