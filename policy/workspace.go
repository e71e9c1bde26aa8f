package policy

// Contradicted is the entry of read_only that names the workspace itself, while
// include_workdir lets the agent write there; ok tells whether there is one. mode is
// the one in force, and is says whether a path is the workspace: links are for
// whoever knows the file system. What lies above or below the workspace is no
// contradiction, the narrower path counts.
func (f *Filesystem) Contradicted(mode WorkspaceMode, is func(path string) bool) (p Path, ok bool) {
	if !f.IncludeWorkdir || mode == ReadOnly {
		return Path{}, false
	}
	for _, p := range f.ReadOnly {
		if is(p.Path) {
			return p, true
		}
	}
	return Path{}, false
}

// Contradiction says it, with the way out. Version 1 has the one meaning that the
// OpenShell schema gives it: the workspace can be written.
func (d *Document) Contradiction() (text, hint string) {
	text = "this path is the workspace, which include_workdir: true lets the agent write"
	if d.Version < 2 {
		return text + ": in version 1 this entry has no effect", "write include_workdir: false, or start with --workspace DIR:ro; else remove the entry"
	}
	return text, "to keep the agent from writing there: workspace: read-only; else remove the entry"
}
