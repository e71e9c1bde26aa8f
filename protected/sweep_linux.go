package protected

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Watch is what has to be looked at after a run: plain data, kept in a file
// until it was done.
type Watch struct {
	Root    string
	Started time.Time
	Found   Found
	Open    []string // a policy's words for what is not protected
}

// Finding is something that an agent made or changed where host tools trust it.
type Finding struct {
	Path  string // below Root, hostile
	Entry string // of the list
	Why   string
	Moved string // where it is now, below Root; empty: it was left
	Err   error  // it should have been moved
	// Around: not it was changed, as far as can be told, but the folder that git
	// takes for a repository: it may have been renamed to where it is.
	Around bool
}

// Report is what a sweep found. Unseen: the workspace has more than is looked at.
type Report struct {
	Findings []Finding
	Unseen   bool
}

// Suffix is appended to the name of what is moved aside.
const Suffix = ".by-agent"

// Reason is the finding in a few words.
func (f Finding) Reason() string {
	switch {
	case f.Err != nil:
		return "made while the sandbox ran, and could not be moved aside: " + f.Err.Error()
	case f.Moved != "":
		return "made while the sandbox ran, moved aside"
	case f.Around:
		return "its repository was changed while the sandbox ran"
	}
	return "changed while the sandbox ran"
}

// Detail says more of it for a log.
func (f Finding) Detail() map[string]string {
	d := map[string]string{"entry": f.Entry}
	if f.Moved != "" {
		d["moved"] = f.Moved
	}
	return d
}

// String is the finding for the operator; whoever prints it escapes it.
func (f Finding) String() string {
	switch {
	case f.Err != nil:
		return fmt.Sprintf("%s was made while the sandbox ran and could not be moved aside (%v): look at it before you use the folder (%s)", f.Path, f.Err, f.Why)
	case f.Moved != "":
		return fmt.Sprintf("%s was made while the sandbox ran and is now %s (%s); look at it, then: mv %s %s", f.Path, f.Moved, f.Why, quote(f.Moved), quote(f.Path))
	case f.Around:
		return fmt.Sprintf("the repository of %s was changed while the sandbox ran: look at it before you use its folder (%s)", f.Path, f.Why)
	}
	return fmt.Sprintf("%s was changed while the sandbox ran: look at it before you use its folder (%s)", f.Path, f.Why)
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Bounds of the walk below a workspace. A million names take about two seconds;
// what is deeper than anybody's tree is not walked.
const (
	maxNames = 1_000_000
	maxDepth = 64
)

// Sweep looks for protected paths that were absent and are there now, and moves
// them aside by renaming: at the workspace's root all of them, in repositories
// below it what git would execute. Other protected names below the root that
// changed are reported. The agent must have ended.
func (w Watch) Sweep() (Report, error) {
	root, err := unix.Open(w.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return Report{}, fmt.Errorf("look for what the agent made in %s: %w", w.Root, err)
	}
	defer unix.Close(root)
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil || w.Found.Ino != 0 && st.Ino != w.Found.Ino {
		return Report{}, fmt.Errorf("look for what the agent made in %s: it is not the folder any more that the sandbox had", w.Root)
	}
	s := &sweep{Watch: w, root: root, left: maxNames, seen: map[string]bool{}}
	for _, rel := range w.Found.Absent {
		s.absent(rel, "")
	}
	for rel, link := range w.Found.Linked {
		s.absent(rel, link)
	}
	for _, rel := range w.Found.Here {
		// Its mount held the agent off, unless somebody on the host replaced the file.
		if st, ok := s.stat(rel); ok && s.changed(st) {
			e, _, _ := Match(rel)
			s.seen[rel] = true
			s.report.Findings = append(s.report.Findings, Finding{Path: rel, Entry: e.Path, Why: e.Why})
		}
	}
	if err := s.walk("."); err != nil {
		return s.report, fmt.Errorf("look for what the agent made in %s: %w", w.Root, err)
	}
	slices.SortFunc(s.report.Findings, func(a, b Finding) int { return strings.Compare(a.Path, b.Path) })
	return s.report, nil
}

type sweep struct {
	Watch
	root   int
	left   int
	seen   map[string]bool
	report Report
}

// absent looks at a place where nothing was, or a link with this target.
func (s *sweep) absent(rel, link string) {
	if s.seen[rel] {
		return
	}
	st, ok := s.stat(rel)
	if _, linked := s.Found.Linked[rel]; !ok && !linked { // a link on the way is new, too
		for dir := path.Dir(rel); dir != "."; dir = path.Dir(dir) {
			if at, ok := s.stat(dir); ok && at.Mode&unix.S_IFMT == unix.S_IFLNK && !s.seen[dir] {
				e, _, _ := Match(rel)
				s.moveAside(dir, e)
			}
		}
	}
	if !ok || link != "" && st.Mode&unix.S_IFMT == unix.S_IFLNK && linkAt(s.root, rel) == link {
		return
	}
	entry := Entry{Path: rel, Why: "a repository's own settings name it"}
	if e, _, ok := Match(rel); ok {
		entry = e
	}
	if !s.mayStay(rel, entry, st) {
		s.moveAside(rel, entry)
	}
}

func (s *sweep) stat(rel string) (unix.Stat_t, bool) {
	st, err := statAt(s.root, rel)
	return st, err == nil
}

// mayStay judges what stands at a protected path.
func (s *sweep) mayStay(rel string, e Entry, st unix.Stat_t) bool {
	if e.Path == gitDir { // a folder is a new repository, whose parts are entries of their own
		return st.Mode&unix.S_IFMT == unix.S_IFDIR || s.ofOurs(rel)
	}
	switch e.judge {
	case plainConfig:
		text := readSmall(s.root, rel)
		return text != nil && harmlessConfig(text)
	case samplesAlone:
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return false
		}
		names, err := list(s.root, rel, maxModules+1)
		return err == nil && len(names) <= maxModules && !slices.ContainsFunc(names, func(n name) bool { return !strings.HasSuffix(n.text, ".sample") })
	}
	return false
}

