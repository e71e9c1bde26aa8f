package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// roleLoad is this program's part of B4 and B5: the client.
const roleLoad = "load"

const (
	webHost = "web.bench.test"
	webPath = "/v1/items/7?fields=name"
	// webKey is what the inspected requests carry: the client sends it itself, but
	// for creel, which puts it in.
	webKey = "0123456789abcdef0123456789abcdef"

	loadConns  = 16
	loadTime   = 2 * time.Second
	loadWarmUp = 500 * time.Millisecond
)

// load asks for one small document over and over, and prints requests a second,
// the median and the 99th percentile of a request in ms.
func load(args []string) int {
	f := flag.NewFlagSet(roleLoad, flag.ExitOnError)
	to := f.String("to", "", "address that is dialled for the host, empty: what the name resolves to")
	port := f.Int("port", 443, "port of the server")
	proxy := f.String("proxy", "", "URL of a proxy")
	ask := f.String("ask", webHost, "host that is asked for, if it is another one than the server's certificate names")
	ca := f.String("ca", "", "file with what is trusted, empty: the system's")
	fresh := f.Bool("new", false, "every request on a connection of its own")
	key := f.String("key", "", "what Authorization holds")
	_ = f.Parse(args)
	figures, err := loadFigures(*to, *ask, *port, *proxy, *ca, *fresh, *key)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(figures[0], figures[1], figures[2])
	return 0
}

