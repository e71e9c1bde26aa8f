package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/creel-run/creel/netname"
)

// neverDialled: hosts that no policy opens, whatever they resolve to. A rule
// for one of them would look as if it worked.
func neverDialled(h netname.Host) bool {
	if h.IsAddr() {
		return netname.Classify(h.Addr()) == netname.AlwaysBlocked
	}
	name := h.String()
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || netname.IsMetadataHost(h)
}

// modelHosts are well-known model providers: a rule for one is warned of, and in
// version 1 lets models be used there. Which hosts are rerouted is the inference
// route's list.
var modelHosts = []string{
	"api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com", "openrouter.ai", "api.mistral.ai", "api.groq.com",
	"api.deepseek.com", "api.x.ai", "api.together.xyz", "api.cohere.com", "api.perplexity.ai", "api.fireworks.ai", "api.cerebras.ai",
	"integrate.api.nvidia.com", "inference-api.nvidia.com", "router.huggingface.co", "api-inference.huggingface.co", "api.deepinfra.com",
	"chatgpt.com", "cloudcode-pa.googleapis.com", "aiplatform.googleapis.com", "opencode.ai", "models.github.ai", "models.inference.ai.azure.com",
	"api.githubcopilot.com", "codestral.mistral.ai", "api.cohere.ai", "api.moonshot.ai", "api.moonshot.cn", "api.z.ai", "open.bigmodel.cn",
	"api.minimax.io", "dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com",
}

// inferenceHost is answered by the supervisor itself.
const inferenceHost = "inference.local"

// sharedSuffixes are domains under which anybody can have a host.
var sharedSuffixes = []string{
	"amazonaws.com", "s3.amazonaws.com", "cloudfront.net", "github.io", "githubusercontent.com", "gitlab.io", "herokuapp.com", "vercel.app",
	"netlify.app", "workers.dev", "pages.dev", "r2.dev", "azurewebsites.net", "blob.core.windows.net", "azureedge.net", "appspot.com",
	"run.app", "web.app", "firebaseapp.com", "firebaseio.com", "googleapis.com", "storage.googleapis.com", "googleusercontent.com",
	"ngrok.io", "ngrok.app", "ngrok-free.app", "trycloudflare.com", "fly.dev", "onrender.com", "supabase.co", "sharepoint.com",
	"atlassian.net", "slack.com", "zendesk.com", "myshopify.com", "digitaloceanspaces.com", "backblazeb2.com",
}

// broadWritable are folders whose writers decide what others execute.
var broadWritable = []string{
	"/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/usr", "/usr/local", "/var", "/mnt", "/media",
}

// Check names one thing that Lint looks for.
type Check string

const (
	AuditOnly    Check = "audit-only"     // requests that no rule allows are forwarded
	RentedHosts  Check = "shared-hosting" // a wildcard over hosts that anybody can rent
	Uninspected  Check = "uninspected"    // a way past the inspection of the same host and port
	DirectModel  Check = "model-host"     // a model service outside of the inference route
	EchoHost     Check = "echo-host"      // reading is enough to carry data out
	Unused       Check = "unused"         // it never decides
	Shadowed     Check = "shadowed"       // another rule says the same and more
	IdleDeny     Check = "idle-deny"      // it denies what nothing allows
	AnyWrites    Check = "any-writes"     // every program may write
	RunsAnything Check = "interpreter"    // the rule is for whatever the agent writes
	Opaque       Check = "tls-skip"
	Hostless     Check = "no-host"
	InternalHost Check = "internal-host"
	BroadWrite   Check = "broad-write"
	OwnWorkspace Check = "workspace-path" // read_only names the workspace, which can be written
	EmptyPart    Check = "empty-alternative"
)

// Checks are all of them.
func Checks() []Check {
	return []Check{AuditOnly, RentedHosts, Uninspected, DirectModel, EchoHost, Unused, Shadowed, IdleDeny, AnyWrites, RunsAnything, Opaque, Hostless, InternalHost, BroadWrite, OwnWorkspace, EmptyPart}
}

// find is warnAt of a check.
func (d *decoder) find(c Check, at Position, path string, kind Kind, text, hint string) {
	before := len(d.warns)
	d.warnAt(at, path, kind, text, hint)
	if len(d.warns) > before {
		d.warns[before].Check = c
	}
}

