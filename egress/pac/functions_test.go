package pac

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// a Wednesday in summer, in a zone two hours east
var noon = time.Date(2026, time.July, 15, 12, 30, 15, 0, time.FixedZone("", 2*3600))

func testWorld() world {
	names := map[string][]string{
		"in.corp.test": {"10.1.2.3"}, "both.test": {"2001:db8::7", "192.0.2.7"}, "six.test": {"2001:db8::8"},
	}
	return world{now: noon, me: []netip.Addr{netip.MustParseAddr("10.9.8.7"), netip.MustParseAddr("2001:db8::9")}, lookup: func(name string) (list []netip.Addr) {
		for _, a := range names[name] {
			list = append(list, netip.MustParseAddr(a))
		}
		return list
	}}
}

// TestFunctions: what the format's functions give, by its documentation and as browsers read it.
func TestFunctions(t *testing.T) {
	cases := map[string]string{
		`isPlainHostName("www")`: "true", `isPlainHostName("www.corp.test")`: "false", `isPlainHostName("::1")`: "false", `isPlainHostName()`: "false", `isPlainHostName(7)`: "false",
		`dnsDomainIs("www.corp.test", ".corp.test")`: "true", `dnsDomainIs("www.corp.test", ".org.test")`: "false", `dnsDomainIs("www", ".corp.test")`: "false", `dnsDomainIs("corp.test", "www.corp.test")`: "false",
		`localHostOrDomainIs("www.corp.test", "www.corp.test")`: "true", `localHostOrDomainIs("www", "www.corp.test")`: "true", `localHostOrDomainIs("www.other.test", "www.corp.test")`: "false", `localHostOrDomainIs("home.corp.test", "www.corp.test")`: "false", `localHostOrDomainIs("ww", "www.corp.test")`: "false",
		`dnsDomainLevels("www")`: "0", `dnsDomainLevels("www.corp.test")`: "2",

		`shExpMatch("http://home.corp.test/people/ari/index.html", "*/ari/*")`: "true", `shExpMatch("http://home.corp.test/people/montulli/index.html", "*/ari/*")`: "false",
		`shExpMatch("www.corp.test", "*.corp.test")`: "true", `shExpMatch("corp.test", "*.corp.test")`: "false", `shExpMatch("wwwxcorp.test", "*.corp.test")`: "false",
		`shExpMatch("abc", "a?c")`: "true", `shExpMatch("ac", "a?c")`: "false", `shExpMatch("", "*")`: "true", `shExpMatch("a", "")`: "false", `shExpMatch("a.b", "a.b**")`: "true", `shExpMatch("a[1]", "a[1]")`: "true", `shExpMatch("a1", "a[1]")`: "false", `shExpMatch("aXbXc", "a*b*c")`: "true",

		`isResolvable("in.corp.test")`: "true", `isResolvable("no.test")`: "false", `isResolvable("six.test")`: "false",
		`dnsResolve("in.corp.test")`: "10.1.2.3", `dnsResolve("both.test")`: "192.0.2.7", `dnsResolve("192.0.2.1")`: "192.0.2.1", `dnsResolve("no.test")`: "null", `dnsResolve("six.test")`: "null",
		`isInNet("in.corp.test", "10.0.0.0", "255.0.0.0")`: "true", `isInNet("198.95.249.79", "198.95.249.79", "255.255.255.255")`: "true", `isInNet("198.95.6.8", "198.95.0.0", "255.255.0.0")`: "true", `isInNet("198.96.6.8", "198.95.0.0", "255.255.0.0")`: "false",
		`isInNet("10.1.2.3", "10.9.2.9", "255.0.255.0")`: "true", `isInNet("no.test", "0.0.0.0", "0.0.0.0")`: "false", `isInNet("10.1.2.3", "10.0.0.0")`: "false", `isInNet("10.1.2.3", "10.0.0.0/8", "255.0.0.0")`: "false", `isInNet("2001:db8::1", "10.0.0.0", "255.0.0.0")`: "false",
		`convert_addr("104.16.41.2")`: "1745889538", `convert_addr("x")`: "0", `myIpAddress()`: "10.9.8.7",

		`dnsResolveEx("both.test")`: "2001:db8::7;192.0.2.7", `dnsResolveEx("no.test")`: "", `isResolvableEx("six.test")`: "true", `isResolvableEx("no.test")`: "false",
		`isInNetEx("six.test", "2001:db8::/32")`: "true", `isInNetEx("10.1.2.3", "10.0.0.0/8")`: "true", `isInNetEx("six.test", "10.0.0.0/8")`: "false", `isInNetEx("six.test", "x")`: "false",
		`myIpAddressEx()`: "10.9.8.7;2001:db8::9", `sortIpAddressList("10.2.3.9;2001:4898:28:3::1;::1;10.1.1.1")`: "::1;2001:4898:28:3::1;10.1.1.1;10.2.3.9", `sortIpAddressList("x;1.2.3.4")`: "false", `getClientVersion()`: "1.0", `alert("x")`: "null",

		`weekdayRange("WED")`: "true", `weekdayRange("wed")`: "true", `weekdayRange("THU")`: "false", `weekdayRange("MON", "FRI")`: "true", `weekdayRange("FRI", "MON")`: "false", `weekdayRange("SAT", "WED")`: "true", `weekdayRange("WED", "GMT")`: "true", `weekdayRange("XXX")`: "false", `weekdayRange()`: "false", `weekdayRange("MON","TUE","WED")`: "false",

		`timeRange(12)`: "true", `timeRange(13)`: "false", `timeRange(10, "GMT")`: "true", `timeRange(12, "GMT")`: "false", `timeRange(9, 12)`: "true", `timeRange(9, 11)`: "false", `timeRange(22, 6)`: "false", `timeRange(22, 13)`: "true", `timeRange(0, 24)`: "true",
		`timeRange(12, 30, 12, 30)`: "true", `timeRange(12, 31, 13, 0)`: "false", `timeRange(8, 30, 17, 0)`: "true", `timeRange(12, 30, 15, 12, 30, 15)`: "true", `timeRange(12, 30, 16, 12, 31, 0)`: "false", `timeRange(10, 0, 0, 10, 59, 59, "GMT")`: "true",
		`timeRange("12")`: "true", `timeRange()`: "false", `timeRange(25)`: "false", `timeRange(12, 60, 13, 0)`: "false", `timeRange(1, 2, 3)`: "false", `timeRange(12.5)`: "false", `timeRange(NaN)`: "false", `timeRange({})`: "false", `timeRange(1,2,3,4,5,6,7,8)`: "false",

		`dateRange(15)`: "true", `dateRange(14)`: "false", `dateRange(1, 15)`: "true", `dateRange(16, 20)`: "false", `dateRange(28, 15)`: "true", `dateRange("JUL")`: "true", `dateRange("AUG")`: "false", `dateRange("JUN", "AUG")`: "true", `dateRange("NOV", "FEB")`: "false", `dateRange("NOV", "JUL")`: "true", `dateRange(2026)`: "true", `dateRange(2020, 2025)`: "false", `dateRange(2020, 2030)`: "true", `dateRange(2030, 2020)`: "false",
		`dateRange(1, "JUN", 15, "AUG")`: "true", `dateRange(16, "JUL", 15, "AUG")`: "false", `dateRange(24, "DEC", 15, "JUL")`: "true", `dateRange("JUN", 2026, "AUG", 2026)`: "true", `dateRange("OCT", 2025, "MAR", 2026)`: "false", `dateRange(1, "JUN", 2025, 15, "AUG", 2027)`: "true", `dateRange(1, "JUN", 2025, 14, "JUL", 2026)`: "false", `dateRange(15, "GMT")`: "true",
		`dateRange()`: "false", `dateRange(0)`: "false", `dateRange("JUN", 15, "XXX", 3)`: "false", `dateRange(1, 2, 3)`: "false", `dateRange(1, 1, 2, 2)`: "false", `dateRange(1, 2026, 2, 2027)`: "false", `dateRange(1, "JUN", "JUL", 2026)`: "false",

		// What is not given, or of another type, does not hold and throws nothing.
		`dnsResolve({toString: function() { return "in.corp.test" }})`: "false", `isInNet(null, null, null)`: "false", `dnsDomainIs("a", undefined)`: "false", `shExpMatch([], {})`: "false",
	}
	for expr, want := range cases {
		got, err := evaluate("function FindProxyForURL(url, host) { return String("+expr+") }", "https://a.test/", "a.test", testWorld())
		if err != nil || got != want {
			t.Errorf("%s gives %q %v, want %q", expr, got, err, want)
		}
	}
	tested := fmt.Sprint(cases)
	for name := range testWorld().functions() {
		if !strings.Contains(tested, name+"(") {
			t.Errorf("%s is not tested", name)
		}
	}
}

