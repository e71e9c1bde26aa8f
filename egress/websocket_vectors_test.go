package egress

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/creel-run/creel/egress/websocket"
	"github.com/creel-run/creel/internal/vectors"
)

// stricterSocket are the vectors that are refused here though they may be taken.
var stricterSocket = map[string]string{
	"jw-ws-deflate-garbage": "data that is not what was agreed has the code 1007",
}

func TestWebSocketVectors(t *testing.T) {
	vectors.RunKinds(t, "jsonrpc_graphql_ws", []string{"ws_frames", "ws_upgrade", "ws_offer", "ws_response"}, stricterSocket,
		func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
			var in struct {
				Kind              string
				Hex               string
				HexGen            [][2]any `json:"hex_gen"`
				PermessageDeflate bool     `json:"permessage_deflate"`
				Credentialed      bool
				Raw               string
				Key               string
				OfferedProtocols  []string `json:"offered_subprotocols"`
				OfferedExtension  *string  `json:"offered_extension"`
			}
			vectors.Decode(t, e.In, &in)
			switch in.Kind {
			case "ws_frames":
				for _, part := range in.HexGen {
					in.Hex += strings.Repeat(part[0].(string), int(part[1].(float64)))
				}
				raw, err := hex.DecodeString(in.Hex)
				if err != nil {
					t.Fatal(err)
				}
				return judgeFrames(t, e, raw, in.PermessageDeflate, in.Credentialed)
			case "ws_upgrade", "ws_offer":
				return judgeOffer(t, e, in.Kind, latin1(in.Raw))
			case "ws_response":
				var want struct {
					Verdict     string
					Deflate     bool
					Subprotocol string
				}
				vectors.Decode(t, e.Want, &want)
				o := websocket.Offer{Protocols: in.OfferedProtocols}
				if in.OfferedExtension != nil {
					o.Deflate = websocket.Deflate{On: true, ServerNoContext: strings.Contains(*in.OfferedExtension, "server_no")}
					if o.Deflate.String() != *in.OfferedExtension {
						t.Fatalf("an offer that is not made: %s", *in.OfferedExtension)
					}
				}
				h, err := readResponse(newStream(&pieceConn{r: bytes.NewReader(latin1(in.Raw))}, nil, nil))
				if err != nil {
					return vectors.Bool(false, want.Verdict == "accept"), err.Error()
				}
				a, err := websocket.ParseAnswer(h.header, in.Key, o)
				if err == nil && want.Verdict == "accept" && (a.Deflate.On != want.Deflate || a.Protocol != want.Subprotocol) {
					return vectors.Wrong, fmt.Sprint(a)
				}
				return vectors.Bool(err == nil, want.Verdict == "accept"), fmt.Sprint(a, err)
			}
			return vectors.Wrong, "unknown kind"
		})
}

func judgeOffer(t *testing.T, e vectors.Entry, kind string, raw []byte) (vectors.Outcome, string) {
	var want struct {
		Verdict      string
		Subprotocols []string
		Forwarded    *string
	}
	vectors.Decode(t, e.Want, &want)
	h, f := parseHead(raw)
	if f != nil {
		return vectors.Bool(false, want.Verdict != "error"), f.reason
	}
	q := &requests{c: &conn{ctx: t.Context()}, in: newStream(&pieceConn{}, nil, nil)}
	x := &exchange{h: h, r: q.request(h, &requestBody{}), w: &answer{r: q}}
	x.readOffer()
	got := "not_websocket"
	switch {
	case x.socket != nil && x.socket.fault != nil:
		got = "error"
	case x.socket != nil:
		got = "websocket"
	}
	if kind == "ws_offer" {
		if got == "error" {
			return vectors.Bool(false, want.Verdict != "error"), got
		}
		forwarded := ""
		if want.Forwarded != nil {
			forwarded = *want.Forwarded
		}
		if got != "websocket" || want.Verdict == "error" || x.socket.offer.Deflate.String() != forwarded {
			return vectors.Wrong, fmt.Sprintf("%s %+v", got, x.socket)
		}
		return vectors.Same, ""
	}
	if got == want.Verdict && got == "websocket" && !slices.Equal(x.socket.offer.Protocols, want.Subprotocols) {
		return vectors.Wrong, fmt.Sprint(x.socket.offer)
	}
	if got == want.Verdict {
		return vectors.Same, ""
	}
	if got == "error" {
		return vectors.Stricter, got
	}
	return vectors.Wrong, got
}

