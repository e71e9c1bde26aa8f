package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// roleName is this program's part of B8: it asks the sandbox's name server.
const roleName = "name"

const nameQueries = 3000

// askNames prints the median and the 99th percentile of an answer, in µs: from the
// write of the query to the read of its answer, on one UDP socket. Every name is
// a new one, so that each answer assigns an address.
func askNames() int {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	server := ""
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "nameserver" {
			server = f[1]
			break
		}
	}
	c, err := net.Dial("udp", net.JoinHostPort(server, "53"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer c.Close()
	var took sample
	buf := make([]byte, 512)
	for i := range nameQueries {
		q, err := new(dns.Msg).SetQuestion(fmt.Sprintf("h%d.site.test.", i), dns.TypeA).Pack()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		begin := time.Now()
		if _, err := c.Write(q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		n, err := c.Read(buf)
		d := time.Since(begin)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		var answer dns.Msg
		if err := answer.Unpack(buf[:n]); err != nil || len(answer.Answer) != 1 {
			fmt.Fprintln(os.Stderr, "no address in the answer:", answer.String(), err)
			return 1
		}
		if i >= nameQueries/10 {
			took = append(took, float64(d.Nanoseconds())/1e3)
		}
	}
	fmt.Println(took.quantile(0.5), took.quantile(0.99))
	return 0
}

// names is B8: the answer of the sandbox's name server.
func (b *bench) names() *comparison {
	c := &comparison{
		id: "B8", title: "An answer of the sandbox's name server", unit: "µs", reference: "creel, median",
		target:     "p50 and p99 at most 200 µs; aim 50",
		conditions: fmt.Sprintf("Each round is %d queries for new names over one UDP socket, one after the other, from inside.", nameQueries),
	}
	users := b.users()
	w := users[len(users)-1]
	policy := b.policy("names.yaml", `version: 2
filesystem_policy:
  include_workdir: true
  read_only: [/usr, /etc, {path: /bin, optional: true}, {path: /lib, optional: true}, {path: /lib64, optional: true}, `+b.self+`]
network_policies:
  site:
    endpoints:
      - {host: "*.site.test", port: 443, protocol: tcp}
    binaries: any
`)
	b.quantiles(c, w, "creel", b.creel, "run", "--quiet", "--policy", policy, "--workspace", w.work(), "--", b.self, roleName)
	return c
}