// TestMatchIsBounded: a pattern of stars costs the product of the lengths, not more.
func TestMatchIsBounded(t *testing.T) {
	if shellMatch(strings.Repeat("a", 20000), strings.Repeat("*a", 2000)+"b") {
		t.Error("it matched")
	}
}

// TestScripts: forms in which scripts are written.
func TestScripts(t *testing.T) {
	for script, want := range map[string]string{
		`function FindProxyForURL(url, host) { return url + " " + host }`:                                                    "https://a.test:8443/ a.test",
		"\ufefffunction FindProxyForURL() { return 'DIRECT' }":                                                               "DIRECT",
		`const FindProxyForURL = (url, host) => ` + "`PROXY ${host}:1`":                                                      "PROXY a.test:1",
		`var FindProxyForURL = function() { return ["PROXY p.test:1", "DIRECT"].join("; ") }`:                                "PROXY p.test:1; DIRECT",
		`var n = 0; function FindProxyForURL() { n++; return String(n) }`:                                                    "1", // of an engine of its own
		`String.prototype.toString = Object.keys; function FindProxyForURL() { return "DIRECT" }`:                            "DIRECT",
		`isPlainHostName = function() { return true }; function FindProxyForURL(u, h) { return String(isPlainHostName(h)) }`: "true", // it is the script's own loss
		"function FindProxyForURL() { return 'ä' }":                                                                          "ä",
	} {
		for range 2 {
			if got, err := evaluate(script, "https://a.test:8443/", "a.test", testWorld()); err != nil || got != want {
				t.Errorf("%s gives %q %v, want %q", script, got, err, want)
			}
		}
	}
	// A text that would end the literal in which it is handed over.
	hostile := "\"+alert()+\"\u2028\\\n'"
	if got, err := evaluate(`function FindProxyForURL(url, host) { return host }`, "https://a.test/", hostile, testWorld()); err != nil || got != hostile {
		t.Errorf("%q %v", got, err)
	}
}