func loadFigures(to, ask string, port int, proxy, ca string, fresh bool, key string) ([3]float64, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: webHost} // no session cache: nothing is resumed
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return [3]float64{}, err
		}
		conf.RootCAs = x509.NewCertPool()
		conf.RootCAs.AppendCertsFromPEM(text)
	}
	t := &http.Transport{
		TLSClientConfig: conf, DisableKeepAlives: fresh, MaxIdleConnsPerHost: loadConns, MaxConnsPerHost: loadConns,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1, as every peer speaks it
	}
	if to != "" {
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, to)
		}
	}
	if proxy != "" {
		u, err := url.Parse(proxy)
		if err != nil {
			return [3]float64{}, err
		}
		t.Proxy = http.ProxyURL(u)
	}
	where := "https://" + net.JoinHostPort(ask, strconv.Itoa(port)) + webPath
	once := func() error {
		req, err := http.NewRequest(http.MethodGet, where, nil)
		if err != nil {
			return err
		}
		req.Host = net.JoinHostPort(webHost, strconv.Itoa(port))
		if key != "" {
			req.Header.Set("Authorization", key)
		}
		resp, err := t.RoundTrip(req)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err == nil && (resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"seven"`)) {
			err = fmt.Errorf("answer %d: %.300s", resp.StatusCode, body)
		}
		return err
	}
	if err := once(); err != nil {
		return [3]float64{}, err
	}
	var (
		mu    sync.Mutex
		took  sample
		fault error
		wg    sync.WaitGroup
	)
	from := time.Now().Add(loadWarmUp)
	until := from.Add(loadTime)
	for range loadConns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var own sample
			var err error
			for err == nil {
				begin := time.Now()
				if begin.After(until) {
					break
				}
				err = once()
				if end := time.Now(); begin.After(from) && end.Before(until) {
					own = append(own, float64(end.Sub(begin).Nanoseconds())/1e6)
				}
			}
			mu.Lock()
			took = append(took, own...)
			fault = errors.Join(fault, err)
			mu.Unlock()
		}()
	}
	wg.Wait()
	if fault != nil {
		return [3]float64{}, fault
	}
	return [3]float64{float64(len(took)) / loadTime.Seconds(), took.quantile(0.5), took.quantile(0.99)}, nil
}

// web is the server that B4 and B5 ask, with its own authority.
type web struct {
	port int
	ca   string // file
	stop func()
}

func (b *bench) serveWeb() (*web, error) {
	caKey, caCert, caDER, err := newCert(nil, nil, true)
	if err != nil {
		return nil, err
	}
	key, _, der, err := newCert(caKey, caCert, false)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.dir, "web-ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), 0o644); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	document, err := json.Marshal(map[string]any{"id": 7, "name": "seven", "note": strings.Repeat("x", 400)})
	if err != nil {
		return nil, err
	}
	s := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.RequestURI != webPath || r.Header.Get("Authorization") != "" && r.Header.Get("Authorization") != webKey {
				http.Error(w, "not what was meant", http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(document)
		}),
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13,
			NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: true,
		},
	}
	go func() { _ = s.ServeTLS(l, "", "") }()
	return &web{port: l.Addr().(*net.TCPAddr).Port, ca: file, stop: func() { _ = s.Close() }}, nil
}

// newCert makes a P-256 certificate: an authority, or a leaf for webHost.
func newCert(parentKey *ecdsa.PrivateKey, parent *x509.Certificate, authority bool) (*ecdsa.PrivateKey, *x509.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, nil, nil, err
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: webHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: []string{webHost},
	}
	if authority {
		c.Subject.CommonName, c.DNSNames = "creel bench", nil
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		parentKey, parent = key, c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return key, cert, der, err
}

// https are B4 and B5.
func (b *bench) https() ([]*comparison, func(), error) {
	w, err := b.serveWeb()
	if err != nil {
		return nil, nil, err
	}
	stops := []func(){w.stop}
	stop := func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
	}
	users := b.users()
	person := users[len(users)-1]
	port := strconv.Itoa(w.port)
	conditions := fmt.Sprintf("%d connections, a document of about 450 bytes, P-256, TLS 1.3, no resumption, HTTP/1.1; %v after %v of warming up. Client, proxy and server share the machine's processors. direct: the same client on the same server.", loadConns, loadTime, loadWarmUp)
	through := &comparison{id: "B4a", title: "HTTPS requests, passed through after the check of the server name", unit: "requests/s", reference: "direct",
		target: "at least 0.7 × direct", conditions: conditions}
	inspected := &comparison{id: "B4b", title: "HTTPS requests, inspected: method and path rules, one credential put in", unit: "requests/s", reference: "direct",
		target: "at least 0.4 × direct, and ahead of every peer; aim 0.6", conditions: conditions + " The peers open TLS and judge nothing, and record nothing."}
	fresh := &comparison{id: "B5", title: "New HTTPS connections, inspected", unit: "connections/s", reference: "direct",
		target: "at least 0.6 × direct; aim 0.8", conditions: conditions + " Every request has a connection of its own."}
	all := []*comparison{through, inspected, fresh}

	self := []string{b.self, roleLoad, "-port", port}
	args := func(more ...string) []string { return append(append([]string{}, self...), more...) }
	direct := args("-to", "127.0.0.1:"+port, "-ca", w.ca)
	b.rates(through, person, "direct", direct...)
	b.rates(inspected, person, "direct", append(direct, "-key", webKey)...)
	b.rates(fresh, person, "direct", append(direct, "-key", webKey, "-new")...)

	files := `version: 2
filesystem_policy:
  include_workdir: true
  read_only: [/usr, /etc, {path: /bin, optional: true}, {path: /lib, optional: true}, {path: /lib64, optional: true}, ` + b.self + `, ` + w.ca + `]
network_policies:
  web:
    endpoints:
      - {host: ` + webHost + `, port: ` + port
	relay := b.policy("web-through.yaml", files+`, protocol: tcp}
    binaries: [{path: `+b.self+`}]
`)
	judge := b.policy("web-inspected.yaml", files+`, protocol: rest, rules: [{allow: {method: GET, path: /v1/items/*}}, {allow: {method: POST, path: /v1/items}}]}
    binaries: [{path: `+b.self+`}]
`)
	secret := b.policy("web-key", webKey+"\n")
	creel := func(policy string, more ...string) []string {
		list := []string{b.creel, "run", "--quiet", "--policy", policy, "--workspace", person.work(),
			"--upstream", webHost + ":" + port + "=127.0.0.1:" + port, "--trust-ca", w.ca}
		return append(append(list, more...), "--")
	}
	b.rates(through, person, "creel", append(creel(relay), args("-ca", w.ca)...)...)
	bound := creel(judge, "--secret", "WEB_KEY=file:"+secret+"@"+webHost+":Authorization")
	// The placeholder stands in the variable; the client sends what it is given.
	shell := func(more string) []string {
		return append(append([]string{}, bound...), "sh", "-c", "exec "+strings.Join(self, " ")+" -key \"$WEB_KEY\""+more)
	}
	b.rates(inspected, person, "creel", shell("")...)
	b.rates(fresh, person, "creel", shell(" -new")...)

	for _, p := range []peer{b.relayFloor(w), b.reverseFloor(w), b.squidProxy(w), b.mitmproxy(w), b.srtProxy(person)} {
		if p.why != "" {
			for _, c := range all {
				c.skipped = append(c.skipped, p.name+": "+p.why)
			}
			continue
		}
		stops = append(stops, p.stop)
		if p.through != nil {
			b.rates(through, person, p.name, p.through(args("-ca", w.ca))...)
		}
		if p.inspected != nil {
			b.rates(inspected, person, p.name, p.inspected(args("-key", webKey))...)
			b.rates(fresh, person, p.name, p.inspected(args("-key", webKey, "-new"))...)
		}
	}
	return all, stop, nil
}

// rates adds a contender, and keeps its quantiles for the conditions.
func (b *bench) rates(c *comparison, w who, name string, args ...string) {
	var p50, p99 sample
	x := &contender{name: name}
	x.note = func() string { return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms", p50.median(), p99.median()) }
	x.measure = func() (float64, error) {
		out, err := w.output(args...)
		if err != nil {
			return 0, err
		}
		f := strings.Fields(string(out))
		if len(f) != 3 {
			return 0, fmt.Errorf("no figures in %q", lastLine(out))
		}
		var v [3]float64
		for i := range v {
			if v[i], err = strconv.ParseFloat(f[i], 64); err != nil {
				return 0, err
			}
		}
		p50, p99 = append(p50, v[1]), append(p99, v[2])
		return v[0], nil
	}
	c.list = append(c.list, x)
}

// measureHTTPS runs B4 and B5 and prints them.
func (b *bench) measureHTTPS() ([]*comparison, error) {
	list, stop, err := b.https()
	if err != nil {
		return nil, err
	}
	defer stop()
	for _, c := range list {
		c.run(6, 3*time.Minute)
		c.print(os.Stdout)
	}
	return list, nil
}
