package main

import (
	"fmt"
	"strings"

	"github.com/creel-run/creel/presets"
)

const presetIntro = `# Presets

Rules for common services, to be added to a policy. This page is written by ` + "`make docs`" + ` from the presets themselves ([presets/data](../../presets/data)).

` + "```" + `
creel policy preset list                                    # what there is
creel policy preset show github-repo --repo acme/widgets    # what it opens, its risks, its rules
creel policy preset add github-repo --repo acme/widgets --policy ~/agent.yaml
` + "```" + `

` + "`add`" + ` inserts the new rules behind the others and changes nothing else of the file: comments and form stay. It refuses a name that is taken, a file of version 1, and a result that would be faulty; then
the file stays as it was. A sandbox that runs under the file takes the rules at once. ` + "`--policy`" + ` is ` + "`creel.yaml`" + ` in the current folder if it is not given. ` + "`--binary PATH`" + ` (repeat) names the programs that may
use the rules, instead of the preset's; presets without programs of their own are for every program in the sandbox until you do.
` + "`--name KEY`" + ` gives the rule another name in ` + "`network_policies`" + `: a file that extends others needs one that those above open, such as ` + "`team_slack`" + ` where they say
` + "`open: [network_policies.team_*]`" + `.

Presets allow the least that the service is useful with, request by request. Read the risks: a host that takes what the agent writes is a way out for what the agent has read.
A name has to resolve to public addresses. A service inside of your network needs ` + "`allowed_ips`" + ` on its endpoint; the summary of a run shows the line.

## Where packages come from

No host of a package registry stands in creel. The presets for packages read it from the configuration of the client, of this user and this machine:

| preset | looks at, in this order |
|---|---|
| npm | ` + "`npm_config_registry`" + `; ` + "`registry`" + ` and ` + "`@scope:registry`" + ` in ` + "`~/.npmrc`" + ` (or ` + "`NPM_CONFIG_USERCONFIG`" + `), ` + "`etc/npmrc`" + ` of the installation, ` + "`/etc/npmrc`" + ` |
| pypi | ` + "`PIP_INDEX_URL`, `PIP_EXTRA_INDEX_URL`" + `; ` + "`index-url`, `extra-index-url`" + ` in ` + "`PIP_CONFIG_FILE`, `~/.config/pip/pip.conf`, `~/.pip/pip.conf`, `/etc/xdg/pip/pip.conf`, `/etc/pip.conf`" + ` |
| go | ` + "`GOPROXY`" + `; the file that ` + "`go env -w`" + ` writes; ` + "`go.env`" + ` of the installation |
| crates | sources that replace others, and registries, in ` + "`config.toml`" + ` of ` + "`CARGO_HOME`" + ` or ` + "`~/.cargo`" + `; ` + "`CARGO_REGISTRIES_NAME_INDEX`" + ` |
| debian | ` + "`/etc/apt/sources.list`" + ` and ` + "`/etc/apt/sources.list.d`" + ` |

Configuration in the current folder is not read: it may have come with a repository. Passwords in a URL are dropped; give them to the client in another way. If nothing names a host, the command says what it looked for;
` + "`--host HOST`" + ` (or ` + "`HOST:PORT`" + `, or a URL with the path below which packages lie; repeat) takes the place of the configuration. A client that keeps archives on another host than its lists needs that one, too:
the summary of a run shows it as denied.

`

// presetPage lists every preset with what it opens and risks, and its rules.
func presetPage() (string, error) {
	var b strings.Builder
	b.WriteString(presetIntro)
	for _, name := range presets.Names() {
		p, err := presets.Load(name)
		if err != nil {
			return "", err
		}
		rules, err := p.Template()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "## %s\n\n**%s.** %s\n", name, p.Title, p.About)
		for _, one := range p.Parameters {
			fmt.Fprintf(&b, "Flag: `--%s %s`, %s", one.Name, one.Value, one.About)
			if one.Default != "" {
				fmt.Fprintf(&b, " (default `%s`)", one.Default)
			}
			b.WriteString(".\n")
		}
		b.WriteString("\nOpens:\n\n" + bullets(p.Opens) + "\nRisks:\n\n" + bullets(p.Risks))
		fmt.Fprintf(&b, "\n<details><summary>rules</summary>\n\n```yaml\n%s```\n\n</details>\n\n", rules)
	}
	return strings.TrimRight(b.String(), "\n") + "\n", nil
}

func bullets(list []string) string { return "- " + strings.Join(list, "\n- ") + "\n" }
