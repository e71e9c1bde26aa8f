package external

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/creel-run/creel/middleware"
)

const (
	// maxConfig bounds the config of a policy's entry as JSON, in bytes.
	maxConfig = 64 << 10
	// beside bounds what an answer has besides a body, in bytes.
	beside = 64 << 10
	// maxIdle connections are kept, for a time that is less than most servers'.
	maxIdle  = 8
	idleTime = 30 * time.Second
)

// Service is a registered middleware. Close it.
type Service struct {
	r      Registration
	url    string
	socket string
	http   *http.Client
}

// Open checks a registration. It connects to nothing: an endpoint that is not
// there denies the first message.
func Open(r Registration) (*Service, error) {
	to, err := r.check()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{}
	t := &http.Transport{
		Proxy:                  nil,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdle,
		MaxConnsPerHost:        0,
		IdleConnTimeout:        idleTime,
		MaxResponseHeaderBytes: 16 << 10,
		TLSClientConfig:        &tls.Config{RootCAs: r.RootCAs, MinVersion: tls.VersionTLS12},
		Protocols:              new(http.Protocols),
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if to.socket != "" {
				network, addr = "unix", to.socket
			}
			return dialer.DialContext(ctx, network, addr)
		},
	}
	switch {
	case r.Protocol == GRPC && to.tls:
		t.Protocols.SetHTTP2(true)
	case r.Protocol == GRPC:
		t.Protocols.SetUnencryptedHTTP2(true)
	default:
		t.Protocols.SetHTTP1(true)
		t.Protocols.SetHTTP2(to.tls)
	}
	return &Service{r: r, url: to.url, socket: to.socket, http: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close ends idle connections; calls end with their contexts.
func (s *Service) Close() { s.http.CloseIdleConnections() }

// Name is what policies call it.
func (s *Service) Name() string { return s.r.Name }

// Socket is the path of its unix socket; empty: it has none.
func (s *Service) Socket() string { return s.socket }

// Factory makes the middleware of one entry of a policy, whose config the service
// is told with every message.
func (s *Service) Factory(config map[string]any) (middleware.Middleware, error) {
	e := &entry{service: s}
	if config != nil {
		text, err := json.Marshal(config)
		if err != nil {
			return nil, errors.New("it is no JSON")
		}
		if len(text) > maxConfig {
			return nil, fmt.Errorf("it has more than %d bytes as JSON", maxConfig)
		}
		e.config = string(text)
	}
	return e, nil
}

// entry is the service with the config of one entry.
type entry struct {
	service *Service
	config  string
}

func (e *entry) Takes() middleware.Direction { return e.service.r.On }
func (e *entry) MaxBody() int                { return e.service.r.MaxBody }
func (e *entry) Timeout() time.Duration      { return e.service.r.Timeout }

// Check makes the call.
func (e *entry) Check(ctx context.Context, m *middleware.Message) (middleware.Answer, error) {
	q := request{entry: e, m: m}
	var body []byte
	var err error
	head := http.Header{}
	if e.service.r.Protocol == GRPC {
		body = frame(q.proto())
		head.Set("Content-Type", "application/grpc+proto")
		head.Set("Te", "trailers")
		head.Set("Grpc-Timeout", fmt.Sprintf("%dm", e.service.r.Timeout.Milliseconds()))
	} else {
		if body, err = q.json(); err != nil {
			return middleware.Answer{}, errors.New("the message cannot be written as JSON")
		}
		head.Set("Content-Type", "application/json")
		head.Set("Connect-Protocol-Version", "1")
		head.Set("Connect-Timeout-Ms", fmt.Sprint(e.service.r.Timeout.Milliseconds()))
	}
	if !e.service.r.Token.IsZero() {
		head.Set("Authorization", "Bearer "+e.service.r.Token.Reveal())
	}
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, e.service.url, bytes.NewReader(body))
	if err != nil {
		return middleware.Answer{}, errors.New("its endpoint cannot be called")
	}
	out.GetBody = nil // a call is not repeated
	out.Header = head
	resp, err := e.service.http.Do(out)
	if err != nil {
		return middleware.Answer{}, unreached(err)
	}
	defer resp.Body.Close()
	if e.service.r.Protocol == GRPC {
		return e.grpcAnswer(resp)
	}
	return e.connectAnswer(resp)
}

// unreached tells what went wrong without the texts of others.
func unreached(err error) error {
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer in time")
	case errors.As(err, &cert):
		return errors.New("the certificate of its endpoint cannot be verified")
	case errors.As(err, &op) && op.Op == "dial":
		return errors.New("its endpoint cannot be reached")
	}
	return errors.New("the call to its endpoint broke off")
}

// read reads a body of at most most bytes.
func read(body io.Reader, most int) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, int64(most)+1))
	if err != nil {
		return nil, errors.New("its answer broke off")
	}
	if len(data) > most {
		return nil, errors.New("its answer is too large")
	}
	return data, nil
}
