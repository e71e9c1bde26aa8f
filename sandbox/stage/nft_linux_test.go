package stage

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/sandbox/spec"
)

// TestRulesAreTheLibrarys compares every message of the transaction with what
// google/nftables makes of the same rules. Only the flags of a message differ:
// the library wants each answered.
func TestRulesAreTheLibrarys(t *testing.T) {
	var want []netlink.Message
	c, err := nftables.New(nftables.WithTestDial(func(sent []netlink.Message) ([]netlink.Message, error) {
		want = append(want, sent...)
		return nil, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: spec.TableName})
	drop, accept := nftables.ChainPolicyDrop, nftables.ChainPolicyAccept
	out := c.AddChain(&nftables.Chain{Name: "redirect", Table: table, Type: nftables.ChainTypeNAT, Policy: &accept,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest})
	in := c.AddChain(&nftables.Chain{Name: "refuse", Table: table, Type: nftables.ChainTypeFilter, Policy: &drop,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
	c.AddChain(&nftables.Chain{Name: "forward", Table: table, Type: nftables.ChainTypeFilter, Policy: &drop,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
	rule := func(chain *nftables.Chain, exprs ...expr.Any) {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
	}
	ok := &expr.Verdict{Kind: expr.VerdictAccept}
	proto := func(p byte) []expr.Any {
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p}}}
	}
	redirect := func(port uint16) []expr.Any {
		return []expr.Any{&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
			&expr.Redir{RegisterProtoMin: 1, RegisterProtoMax: 1, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED}}
	}
	for _, p := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		rule(out, append(append(proto(p), &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(53)}), redirect(spec.DNSPort)...)...)
	}
	v4, v6 := netname.SandboxV4, netname.SandboxV6
	loop6 := append(make([]byte, 15), 1)
	daddr := func(family byte, offset uint32, mask, want []byte) []expr.Any {
		size := uint32(len(mask))
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: mask, Xor: make([]byte, size)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: want}, ok,
		}
	}
	all6 := bytes.Repeat([]byte{255}, 16)
	own := [][]expr.Any{
		daddr(unix.NFPROTO_IPV4, 16, []byte{255, 0, 0, 0}, []byte{127, 0, 0, 0}), daddr(unix.NFPROTO_IPV6, 24, all6, loop6),
		daddr(unix.NFPROTO_IPV4, 16, []byte{255, 255, 255, 255}, v4.AsSlice()), daddr(unix.NFPROTO_IPV6, 24, all6, v6.AsSlice()),
	}
	for _, o := range own {
		rule(out, o...)
	}
	rule(out, append(proto(unix.IPPROTO_TCP), redirect(spec.RedirectPort)...)...)
	for _, ct := range []struct {
		key  expr.CtKey
		bits uint32
	}{{expr.CtKeySTATE, expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED}, {expr.CtKeySTATUS, 1 << 5}} {
		rule(in, &expr.Ct{Key: ct.key, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(ct.bits), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)}, ok)
	}
	for _, o := range own {
		rule(in, o...)
	}
	rule(in, &expr.Limit{Type: expr.LimitTypePkts, Rate: 50, Unit: expr.LimitTimeSecond, Burst: 100},
		&expr.Log{Key: 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_SNAPLEN, Group: spec.RefusedGroup, Snaplen: 128})
	rule(in, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH})
	_ = c.Flush() // nobody answers

	got := rules(v4, v6)
	for i, w := range want {
		if len(got) < unix.SizeofNlMsghdr {
			t.Fatalf("message %d of %d is missing", i, len(want))
		}
		size := binary.NativeEndian.Uint32(got)
		if typ := binary.NativeEndian.Uint16(got[4:]); typ != uint16(w.Header.Type) {
			t.Errorf("message %d: type %x, the library's %x", i, typ, w.Header.Type)
		}
		if data := got[unix.SizeofNlMsghdr:size]; !bytes.Equal(data, w.Data) {
			t.Errorf("message %d:\n%x\nthe library's:\n%x", i, data, w.Data)
		}
		got = got[size:]
	}
	if len(want) == 0 || len(got) > 0 {
		t.Errorf("the library sent %d messages; %d bytes more are here", len(want), len(got))
	}
}