// lint warns about what is defined and allowed, and wider than it looks.
func (d *decoder) lint(doc *Document) {
	for _, p := range doc.Filesystem.ReadWrite {
		if slices.Contains(broadWritable, p.Path) {
			d.find(BroadWrite, p.At, "filesystem_policy.read_write", Weak, show(p.Path)+" is writable as a whole", "name the folder below it that the agent has to write to")
		}
		for _, r := range doc.Filesystem.ReadOnly {
			if r.Path == p.Path {
				d.warnAt(r.At, "filesystem_policy.read_only", Conflict, show(r.Path)+" is in both lists, so it is writable", "keep one of them")
			}
		}
	}
	d.lintFixed(doc)
	for i := range doc.Networks {
		n := &doc.Networks[i]
		at := pathKey("network_policies", n.Key)
		for j := range n.Endpoints {
			if n.Endpoints[j].Withdrawn {
				continue
			}
			d.lintEndpoint(doc, &n.Endpoints[j], pathIndex(at+".endpoints", j))
		}
	}
}

// directModel is what to say of a rule that reaches a model host past the route.
func directModel(doc *Document, e *Endpoint, host string) (text, hint string) {
	removed := doc.Inference != nil && slices.ContainsFunc(doc.Inference.RemoveHosts, func(h string) bool { return strings.EqualFold(h, host) })
	switch {
	case doc.Version < 2 || removed:
	case e.Protocol.Inspected():
		return host + " is a model host: without an inference route its models are denied, whatever this rule allows",
			"configure inference, or write models: allow to let the agent use it with a key of its own"
	default:
		return host + " is a model host: creel run refuses connections to it that nobody looks into, though this rule allows them",
			"configure inference, or write protocol: rest with rules, or, if it is meant, inference: {remove_hosts: [" + host + "]}"
	}
	return host + " is a model host: this rule lets the agent use it with a key of its own, outside the inference route",
		"configure inference instead; while a route claims this host, the rule is not used for it"
}

func (d *decoder) lintEndpoint(doc *Document, e *Endpoint, path string) {
	path += ".host"
	if e.TLS == TLSSkip {
		d.find(Opaque, e.At, path, Weak, "tls: skip passes opaque bytes: neither the server's name nor a request is checked", "leave tls out unless the protocol is not TLS from its first byte")
	}
	if e.Host == "" {
		d.find(Hostless, e.At, path, Weak, "without a host every name whose addresses are in allowed_ips is allowed on port "+portList(e.Ports), "name the hosts")
		return
	}
	for _, m := range modelHosts {
		h, err := netname.ParseHost(m)
		if err == nil && e.Pattern.Match(h) && !claimed(doc.Inference, m) {
			if !e.Models { // which says so itself
				text, hint := directModel(doc, e, m)
				d.find(DirectModel, e.At, path, Weak, text, hint)
			}
			break
		}
	}
	if e.Host == inferenceHost {
		d.find(Unused, e.At, path, NoOperation, inferenceHost+" is answered by the inference route, with or without a rule", "remove it")
	}
	if !e.Pattern.Literal() {
		suffix := literalSuffix(e.Pattern.String())
		if slices.Contains(sharedSuffixes, suffix) {
			d.find(RentedHosts, e.At, path, Weak, fmt.Sprintf("%s covers hosts that anybody can rent below %s", show(e.Host), suffix), "name the hosts")
		}
		return
	}
	if h := e.Pattern.Host(); !h.IsAddr() && doc.Version == 1 && e.AllowedIPs == nil && e.Host != inferenceHost {
		d.find(InternalHost, e.At, path, Weak, "an exact host in version 1 may resolve to internal addresses", "add allowed_ips, or move to version: 2, where it has to be public")
	}
}

// claimed: the document's own inference section takes the host.
func claimed(inf *Inference, host string) bool {
	if inf == nil || inf.Backend == "" || slices.Contains(inf.RemoveHosts, host) {
		return false
	}
	return inf.Hosts == nil || slices.Contains(inf.Hosts, host) || slices.Contains(inf.AddHosts, host)
}

// literalSuffix is the part of a host pattern behind its last wildcard label.
func literalSuffix(pattern string) string {
	star := strings.LastIndexByte(pattern, '*')
	_, suffix, _ := strings.Cut(pattern[star+1:], ".")
	return suffix
}
