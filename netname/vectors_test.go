package netname

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/creel-run/creel/internal/vectors"
)

// Where Creel is stricter than the vectors, and why.
var classStricter = map[string]string{
	"ac-ip-fe7f__1": "unknown space is not public",
	"ac-ip-fec0__1": "unknown space is not public",
	"ac-ip-fbff__1": "unknown space is not public",
}

func TestVectorAddressClass(t *testing.T) {
	vectors.Run(t, "address_class", classStricter, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct {
			IP, CIDR, Host, Mode string
			AllowedIPs           []string `json:"allowed_ips"`
			CloudMetadataIP      string   `json:"cloud_metadata_ip"`
			Port                 *uint16
			Resolved, Allowed    []string
		}
		var want struct {
			Class         string
			StricterOK    bool `json:"stricter_ok"`
			Accepted      bool
			Permitted     bool
			Metadata      bool
			MetadataHost  bool `json:"metadata_host"`
			Error, Reason string
		}
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		switch {
		case in.IP != "" || in.CIDR != "":
			got := AlwaysBlocked
			if in.CIDR != "" {
				p, err := netip.ParsePrefix(in.CIDR)
				if err != nil {
					t.Fatal(err)
				}
				got = ClassifyPrefix(p)
			} else {
				a, err := netip.ParseAddr(in.IP)
				if err != nil {
					t.Fatal(err)
				}
				got = Classify(a)
			}
			w, ok := map[string]Class{"always_blocked": AlwaysBlocked, "internal": Internal, "public": Public}[want.Class]
			switch {
			case !ok:
				t.Fatalf("unknown class %q", want.Class)
			case got == w || got < w && want.StricterOK:
				return vectors.Same, got.String()
			case got < w:
				return vectors.Stricter, got.String()
			}
			return vectors.Wrong, got.String()
		case in.AllowedIPs != nil:
			_, err := ParseAllowed(in.AllowedIPs)
			return vectors.Bool(err == nil, want.Accepted), fmt.Sprint(err)
		case in.CloudMetadataIP != "":
			a, err := netip.ParseAddr(in.CloudMetadataIP)
			if err != nil {
				t.Fatal(err)
			}
			got := IsMetadataAddr(a)
			return vectors.Bool(!got, !want.Metadata), fmt.Sprint(got)
		case in.Port == nil:
			h, _ := ParseHost(in.Host) // an invalid host is no host, and so no metadata host
			got := IsMetadataHost(h)
			return vectors.Bool(!got, !want.MetadataHost), fmt.Sprint(got)
		}
		err := checkVector(t, in.Host, *in.Port, in.Mode, in.Resolved, in.Allowed)
		return vectors.Bool(err == nil, want.Permitted), fmt.Sprint(err)
	})
}

func checkVector(t *testing.T, host string, port uint16, mode string, resolved, allowed []string) error {
	t.Helper()
	h, err := ParseHost(host)
	if err != nil {
		return err
	}
	m, ok := map[string]DestinationMode{
		"default": DefaultMode, "declared_host": DeclaredHost,
		"allowed_ips": AllowedIPs, "literal_ip_host": LiteralIP,
	}[mode]
	if !ok {
		t.Fatalf("unknown mode %q", mode)
	}
	list, err := ParseAllowed(allowed)
	if err != nil {
		return err
	}
	var addrs []netip.Addr
	for _, s := range resolved {
		a, err := netip.ParseAddr(s)
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, a)
	}
	return Destination{Mode: m, Allowed: list}.Check(h, port, addrs)
}

const (
	noMatchFact = "the pattern is refused when the policy is loaded"
	noEmpty     = "names with empty labels or labels that begin with a hyphen are refused"
	noExpansion = "braces, ? and classes are refused in host patterns"
)

var matchStricter = map[string]string{
	"hm-009": noExpansion,
	"hm-014": noMatchFact,
	"hm-017": noMatchFact,
	"hm-018": noMatchFact,
	"hm-020": noMatchFact,
	"hm-021": noMatchFact,
	"hm-039": noEmpty,
	"hm-046": "the root dot is folded, and the folded name is the one that is dialled",
	"hm-075": noEmpty,
	"hm-081": noExpansion,
	"hm-085": noExpansion,
}

func TestVectorHostMatch(t *testing.T) {
	vectors.Run(t, "host_match", matchStricter, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct {
			Pattern, Host string
			UsedAs        string `json:"used_as"`
		}
		var want struct{ Match bool }
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		got, detail := false, ""
		switch in.UsedAs {
		case "middleware_selector":
			s, err := ParseSelector(in.Pattern)
			got, detail = s.MatchText(in.Host), fmt.Sprint(err)
		case "endpoint":
			p, err := ParsePattern(in.Pattern)
			h, herr := ParseHost(in.Host)
			got, detail = p.Match(h), fmt.Sprint(err, herr)
			if got && !want.Match && h.String()+"." == in.Host {
				return vectors.Permitted, "folded root dot"
			}
		default:
			t.Fatalf("unknown use %q", in.UsedAs)
		}
		return vectors.Bool(got, want.Match), fmt.Sprint(got, " ", detail)
	})
}

var validStricter = map[string]string{
	"hv-027": "covers every name of three labels",
	"hv-028": "covers nearly every name under the top-level domain",
	"hv-033": "a network is not a host, allowed_ips takes networks",
	"hv-034": "a port is not part of a host",
	"hv-035": "a URL is not a host",
	"hv-036": "a trailing dot never matches in version 1",
	"hv-037": "an empty label never matches",
	"hv-038": "a space never matches",
	"hv-041": noExpansion,
	"hv-042": noExpansion,
	"hv-043": noExpansion,
}

func TestVectorHostPatternValid(t *testing.T) {
	vectors.Run(t, "host_pattern_valid", validStricter, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct {
			Pattern string
			UsedAs  string `json:"used_as"`
		}
		var want struct{ Accepted bool }
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		var err error
		switch in.UsedAs {
		case "middleware_selector":
			_, err = ParseSelector(in.Pattern)
		case "endpoint":
			_, err = ParsePattern(in.Pattern)
		default:
			t.Fatalf("unknown use %q", in.UsedAs)
		}
		return vectors.Bool(err == nil, want.Accepted), fmt.Sprint(err)
	})
}