// ofOurs: a submodule's or worktree's file, whose repository lies in the
// workspace's own, is reached by no link and is looked at.
func (s *sweep) ofOurs(rel string) bool {
	to, ok := strings.CutPrefix(strings.TrimSpace(string(readSmall(s.root, rel))), "gitdir:")
	dir := place{s.root, filepath.Clean(s.Root)}.inside(path.Dir(rel), strings.TrimSpace(to))
	if !ok || !strings.HasPrefix(dir, gitDir+"/modules/") && !strings.HasPrefix(dir, gitDir+"/worktrees/") {
		return false
	}
	if st, there := s.stat(dir); !there || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false
	}
	s.repository(dir)
	return true
}

// moveAside renames a path so that no tool takes it for what it was.
func (s *sweep) moveAside(rel string, e Entry) {
	s.seen[rel] = true
	f := Finding{Path: rel, Entry: e.Path, Why: e.Why}
	f.Moved, f.Err = rename(s.root, rel)
	s.seen[f.Moved] = true
	s.report.Findings = append(s.report.Findings, f)
}

func rename(root int, rel string) (string, error) {
	dir, err := beneath(root, path.Dir(rel), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	move := func(to string) error {
		return unix.Renameat2(dir, path.Base(rel), dir, to, unix.RENAME_NOREPLACE)
	}
	for i := 1; i <= 100; i++ {
		to := path.Base(rel) + Suffix
		if i > 1 {
			to += fmt.Sprint("-", i)
		}
		err = move(to)
		var st unix.Stat_t
		if errors.Is(err, unix.EACCES) && unix.Fstat(dir, &st) == nil && st.Mode&0o200 == 0 { // the agent took the right to rename from its owner
			self := fmt.Sprintf("/proc/self/fd/%d", dir)
			if unix.Chmod(self, st.Mode&0o7777|0o200) == nil {
				err = move(to)
				_ = unix.Chmod(self, st.Mode&0o7777)
			}
		}
		if err == nil {
			return path.Join(path.Dir(rel), to), nil
		}
		if !errors.Is(err, unix.EEXIST) {
			break
		}
	}
	return "", err
}

// walk looks below the root for repositories and for names of the list.
func (s *sweep) walk(rel string) error {
	if strings.Count(rel, "/") > maxDepth {
		s.report.Unseen = true
		return nil
	}
	names, err := list(s.root, rel, s.left+1)
	if errors.Is(err, unix.EACCES) && s.makeReadable(rel) {
		names, err = list(s.root, rel, s.left+1)
	}
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return nil // what we cannot enter, a tool of ours does not read either
	}
	if err != nil {
		return err
	}
	if Fold(path.Base(rel)) == gitDir {
		s.repository(rel)
		return nil
	}
	if looksBare(names) { // git takes the folder itself for a repository
		s.repository(rel)
	}
	for _, n := range names {
		if s.left--; s.left < 0 {
			s.report.Unseen = true
			return nil
		}
		at := path.Join(rel, n.text)
		if s.visit(at) || !n.dir {
			continue
		}
		if err := s.walk(at); err != nil {
			return err
		}
	}
	return nil
}

// makeReadable gives the owner the right to list a folder that was changed, and
// that he may enter: a tool finds by name what we could not see.
func (s *sweep) makeReadable(rel string) bool {
	st, ok := s.stat(rel)
	if !ok || st.Mode&0o111 == 0 || !s.changed(st) {
		return false
	}
	fd, err := beneath(s.root, rel, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), st.Mode&0o7777|0o400) == nil
}