// shownMessage is a message as vectors write it.
type shownMessage struct {
	Type  string  `json:"type"`
	Text  *string `json:"text,omitempty"`
	Bytes *int    `json:"bytes,omitempty"`
	Code  *uint16 `json:"code,omitempty"`
}

func judgeFrames(t *testing.T, e vectors.Entry, raw []byte, deflate, credentialed bool) (vectors.Outcome, string) {
	var want struct {
		Verdict  string
		Code     uint16
		Messages []shownMessage
	}
	vectors.Decode(t, e.Want, &want)
	var outcome vectors.Outcome
	var text string
	for i, in := range []io.Reader{bytes.NewReader(raw), iotest.OneByteReader(bytes.NewReader(raw))} {
		list, err := readFrames(in, deflate)
		if credentialed {
			// The verdict about a message is the exchange's: see TestBoundWebSocket.
			for j, m := range list {
				if m.Type == "binary" {
					list, err = list[:j], &websocket.Fault{Code: websocket.CodePolicy}
					break
				}
			}
		}
		var fault *websocket.Fault
		verdict, code := "pass", uint16(0)
		switch {
		case errors.As(err, &fault):
			verdict, code = "close", fault.Code
		case errors.Is(err, io.ErrUnexpectedEOF):
			verdict = "incomplete"
		case !errors.Is(err, io.EOF):
			return vectors.Wrong, err.Error()
		}
		got, _ := json.Marshal(list)
		wanted, _ := json.Marshal(want.Messages)
		text = fmt.Sprintf("%s %d %s (%v)", verdict, code, got, err)
		o := vectors.Wrong
		switch {
		case verdict != want.Verdict || !bytes.Equal(got, wanted):
		case code == want.Code:
			o = vectors.Same
		case e.Note != "":
			o = vectors.Stricter
		}
		if i > 0 && o != outcome {
			return vectors.Wrong, "in pieces: " + text
		}
		outcome = o
	}
	return outcome, text
}

// readFrames reads what a client sends as a tunnel does.
func readFrames(in io.Reader, deflate bool) (list []shownMessage, err error) {
	list = []shownMessage{}
	r := websocket.NewReader(bufio.NewReaderSize(in, socketBuffer), true, websocket.Limits{Text: maxText, Binary: maxBinary, Fragments: maxFragments})
	if deflate {
		r.Deflate(false)
	}
	r.Control = func(op websocket.Opcode, payload []byte) error {
		switch op {
		case websocket.Ping:
			list = append(list, shownMessage{Type: "ping"})
		case websocket.Pong:
			list = append(list, shownMessage{Type: "pong"})
		default:
			m := shownMessage{Type: "close"}
			if code, _, _ := websocket.ParseClose(payload); code != websocket.CodeNone {
				m.Code = &code
			}
			list = append(list, m)
		}
		return nil
	}
	for {
		kind, err := r.Next()
		if errors.Is(err, websocket.ErrClosed) {
			continue
		}
		if err != nil {
			return list, err
		}
		b, err := io.ReadAll(r)
		if errors.Is(err, websocket.ErrClosed) { // between the fragments of a message
			continue
		}
		if err != nil {
			return list, err
		}
		s, n := string(b), len(b)
		if kind == websocket.Text {
			list = append(list, shownMessage{Type: "text", Text: &s})
		} else {
			list = append(list, shownMessage{Type: "binary", Bytes: &n})
		}
	}
}
