package stage

import (
	"encoding/binary"
	"net/netip"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// rules is the transaction that installs the sandbox's rules:
//
//	output (nat):   port 53 → DNS listener; own loopback accepted; TCP → listener
//	input (filter): own loopback, replies and redirected packets accepted; the
//	                rest logged to spec.RefusedGroup and refused
//
// The order is that of kernel-notes 11. Refusal stands in the input hook, where
// it gives ECONNREFUSED at once (in output it gives EPERM). Here every address
// is local, so "own loopback" is spelled out and never asked of the fib.
//
// The bytes are Creel's own because the library that has them opens its own
// socket; a test compares them with the library's. The kernel takes the batch as
// one: it answers the last rule, or the first that is wrong.
func rules(v4, v6 netip.Addr) []byte {
	own := []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
		netip.PrefixFrom(v4, v4.BitLen()), netip.PrefixFrom(v6, v6.BitLen()),
	}
	t := &transaction{m: make(message, 0, 8<<10)}
	t.control(unix.NFNL_MSG_BATCH_BEGIN)
	t.table()
	t.chain("redirect", "nat", unix.NF_INET_LOCAL_OUT, -100, nfAccept) // priority: NF_IP_PRI_NAT_DST
	t.chain("refuse", "filter", unix.NF_INET_LOCAL_IN, 0, nfDrop)
	t.chain("forward", "filter", unix.NF_INET_FORWARD, 0, nfDrop)

	for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		t.rule("redirect", l4proto(proto), dport(53), redirect(spec.DNSPort))
	}
	for _, p := range own {
		t.rule("redirect", daddr(p), accept)
	}
	t.rule("redirect", l4proto(unix.IPPROTO_TCP), redirect(spec.RedirectPort))

	t.rule("refuse", ctBits(unix.NFT_CT_STATE, ctEstablished|ctRelated), accept)
	t.rule("refuse", ctBits(unix.NFT_CT_STATUS, ctDstNAT), accept)
	for _, p := range own {
		t.rule("refuse", daddr(p), accept)
	}
	t.rule("refuse", logRefused)
	t.rule("refuse", reject)
	binary.NativeEndian.PutUint16(t.m[t.last+6:], ruleFlags|unix.NLM_F_ACK)
	t.control(unix.NFNL_MSG_BATCH_END)
	return t.m
}

// Bits of a connection's state and status (linux/netfilter/nf_tables.h,
// nf_conntrack_common.h).
const (
	ctEstablished = 1 << 1
	ctRelated     = 1 << 2
	ctDstNAT      = 1 << 5 // IPS_DST_NAT: the nat chain rewrote the destination
)

// Verdicts (linux/netfilter.h).
const (
	nfDrop   = 0
	nfAccept = 1
)

const ruleFlags = unix.NLM_F_REQUEST | unix.NLM_F_CREATE | unix.NLM_F_APPEND

// transaction is a batch of nftables messages.
type transaction struct {
	m    message
	last int // where the last message begins
}

func (t *transaction) add(typ, flags uint16, family byte, resource uint16, fill func(message) message) {
	t.last = len(t.m)
	t.m = begin(t.m, typ, flags, []byte{family, unix.NFNETLINK_V0, byte(resource >> 8), byte(resource)})
	if fill != nil {
		t.m = fill(t.m)
	}
	t.m = t.m.end(t.last)
}

