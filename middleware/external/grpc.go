package external

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/creel-run/creel/middleware"
)

// A message of gRPC stands behind a flag, 0 for one that is not compressed, and
// its length in four bytes.
const frameHead = 5

func frame(message []byte) []byte {
	out := make([]byte, frameHead, frameHead+len(message))
	binary.BigEndian.PutUint32(out[1:], uint32(len(message)))
	return append(out, message...)
}

func (e *entry) grpcAnswer(resp *http.Response) (middleware.Answer, error) {
	if resp.StatusCode != http.StatusOK {
		return middleware.Answer{}, fmt.Errorf("its endpoint answered with status %d", resp.StatusCode)
	}
	if kind := resp.Header.Get("Content-Type"); kind != "application/grpc" && kind != "application/grpc+proto" {
		return middleware.Answer{}, errors.New("its answer is not of gRPC")
	}
	data, err := read(resp.Body, e.service.r.MaxBody+beside+frameHead)
	if err != nil {
		return middleware.Answer{}, err
	}
	status, ok := resp.Trailer["Grpc-Status"]
	if !ok {
		status = resp.Header["Grpc-Status"] // of an answer without a message
	}
	if len(status) != 1 || status[0] != "0" {
		code := "none"
		if len(status) > 0 {
			code = clean(status[0])
		}
		return middleware.Answer{}, fmt.Errorf("its endpoint answered with gRPC status %s", code)
	}
	if len(data) < frameHead || data[0] != 0 || int(binary.BigEndian.Uint32(data[1:])) != len(data)-frameHead {
		return middleware.Answer{}, errors.New("its answer is not one message of gRPC")
	}
	r, err := readProto(data[frameHead:])
	if err != nil {
		return middleware.Answer{}, err
	}
	return r.answer()
}

// Wire types of protobuf.
const (
	wireVarint = 0
	wireBytes  = 2
)

func appendNumber(to []byte, field int, n uint64) []byte {
	if n == 0 {
		return to
	}
	to = binary.AppendUvarint(to, uint64(field)<<3|wireVarint)
	return binary.AppendUvarint(to, n)
}

func appendBytes[T string | []byte](to []byte, field int, v T) []byte {
	if len(v) == 0 {
		return to
	}
	to = binary.AppendUvarint(to, uint64(field)<<3|wireBytes)
	to = binary.AppendUvarint(to, uint64(len(v)))
	return append(to, v...)
}

// appendText writes a string, which in protobuf is UTF-8.
func appendText(to []byte, field int, v string) []byte {
	return appendBytes(to, field, strings.ToValidUTF8(v, "\ufffd"))
}

// proto writes the request as protobuf.
func (q request) proto() []byte {
	m := q.m
	d, _ := direction(m.Direction)
	b := make([]byte, 0, len(m.Body)+1024)
	b = appendText(b, 1, q.entry.service.r.Name)
	b = appendText(b, 2, q.entry.config)
	b = appendNumber(b, 3, d)
	b = appendText(b, 4, m.Method)
	b = appendText(b, 5, m.Scheme)
	b = appendText(b, 6, m.Host.String())
	b = appendNumber(b, 7, uint64(m.Port))
	b = appendText(b, 8, m.Path)
	b = appendText(b, 9, m.RawQuery)
	b = appendNumber(b, 10, uint64(max(m.Status, 0)))
	for _, h := range q.headers() {
		b = appendBytes(b, 11, appendText(appendText(nil, 1, h.Name), 2, h.Value))
	}
	b = appendBytes(b, 12, m.Body)
	if m.Binary {
		b = appendNumber(b, 13, 1)
	}
	return b
}

var errProto = errors.New("its answer is not the message of the protocol")

// field is one of a message: a number or bytes.
type field struct {
	number uint64
	isText bool
	n      uint64
	text   []byte
}

// fields reads a message of numbers and bytes.
func fields(data []byte, each func(f field) error) error {
	for len(data) > 0 {
		tag, n := binary.Uvarint(data)
		if n <= 0 {
			return errProto
		}
		data = data[n:]
		v, n := binary.Uvarint(data)
		if n <= 0 {
			return errProto
		}
		data = data[n:]
		f := field{number: tag >> 3, n: v}
		switch tag & 7 {
		case wireVarint:
		case wireBytes:
			if v > uint64(len(data)) {
				return errProto
			}
			f.isText, f.text = true, data[:v]
			data = data[v:]
		default:
			return errProto
		}
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

// readProto reads an answer. Fields that are not known, or stand twice and are
// no list, are a fault: a verdict must not depend on who reads it.
func readProto(data []byte) (*response, error) {
	var r response
	var seen uint64
	once := func(f field, isText bool) error {
		if f.isText != isText || seen&(1<<f.number) != 0 {
			return errProto
		}
		seen |= 1 << f.number
		return nil
	}
	err := fields(data, func(f field) error {
		switch f.number {
		case 1:
			r.verdict = f.n
			return once(f, false)
		case 2:
			if !utf8.Valid(f.text) {
				return errProto
			}
			r.reason = string(f.text)
			return once(f, true)
		case 3:
			r.body = f.text
			return once(f, true)
		case 4:
			if !f.isText || len(r.findings) == maxFindings {
				return errProto
			}
			x, err := readFinding(f.text)
			r.findings = append(r.findings, x)
			return err
		}
		return errProto
	})
	if err != nil {
		return nil, err
	}
	return &r, nil
}

func readFinding(data []byte) (x finding, err error) {
	err = fields(data, func(f field) error {
		texts := map[uint64]*string{1: &x.rule, 2: &x.part, 3: &x.name}
		numbers := map[uint64]*uint64{4: &x.from, 5: &x.to}
		switch {
		case f.isText && texts[f.number] != nil:
			*texts[f.number] = string(f.text)
		case !f.isText && numbers[f.number] != nil:
			*numbers[f.number] = f.n
		default:
			return errProto
		}
		return nil
	})
	return x, err
}