// visit looks at one name; true: what lies below it needs no look.
func (s *sweep) visit(rel string) bool {
	if slices.Contains(s.Found.Here, rel) || s.seen[rel] {
		return true // it was mounted read-only, or is dealt with
	}
	e, nested, ok := Match(rel)
	if !ok {
		return false
	}
	if slices.ContainsFunc(s.Open, func(word string) bool { return Opens(word, e.Path) }) {
		return true
	}
	if !nested && rel == gitDir {
		return false // modules are made in it
	}
	if !nested && (rel == e.Path || strings.HasPrefix(rel, e.Path+"/")) {
		return true // looked at by name
	}
	st, there := s.stat(rel)
	if there && e.Path == gitDir && st.Mode&unix.S_IFMT == unix.S_IFREG {
		s.ofOurs(rel) // what it names may have changed alone
	}
	if !there || !s.changed(st) {
		return false // what lies in it may have changed
	}
	top := topOf(rel, e)
	if s.seen[top] {
		return true
	}
	switch {
	case s.mayStay(top, e, st):
		return false
	case !nested, e.Path == gitDir: // another spelling; a repository somewhere else
		s.moveAside(top, e)
	default:
		s.seen[top] = true
		s.report.Findings = append(s.report.Findings, Finding{Path: top, Entry: e.Path, Why: e.Why})
	}
	return true
}

// repository looks at what git would execute of a repository's folder.
func (s *sweep) repository(dir string) {
	at, _ := s.stat(dir)
	for _, rel := range repository(dir) {
		st, there := s.stat(rel)
		if !there || s.seen[rel] || slices.Contains(s.Found.Here, rel) {
			continue
		}
		e, _, ok := Match(gitDir + "/" + path.Base(rel))
		if !ok || slices.ContainsFunc(s.Open, func(word string) bool { return Opens(word, e.Path) }) {
			continue
		}
		changed := s.changed(st)
		if e.judge == samplesAlone {
			hooks, _ := list(s.root, rel, maxModules)
			for _, h := range hooks {
				st, there := s.stat(rel + "/" + h.text)
				changed = changed || there && s.changed(st)
			}
		}
		if e.Path == gitDir+"/commondir" && path.Base(path.Dir(dir)) == "worktrees" && strings.TrimSpace(string(readSmall(s.root, rel))) == "../.." {
			continue // as git writes it
		}
		switch {
		case !changed && !s.changed(at) || s.mayStay(rel, e, st):
		case changed:
			s.moveAside(rel, e)
		default:
			s.seen[rel] = true
			s.report.Findings = append(s.report.Findings, Finding{Path: rel, Entry: e.Path, Why: e.Why, Around: true})
		}
	}
	for _, name := range s.folders(dir + "/worktrees") {
		s.repository(dir + "/worktrees/" + name)
	}
	s.modules(dir+"/modules", 0)
}

func (s *sweep) modules(dir string, depth int) {
	for _, name := range s.folders(dir) {
		sub := dir + "/" + name
		if depth > maxDepth {
			s.report.Unseen = true
			return
		}
		if _, there := s.stat(sub + "/HEAD"); there {
			s.repository(sub)
		} else {
			s.modules(sub, depth+1)
		}
	}
}

// folders are the folders in one, as far as the walk's bound goes.
func (s *sweep) folders(rel string) []string {
	if _, err := list(s.root, rel, 1); errors.Is(err, unix.EACCES) {
		s.makeReadable(rel)
	}
	names := folders(s.root, rel, max(s.left, 0)+1)
	if s.left -= len(names); s.left < 0 {
		s.report.Unseen = true
	}
	return names
}

// topOf is the part of a path that is the entry itself.
func topOf(rel string, e Entry) string {
	parts := strings.Split(rel, "/")
	n := strings.Count(e.Path, "/") + 1
	for i := range parts {
		if i+n > len(parts) {
			break
		}
		if m, _, ok := Match(strings.Join(parts[i:i+n], "/")); ok && m.Path == e.Path {
			return strings.Join(parts[:i+n], "/")
		}
	}
	return rel
}

// changed: the kernel sets the change time; no program can (utimensat(2) sets the others).
func (s *sweep) changed(st unix.Stat_t) bool {
	return !time.Unix(st.Ctim.Unix()).Before(s.Started)
}

type name struct {
	text string
	dir  bool
}

// list reads the names in a folder, at most max of them, sorted.
func list(root int, rel string, max int) ([]name, error) {
	fd, err := beneath(root, rel, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), filepath.Base(rel))
	defer dir.Close()
	entries, err := dir.ReadDir(max)
	var names []name
	for _, e := range entries {
		names = append(names, name{e.Name(), e.IsDir()})
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	slices.SortFunc(names, func(a, b name) int { return strings.Compare(a.text, b.text) })
	return names, err
}