func (t *transaction) control(typ uint16) {
	t.add(typ, unix.NLM_F_REQUEST, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
}

func (t *transaction) nft(typ, flags uint16, fill func(message) message) {
	t.add(unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags, unix.NFPROTO_INET, 0, fill)
}

func (t *transaction) table() {
	t.nft(unix.NFT_MSG_NEWTABLE, unix.NLM_F_REQUEST|unix.NLM_F_CREATE, func(m message) message {
		return m.text(unix.NFTA_TABLE_NAME, spec.TableName).be32(unix.NFTA_TABLE_FLAGS, 0)
	})
}

func (t *transaction) chain(name, typ string, hook uint32, priority int32, policy uint32) {
	t.nft(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_REQUEST|unix.NLM_F_CREATE, func(m message) message {
		m = m.text(unix.NFTA_CHAIN_TABLE, spec.TableName).text(unix.NFTA_CHAIN_NAME, name)
		m = m.nest(unix.NFTA_CHAIN_HOOK, func(m message) message {
			return m.be32(unix.NFTA_HOOK_HOOKNUM, hook).be32(unix.NFTA_HOOK_PRIORITY, uint32(priority))
		})
		return m.be32(unix.NFTA_CHAIN_POLICY, policy).text(unix.NFTA_CHAIN_TYPE, typ)
	})
}

// part is one or more expressions of a rule.
type part func(message) message

func (t *transaction) rule(chain string, parts ...part) {
	t.nft(unix.NFT_MSG_NEWRULE, ruleFlags, func(m message) message {
		m = m.text(unix.NFTA_RULE_TABLE, spec.TableName).text(unix.NFTA_RULE_CHAIN, chain)
		return m.nest(unix.NFTA_RULE_EXPRESSIONS, func(m message) message {
			for _, p := range parts {
				m = p(m)
			}
			return m
		})
	})
}

// expression appends one expression with its attributes.
func expression(m message, name string, fill func(message) message) message {
	return m.nest(unix.NFTA_LIST_ELEM, func(m message) message {
		return m.text(unix.NFTA_EXPR_NAME, name).nest(unix.NFTA_EXPR_DATA, fill)
	})
}

// register is the one that every expression here reads and writes.
const register = unix.NFT_REG_1

func value(typ uint16, v []byte) func(message) message {
	return func(m message) message {
		return m.nest(typ, func(m message) message { return m.attr(unix.NFTA_DATA_VALUE, v) })
	}
}

func meta(m message, key uint32) message {
	return expression(m, "meta", func(m message) message {
		return m.be32(unix.NFTA_META_KEY, key).be32(unix.NFTA_META_DREG, register)
	})
}

func compare(m message, op uint32, v []byte) message {
	return expression(m, "cmp", func(m message) message {
		return value(unix.NFTA_CMP_DATA, v)(m.be32(unix.NFTA_CMP_SREG, register).be32(unix.NFTA_CMP_OP, op))
	})
}

func payload(m message, base, offset, size uint32) message {
	return expression(m, "payload", func(m message) message {
		return m.be32(unix.NFTA_PAYLOAD_DREG, register).be32(unix.NFTA_PAYLOAD_BASE, base).
			be32(unix.NFTA_PAYLOAD_OFFSET, offset).be32(unix.NFTA_PAYLOAD_LEN, size)
	})
}

func mask(m message, bits []byte) message {
	return expression(m, "bitwise", func(m message) message {
		m = m.be32(unix.NFTA_BITWISE_SREG, register).be32(unix.NFTA_BITWISE_DREG, register).be32(unix.NFTA_BITWISE_LEN, uint32(len(bits)))
		return value(unix.NFTA_BITWISE_XOR, make([]byte, len(bits)))(value(unix.NFTA_BITWISE_MASK, bits)(m))
	})
}

func l4proto(p byte) part {
	return func(m message) message {
		return compare(meta(m, unix.NFT_META_L4PROTO), unix.NFT_CMP_EQ, []byte{p})
	}
}

func dport(port uint16) part {
	return func(m message) message {
		return compare(payload(m, unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2), unix.NFT_CMP_EQ, binary.BigEndian.AppendUint16(nil, port))
	}
}

func redirect(port uint16) part {
	return func(m message) message {
		m = expression(m, "immediate", func(m message) message {
			return value(unix.NFTA_IMMEDIATE_DATA, binary.BigEndian.AppendUint16(nil, port))(m.be32(unix.NFTA_IMMEDIATE_DREG, register))
		})
		return expression(m, "redir", func(m message) message {
			return m.be32(unix.NFTA_REDIR_REG_PROTO_MIN, register).be32(unix.NFTA_REDIR_REG_PROTO_MAX, register).
				be32(unix.NFTA_REDIR_FLAGS, unix.NF_NAT_RANGE_PROTO_SPECIFIED)
		})
	}
}

func daddr(p netip.Prefix) part {
	family, offset, size := byte(unix.NFPROTO_IPV4), uint32(16), uint32(4)
	if p.Addr().Is6() {
		family, offset, size = unix.NFPROTO_IPV6, 24, 16
	}
	bits := make([]byte, size)
	for i := range p.Bits() {
		bits[i/8] |= 0x80 >> (i % 8)
	}
	return func(m message) message {
		m = compare(meta(m, unix.NFT_META_NFPROTO), unix.NFT_CMP_EQ, []byte{family})
		m = mask(payload(m, unix.NFT_PAYLOAD_NETWORK_HEADER, offset, size), bits)
		return compare(m, unix.NFT_CMP_EQ, p.Masked().Addr().AsSlice())
	}
}

// ctBits matches when a field of the connection has one of the bits.
func ctBits(key, bits uint32) part {
	return func(m message) message {
		m = expression(m, "ct", func(m message) message {
			return m.be32(unix.NFTA_CT_KEY, key).be32(unix.NFTA_CT_DREG, register)
		})
		return compare(mask(m, binary.NativeEndian.AppendUint32(nil, bits)), unix.NFT_CMP_NEQ, make([]byte, 4))
	}
}

func accept(m message) message {
	return expression(m, "immediate", func(m message) message {
		return m.be32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT).nest(unix.NFTA_IMMEDIATE_DATA, func(m message) message {
			return m.nest(unix.NFTA_DATA_VERDICT, func(m message) message { return m.be32(unix.NFTA_VERDICT_CODE, nfAccept) })
		})
	})
}

// logRefused copies the headers of refused packets to the supervisor, bounded,
// so that a flood cannot fill the audit.
func logRefused(m message) message {
	const (
		rate, burst = 50, 100 // packets per second
		snap        = 128     // IPv6 header with options and the ports
	)
	m = expression(m, "limit", func(m message) message {
		m = m.attr(unix.NFTA_LIMIT_RATE, binary.BigEndian.AppendUint64(nil, rate)).attr(unix.NFTA_LIMIT_UNIT, binary.BigEndian.AppendUint64(nil, 1))
		return m.be32(unix.NFTA_LIMIT_BURST, burst).be32(unix.NFTA_LIMIT_TYPE, unix.NFT_LIMIT_PKTS).be32(unix.NFTA_LIMIT_FLAGS, 0)
	})
	return expression(m, "log", func(m message) message {
		return m.attr(unix.NFTA_LOG_GROUP, binary.BigEndian.AppendUint16(nil, spec.RefusedGroup)).be32(unix.NFTA_LOG_SNAPLEN, snap)
	})
}

func reject(m message) message {
	return expression(m, "reject", func(m message) message {
		return m.be32(unix.NFTA_REJECT_TYPE, unix.NFT_REJECT_ICMPX_UNREACH).attr(unix.NFTA_REJECT_ICMP_CODE, []byte{unix.NFT_REJECT_ICMPX_PORT_UNREACH})
	})
}
