package policy

import (
	"slices"
	"strings"

	"github.com/creel-run/creel/netname"
)

// modelServices are the hosts of well-known model services that agents call by
// themselves.
var modelServices = []string{
	// OpenAI. The second one serves Codex with a ChatGPT sign-in; none of its
	// paths is served here.
	"api.openai.com",
	"chatgpt.com",
	// Anthropic
	"api.anthropic.com",
	// Google: Gemini API, and the service behind a Gemini CLI sign-in
	"generativelanguage.googleapis.com",
	"cloudcode-pa.googleapis.com",
	"aiplatform.googleapis.com",
	// Routers and hosts of many models
	"openrouter.ai",
	"api.together.xyz",
	"api.fireworks.ai",
	"api.groq.com",
	"api.cerebras.ai",
	"router.huggingface.co",
	"api-inference.huggingface.co",
	"api.deepinfra.com",
	"integrate.api.nvidia.com",
	"inference-api.nvidia.com",
	"opencode.ai",
	"models.github.ai",
	"models.inference.ai.azure.com",
	"api.githubcopilot.com",
	// Other makers of models
	"api.mistral.ai",
	"codestral.mistral.ai",
	"api.cohere.com",
	"api.cohere.ai",
	"api.deepseek.com",
	"api.x.ai",
	"api.perplexity.ai",
	"api.moonshot.ai",
	"api.moonshot.cn",
	"api.z.ai",
	"open.bigmodel.cn",
	"api.minimax.io",
	"dashscope.aliyuncs.com",
	"dashscope-intl.aliyuncs.com",
}

// ModelServices are the hosts that are known to be of models.
func ModelServices() []string { return slices.Clone(modelServices) }

// ModelHosts are the hosts of models, patterns allowed, that an inference section
// speaks of; without one they are those that are known.
func (i *Inference) ModelHosts() []string {
	if i == nil {
		return ModelServices()
	}
	base := i.Hosts
	if base == nil {
		base = modelServices
	}
	removed := map[string]bool{}
	for _, h := range i.RemoveHosts {
		removed[strings.ToLower(h)] = true
	}
	out := []string{}
	for _, h := range slices.Concat(base, i.AddHosts) {
		if !removed[strings.ToLower(h)] {
			out = append(out, h)
		}
	}
	return out
}

// GuardedHosts are the hosts, patterns allowed, that a run lets nobody reach over
// a connection that nobody looks into, whatever the rules say: those of models, but
// for the ones that every such rule writes out and accepts (models: allow). In
// version 1 there are none.
func (d *Document) GuardedHosts() []string {
	if d.Version < 2 {
		return []string{}
	}
	return slices.DeleteFunc(d.Inference.ModelHosts(), d.acceptsOpaque)
}

// acceptsOpaque reports whether a host is written out and accepted by an endpoint
// that looks into nothing, and no other one takes it: what one accepts opens nothing
// for another.
func (d *Document) acceptsOpaque(name string) bool {
	host, err := netname.ParseHost(name)
	if err != nil {
		return false // a pattern
	}
	accepted := false
	for i := range d.Networks {
		for j := range d.Networks[i].Endpoints {
			e := &d.Networks[i].Endpoints[j]
			if e.Protocol.Inspected() || e.Host != "" && e.Pattern.String() != "" && !e.Pattern.Match(host) {
				continue
			}
			if !e.Models || !strings.EqualFold(e.Host, name) {
				return false
			}
			accepted = true
		}
	}
	return accepted
}
