package inference

import (
	"strings"
	"testing"
)

// TestRemoteAllowed: what a model service would fetch or run by itself is taken
// out or refused, in every protocol, in whatever spelling; what the agent's own
// tools say is not looked at.
func TestRemoteAllowed(t *testing.T) {
	const fn = `{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"image_url":{"type":"string"}}}}}`
	for _, tt := range []struct {
		name     string
		protocol protocol
		conf     Config
		body     string
		want     string // the body that is sent; "" as it is
		removed  string
		err      string
	}{
		{"too deep", openAI, Config{}, `{"model":"m","x":` + strings.Repeat(`{"`+strings.Repeat("k", 3000)+`":`, 9000) + "1" + strings.Repeat("}", 9000) + "}", "", "", "nested deeper"},
		{"many tools", openAI, Config{}, `{"tools":[` + strings.Repeat(`{"type":"web_search"},`, 1000) + `{"type":"custom"}]}`, `{"tools":[{"type":"custom"}]}`, "web_search", ""},
		{"long member", openAI, Config{}, `{"` + strings.Repeat("k", 3000) + `":{"image_url":"https://x.test"}}`, "", "", "an input is a URL"},
		{"plain", openAI, Config{}, `{"model":"m","messages":[{"role":"user","content":"see https://x.test/a.png"}]}`, "", "", ""},
		{"functions", openAI, Config{}, `{"tools":[` + fn + `]}`, "", "", ""},
		{"custom without type", anthropic, Config{}, `{"tools":[{"name":"t","input_schema":{"type":"web_search"}}]}`, "", "", ""},
		{"client tools", anthropic, Config{}, `{"tools":[{"type":"bash_20250124","name":"bash"},{"type":"text_editor_20250728"},{"type":"memory_20250818"}]}`, "", "", ""},
		{"computer", openAI, Config{}, `{"tools":[{"type":"computer_use_preview","environment":"linux"},{"type":"local_shell"}]}`, "", "", ""},
		{"search beside functions", openAI, Config{}, `{"tools": [` + fn + `, {"type":"web_search_preview_2025_03_11"} ,` + fn + `],"x":1}`, `{"tools": [` + fn + `,` + fn + `],"x":1}`, "web_search", ""},
		{"search first", anthropic, Config{}, `{"tools":[{"type":"web_search_20250305","name":"web_search"},{"name":"t"}]}`, `{"tools":[{"name":"t"}]}`, "web_search", ""},
		{"fetch alone", anthropic, Config{}, `{"tools":[{"type":"web_fetch_20250910"}]}`, "", "", "web_fetch"},
		{"code", anthropic, Config{}, `{"tools":[{"type":"code_execution_20250825"}]}`, "", "", "code_execution"},
		{"mcp tool", openAI, Config{}, `{"tools":[{"type":"mcp","server_url":"https://x.test"}]}`, "", "", "mcp"},
		{"in a group", openAI, Config{}, `{"tools":[{"type":"namespace","tools":[{"type":"mcp"}]},{"type":"custom"}]}`, `{"tools":[{"type":"custom"}]}`, "mcp", ""},
		{"type twice", openAI, Config{}, `{"tools":[{"type":"function","type":"web_search"},{"type":"custom"}]}`, `{"tools":[{"type":"custom"}]}`, "web_search", ""},
		{"escaped", openAI, Config{}, `{"tools":[{"t\u0079pe":"web\u005fsearch"},{"type":"custom"}]}`, `{"tools":[{"type":"custom"}]}`, "web_search", ""},
		{"other letters", openAI, Config{}, `{"tools":[` + fn + `],"Tools":[{"TYPE":"web_search"}]}`, "", "", "web_search"},
		{"unknown", openAI, Config{}, `{"tools":[{"type":"<b>\u001b"}]}`, "", "", "a tool of another name"},
		{"mcp servers", anthropic, Config{}, `{"mcp_servers":[{"type":"url","url":"https://x.test"}]}`, "", "", "mcp"},
		{"search options", openAI, Config{}, `{"web_search_options":{}}`, "", "", "web_search"},
		{"gemini functions", gemini, Config{}, `{"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT"}}]}]}`, "", "", ""},
		{"gemini search", gemini, Config{}, `{"tools":[{"functionDeclarations":[]},{"google_search":{}}]}`, `{"tools":[{"functionDeclarations":[]}]}`, "googlesearch", ""},
		{"gemini url context", gemini, Config{}, `{"tools":[{"urlContext":{}}]}`, "", "", "urlcontext"},
		{"allowed", anthropic, Config{ServerTools: []string{"web_search"}}, `{"tools":[{"type":"web_search_20250305"},{"type":"web_fetch_20250910"}]}`, `{"tools":[{"type":"web_search_20250305"}]}`, "web_fetch", ""},
		{"gemini allowed", gemini, Config{ServerTools: []string{"google_search"}}, `{"tools":[{"googleSearch":{}}]}`, "", "", ""},

		{"image data", openAI, Config{}, `{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}]}`, "", "", ""},
		{"image by URL", openAI, Config{}, `{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://x.test/?d=1"}}]}]}`, "", "", "URL"},
		{"image by URL, short", openAI, Config{}, `{"input":[{"content":[{"type":"input_image","image_url":"\u0068ttps://x.test/"}]}]}`, "", "", "URL"},
		{"image in a tool's output", openAI, Config{}, `{"input":[{"type":"function_call_output","output":[{"type":"input_image","image_url":" HTTP://x.test/"}]}]}`, "", "", "URL"},
		{"file by URL", openAI, Config{}, `{"input":[{"content":[{"type":"input_file","file_url":"https://x.test/"}]}]}`, "", "", "URL"},
		{"source by URL", anthropic, Config{}, `{"messages":[{"content":[{"type":"image","source":{"url":"https://x.test/","type":"url"}}]}]}`, "", "", "URL"},
		{"source in a result", anthropic, Config{}, `{"messages":[{"content":[{"type":"tool_result","content":[{"type":"document","source":{"type":"url","url":"https://x.test/"}}]}]}]}`, "", "", "URL"},
		{"arguments", anthropic, Config{}, `{"messages":[{"content":[{"type":"tool_use","input":{"source":{"url":"https://x.test/"},"image_url":"https://x.test"}}]}]}`, "", "", ""},
		{"file URI", gemini, Config{}, `{"contents":[{"parts":[{"fileData":{"fileUri":"https://x.test/"}}]}]}`, "", "", "URL"},
		{"gemini arguments", gemini, Config{}, `{"contents":[{"parts":[{"functionCall":{"name":"f","args":{"file_uri":"https://x.test/"}}}]}]}`, "", "", ""},
		{"URL allowed", openAI, Config{RemoteInputs: true}, `{"messages":[{"content":[{"image_url":{"url":"https://x.test/"}}]}]}`, "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &exchange{route: &Route{conf: tt.conf}, body: []byte(tt.body), end: endpoint{protocol: tt.protocol}}
			removed, err := c.remoteAllowed()
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if want == "" {
				want = tt.body
			}
			if string(c.body) != want || strings.Join(removed, ",") != tt.removed {
				t.Errorf("body %s\nwant %s\nremoved %v", c.body, want, removed)
			}
		})
	}
}

func FuzzFindRemote(f *testing.F) {
	f.Add([]byte(`{"tools":[{"type":"web_search"},{"a":[1,"\"]"]}],"messages":[{"content":[{"source":{"url":"x"}}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := readDocument(raw); err != nil {
			return
		}
		found := findRemote(raw, openAI, func(string) bool { return false })
		for _, s := range append(found.keep, found.list) {
			if s.from < 0 || s.to < s.from || s.to > len(raw) {
				t.Fatalf("span %v of %d bytes", s, len(raw))
			}
		}
	})
}
