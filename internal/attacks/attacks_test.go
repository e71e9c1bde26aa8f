package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// event is one line of `go test -json`.
func event(test, text string) string {
	return fmt.Sprintf("{\"Action\":\"output\",\"Test\":%q,\"Output\":%q}\n", test, text+"\n")
}

func TestJudge(t *testing.T) {
	list, err := parseList("# about\nNAM-01 suffix\nNAM-02 prefix\nNAM-03 NUL\nDNS-01 labels\nKRN-02 mounts\nKRN-04 calls\nCTL-01 tunnel\nFS-01 links\n")
	if err != nil {
		t.Fatal(err)
	}
	threats := parseThreats("| NAM-01 | a | held | `x_test.go` |\n| NAM-02 | b | held | `x_test.go` |\n| CTL-01 | c | absent | no gateway |\n| KRN-02 | d | partly | not all |\n")
	got, err := readTests(strings.NewReader(
		event("TestA/root/escape_NAM-01", "    f_test.go:1: escape NAM-01 way=connect user=root") +
			event("TestA/root/escape_NAM-01", "    --- PASS: TestA/root/escape_NAM-01 (0.1s)") +
			event("TestA/user", "    f_test.go:2: escape NAM-01 way=absolute user=ordinary") +
			event("TestA/user", "            --- PASS: TestA/escape_NAM-01 (0.1s)") +
			event("TestA/root/escape_DNS-01", "    --- PASS: TestA/root/escape_DNS-01-more (0.1s)") +
			event("TestA/user", "            --- FAIL: TestA/escape_DNS-01-more (0.1s)") +
			event("TestA/root/escape_KRN-02_KRN-04", "--- PASS: TestA/root/escape_KRN-02_KRN-04 (0.1s)") +
			event("TestA/user", "            --- PASS: TestA/escape_KRN-02_KRN-04 (0.1s)") +
			event("TestA/root/escape_FS-01", "--- PASS: TestA/root/escape_FS-01 (0.1s)") +
			"{\"Action\":\"fail\",\"Test\":\"TestA/user\"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	all := judge(list, threats, got, nil)
	for _, r := range all {
		told = append(told, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.ID, r.Result, strings.Join(r.Ways, ","))))
	}
	want := []string{"NAM-01 pass absolute,connect", "NAM-02 missing", "NAM-03 missing", "DNS-01 fail", "KRN-02 pass", "KRN-04 pass", "CTL-01 absent", "FS-01 fail"}
	if !slices.Equal(told, want) {
		t.Errorf("got  %q\nwant %q", told, want)
	}
	if !bad(all) || !got.bad || !strings.Contains(got.log.String(), "DNS-01") {
		t.Errorf("bad %v, tests bad %v, log %q", bad(all), got.bad, got.log.String())
	}
	if all[4].Reason != "not all" || all[6].Reason != "no gateway" {
		t.Errorf("reasons: %+v", all)
	}
}

// TestWays: a line that was not tried on every way in fails, unless it is excused.
func TestWays(t *testing.T) {
	list, err := parseList("DNS-01 labels\nDNS-03 resolver\nNAM-01 suffix\n")
	if err != nil {
		t.Fatal(err)
	}
	excused, err := parseWays("# about\nDNS-03 by no proxy\n", list)
	if err != nil {
		t.Fatal(err)
	}
	tried := func(ways ...string) *outcome {
		return &outcome{passed: []string{"user"}, ways: ways, tests: []string{"TestA"}}
	}
	got := &tests{users: []string{"user"}, lines: map[string]*outcome{"DNS-01": tried("absolute", "cleared", "transparent"), "DNS-03": tried("cleared"), "NAM-01": tried()}}
	all := judge(list, nil, got, excused)
	if all[0].Result != fail || all[0].Reason != "not tried by connect" || all[1].Result != pass || all[2].Result != pass {
		t.Errorf("%+v", all)
	}
	got.lines["DNS-01"] = tried("absolute", "cleared", "connect", "transparent")
	if all = judge(list, nil, got, excused); all[0].Result != pass {
		t.Errorf("%+v", all)
	}
	for _, text := range []string{"DNS-03\n", "DNS-03 \n", "DNS-99 x\n", "DNS-03 x\nDNS-03 y\n", "\n"} {
		if _, err := parseWays(text, list); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// TestCatalogue: the list of the repository is the catalogue's.
func TestCatalogue(t *testing.T) {
	text, err := os.ReadFile("../../testdata/attacks.txt")
	if err != nil {
		t.Fatal(err)
	}
	list, err := parseList(string(text))
	if err != nil || len(list) < 100 {
		t.Fatalf("%d lines, %v", len(list), err)
	}
	ways, err := os.ReadFile("../../testdata/attack-ways.txt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseWays(string(ways), list); err != nil {
		t.Error(err)
	}
	if faults := difference(list[1:], "- **"+list[0].id+" x**\n"); len(faults) != len(list) {
		t.Errorf("a difference is not seen: %q", faults)
	}
	shared, err := os.ReadFile("../../" + sharedCatalogue)
	if err != nil {
		return // it lies beside the checkouts of those who keep it
	}
	if faults := difference(list, string(shared)); len(faults) > 0 {
		t.Errorf("%q", faults)
	}
}
