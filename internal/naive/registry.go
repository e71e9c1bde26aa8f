package naive

import "time"

// packageFault: nothing that was read, or for another registry.
func packageFault(e Endpoint, q Question) bool {
	if q.Package == nil || q.Package.Kind != e.RegistryKind {
		return true
	}
	switch q.Package.Action {
	case "index", "metadata", "download", "publish":
		return false
	}
	return true
}

func packageAllows(e Endpoint, p Package, now time.Time) bool {
	if e.RegistryKind != p.Kind {
		return false
	}
	for _, r := range e.Allow {
		if p.Action == "index" {
			return true // about no package
		}
		if !anyPath([]string{r.Package}, p.Name) {
			continue
		}
		version := len(r.Versions) == 0 || p.Version != "" && anyPath(r.Versions, p.Version)
		old := r.MinAge == 0 || !p.Published.IsZero() && !now.IsZero() && !now.Before(p.Published.Add(r.MinAge))
		switch {
		case p.Action == "metadata" && (version || p.Version == ""),
			p.Action == "download" && version && old,
			p.Action == "publish" && version && r.Publish:
			return true
		}
	}
	return false
}

func packageDenies(e Endpoint, p Package) bool {
	if e.RegistryKind != p.Kind || p.Action == "index" {
		return false
	}
	for _, r := range e.Deny {
		version := len(r.Versions) == 0 || p.Version != "" && anyPath(r.Versions, p.Version)
		name := anyPath([]string{r.Package}, p.Name)
		if p.Action == "publish" { // what is not named may be what is denied
			version = version || p.Version == "" || p.Name == ""
			name = name || p.Name == ""
		}
		if name && version {
			return true
		}
	}
	return false
}
