package policy

import (
	"slices"
	"strings"
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
// for the ones that an endpoint writes out and accepts (models: allow). In version 1
// there are none.
func (d *Document) GuardedHosts() []string {
	if d.Version < 2 {
		return []string{}
	}
	return slices.DeleteFunc(d.Inference.ModelHosts(), func(host string) bool {
		return slices.ContainsFunc(d.Networks, func(n Network) bool {
			return slices.ContainsFunc(n.Endpoints, func(e Endpoint) bool {
				return e.Models && !e.Withdrawn && strings.EqualFold(e.Host, host)
			})
		})
	})
}
