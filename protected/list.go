package protected

import (
	"slices"
	"strings"
)

// Entry is one protected path of a workspace, relative to its root; a folder
// stands for all that is in it.
type Entry struct {
	Path  string
	Why   string // who runs or trusts it
	judge judge
}

// judge says which content may stay where an agent made it and nothing was before.
type judge uint8

const (
	nothing      judge = iota // none
	plainConfig               // a git configuration of plain settings
	samplesAlone              // a folder of hooks' samples, which git does not run
)

// Section is a part of the list, as the documentation shows it.
type Section struct {
	Title   string
	Entries []Entry
}

// Sections is the list, the only one. docs/protected-files.md is tested against it.
func Sections() []Section {
	return []Section{
		{"git", []Entry{
			{gitDir, "a file there tells git to take another folder for the repository; a folder may stay", nothing},
			{".git/hooks", "git runs them", samplesAlone},
			{".git/config", "core.fsmonitor, core.hooksPath, filters, aliases and more name programs that git runs", plainConfig},
			{".git/config.worktree", "as .git/config, where extensions.worktreeConfig is set", plainConfig},
			{".git/commondir", "tells git to take configuration and hooks from another folder", nothing},
			{".git/rebase-merge", "`git rebase --continue` runs the commands of an unfinished rebase", nothing},
			{".husky", "git hooks, where the husky tool has pointed core.hooksPath to it", nothing},
			{".pre-commit-config.yaml", "the pre-commit tool runs what it names", nothing},
			{"lefthook.yml", "the lefthook tool runs what it names", nothing},
			{".gitconfig", "a home folder's git settings", nothing},
			{".config/git", "a home folder's git settings", nothing},
		}},
		{"other version control", []Entry{
			{".hg/hgrc", "hooks, extensions and aliases that hg runs", nothing},
			{".hg/hgrc-not-shared", "as .hg/hgrc", nothing},
			{".hg/sharedpath", "tells hg to take another folder for the repository", nothing},
			{".jj/repo/config.toml", "fsmonitor, editors and aliases that jj runs", nothing},
		}},
		{"editors", []Entry{
			{".vscode", "tasks, launch commands, paths of interpreters and tools", nothing},
			{".idea", "run configurations, file watchers, external tools", nothing},
			{".fleet", "run configurations", nothing},
			{".zed", "tasks, commands of language servers", nothing},
			{".devcontainer", "initializeCommand runs on the host", nothing},
			{".devcontainer.json", "initializeCommand runs on the host", nothing},
			{".nvim.lua", "executed by Neovim with exrc", nothing},
			{".nvimrc", "executed by Neovim with exrc", nothing},
			{".exrc", "executed by vi with exrc", nothing},
			{".vimrc", "executed by vi", nothing},
			{".dir-locals.el", "evaluated by Emacs", nothing},
		}},
		{"agents and MCP", []Entry{
			{".claude", "hooks, permissions, MCP servers, commands", nothing},
			{".codex", "settings, MCP servers, rules about execution", nothing},
			{".gemini", "settings, hooks, MCP servers, extensions", nothing},
			{".cursor", "MCP servers, hooks, rules", nothing},
			{".opencode", "plugins and tools are executed", nothing},
			{".openclaw", "settings, plugins, skills", nothing},
			{".windsurf", "hooks, MCP servers", nothing},
			{".continue", "MCP servers, settings", nothing},
			{".roo", "MCP servers, settings", nothing},
			{".kiro", "hooks, MCP servers", nothing},
			{".aider.conf.yml", "commands for lint and test", nothing},
			{".mcp.json", "commands that start MCP servers", nothing},
			{"mcp.json", "commands that start MCP servers", nothing},
			{"opencode.json", "plugins, MCP servers, permissions", nothing},
			{"opencode.jsonc", "plugins, MCP servers, permissions", nothing},
		}},
		{"shells and sessions", []Entry{
			{".envrc", "direnv runs it on entering the folder", nothing},
			{".autoenv", "autoenv runs it on entering the folder", nothing},
			{".mise.toml", "mise runs hooks and takes tools from it", nothing},
			{"mise.toml", "mise runs hooks and takes tools from it", nothing},
			{".bashrc", "a home folder's shell start file", nothing},
			{".bash_profile", "a home folder's shell start file", nothing},
			{".bash_login", "a home folder's shell start file", nothing},
			{".bash_logout", "a home folder's shell file", nothing},
			{".bash_aliases", "a home folder's shell start file", nothing},
			{".profile", "a home folder's shell start file", nothing},
			{".zshrc", "a home folder's shell start file", nothing},
			{".zshenv", "a home folder's shell start file", nothing},
			{".zprofile", "a home folder's shell start file", nothing},
			{".zlogin", "a home folder's shell start file", nothing},
			{".zlogout", "a home folder's shell file", nothing},
			{".kshrc", "a home folder's shell start file", nothing},
			{".cshrc", "a home folder's shell start file", nothing},
			{".tcshrc", "a home folder's shell start file", nothing},
			{".login", "a home folder's shell start file", nothing},
			{".inputrc", "key bindings of a home folder's shells", nothing},
			{".pam_environment", "environment of a home folder's sessions", nothing},
			{".xprofile", "run at a graphical login", nothing},
			{".xsessionrc", "run at a graphical login", nothing},
			{".config/fish", "a home folder's shell start files", nothing},
			{".config/autostart", "run at a graphical login", nothing},
			{".config/systemd", "units of the user's service manager", nothing},
			{".config/environment.d", "environment of the user's service manager", nothing},
			{".local/bin", "programs on a home folder's search path", nothing},
			{".ssh", "keys that log in, commands that connecting runs", nothing},
			{".gnupg", "programs that gpg runs, trust", nothing},
		}},
		{"interpreters", []Entry{
			{".Rprofile", "R runs it in the folder it is started in", nothing},
			{".irbrc", "irb runs it in the folder it is started in", nothing},
			{".pryrc", "pry runs it in the folder it is started in", nothing},
			{".ghci", "ghci runs it in the folder it is started in", nothing},
			{".ocamlinit", "ocaml runs it in the folder it is started in", nothing},
			{".pdbrc", "Python's debugger runs it in the folder it is started in", nothing},
		}},
		{"creel", []Entry{
			{"creel.yaml", "the policy of the next start", nothing},
		}},
	}
}

// List is every entry.
func List() []Entry {
	var all []Entry
	for _, s := range Sections() {
		all = append(all, s.Entries...)
	}
	return all
}

// gitDir stands in the list for itself alone, not for what lies in it.
const gitDir = ".git"

// All is the word that opens the whole list.
const All = "all"

// Opens reports whether a policy's word opens an entry: the entry's own path, a
// folder above it, or All. A path inside an entry opens nothing: the entry is one
// mount.
func Opens(word, path string) bool {
	return word == All || word == path || strings.HasPrefix(path, word+"/")
}

// Known reports whether a word opens anything.
func Known(word string) bool {
	return slices.ContainsFunc(List(), func(e Entry) bool { return Opens(word, e.Path) })
}