// TestHostileScripts: each of them is an error within bounds, and no answer.
func TestHostileScripts(t *testing.T) {
	find := func(body string) string { return "function FindProxyForURL(url, host) { " + body + " }" }
	for script, want := range map[string]string{
		find(`for (;;);`): "interrupted",
		find(`while (true) try { for (;;); } catch (e) {}`): "interrupted",
		`for (;;);`: "interrupted",
		find(`return /(a+)+$/.test("a".repeat(64) + "b")`):                        "interrupted",
		find(`var a = []; for (;;) a.push("x".repeat(1 << 20) + a.length)`):       "out of memory",
		find(`return "x".repeat(1 << 29)`):                                        "out of memory",
		find(`return new Uint8Array(1 << 30)`):                                    "out of memory",
		find(`var s = "x"; for (;;) s += s`):                                      "string too long",
		find(`return FindProxyForURL(url, host) + 1`):                             "stack overflow",
		find(`return eval("[".repeat(1e5))`):                                      "stack overflow",
		find(`throw new Error("no\nway\u202e\x1b[31m")`):                          "FindProxyForURL: Error: no way [31m",
		find(`throw {toString: function() { for (;;); }}`):                        "FindProxyForURL: ",
		find(`throw "x".repeat(1e6)`):                                             "FindProxyForURL: xxx",
		find(`return "x".repeat(5000)`):                                           "too long a text",
		find(``):                                                                  "gives no text",
		find(`return null`):                                                       "gives no text",
		find(`return 7`):                                                          "gives no text",
		find(`return ["DIRECT"]`):                                                 "gives no text",
		find(`return new String("DIRECT")`):                                       "gives no text",
		find(`return {toString: function() { return "DIRECT" }}`):                 "gives no text",
		find(`return Promise.resolve("DIRECT")`):                                  "gives no text",
		`async ` + find(`return "DIRECT"`):                                        "gives no text",
		find(`return new Proxy({}, {get: function() { for (;;); }})`):             "",
		find(`return dnsResolve(new Proxy({}, {get: function() { for (;;); }}))`): "",
		`var FindProxyForURL = "DIRECT"`:                                          "no function",
		`function findProxyForURL() { return "DIRECT" }`:                          "no function",
		`function FindProxyForURL( {`:                                             "reading the script: SyntaxError",
		`throw 1`:                                                                 "reading the script: 1",
		``:                                                                        "no function",
		"\x00\xff":                                                                "reading the script",
		find(`return require("fs").readFileSync("/etc/passwd")`):                  "not defined",
		find(`return std.open("/etc/passwd", "r").readAsString()`):                "not defined",
		find(`new XMLHttpRequest()`):                                              "not defined",
		find(`fetch("https://a.test/")`):                                          "not defined",
		find(`import("std").then(function(m) { m.exit(1) })`):                     "gives no text",
	} {
		name := script[:min(len(script), 80)]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := evaluate(script, "https://a.test/", "a.test", testWorld())
			if err == nil || got != "" || !strings.Contains(err.Error(), want) {
				t.Errorf("%.80q gives %q %v, want an error with %q", script, got, err, want)
			}
			if err != nil && (len(err.Error()) > 300 || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' })) {
				t.Errorf("%.80q: the error is %q", script, err)
			}
		})
	}
}
