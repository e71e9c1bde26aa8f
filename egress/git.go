package egress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/creel-run/creel/policy/git"
)

// push is what was read of the body of a Git push.
type push struct {
	request *git.Request
	err     error    // why it was not understood
	spool   *os.File // the pack, if it was looked at; it has no name
	spooled int64    // of the server's spools, in bytes
	give    func(int64)
}

func (p *push) close() {
	if p.spool != nil {
		_ = p.spool.Close()
	}
	if p.spooled > 0 {
		p.give(p.spooled)
	}
	p.spool, p.spooled = nil, 0
}

// readGit reads what a Git client asks for: of a push the commands, which stand
// before the pack. The pack goes on as it comes, if it need not be looked at.
func (x *exchange) readGit() (*git.Request, error) {
	if x.push.request != nil || x.push.err != nil {
		return x.push.request, x.push.err
	}
	t := x.request.Target
	r, err := git.ParseTarget(x.h.verb(), t.Path, t.Query)
	if err != nil {
		return nil, err
	}
	service := "upload-pack"
	if r.Push {
		service = "receive-pack"
	}
	types := x.r.Header["Content-Type"]
	switch {
	case r.Discovery && x.h.hasBody():
		return nil, errors.New("a request for refs has no body")
	case r.Discovery:
		return r, nil
	case len(types) != 1 || types[0] != "application/x-git-"+service+"-request":
		return nil, errors.New("the content type is not that of git-" + service)
	case !r.Push:
		return r, nil // what is fetched is the repository's; its refs cannot be told apart
	case isEncoded(x.r.Header):
		return nil, errors.New("the commands of a push cannot be read where they are encoded; git does not encode them")
	}
	if x.push.err = x.readCommands(r); x.push.err != nil {
		return nil, x.push.err
	}
	x.push.request = r
	return r, nil
}

// readCommands reads the commands of a push and puts them back before the pack.
func (x *exchange) readCommands(r *git.Request) error {
	if !x.h.hasBody() {
		return errors.New("a push without commands")
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), bodyTimeout)
	defer cancel()
	if err := x.c.s.bodies.acquire(ctx, git.MaxCommands); err != nil {
		return err
	}
	defer x.c.s.bodies.left.Release(git.MaxCommands)
	control := http.NewResponseController(x.w)
	if err := control.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return errors.New("the body cannot be read")
	}
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	x.r.Header.Del("Expect")
	body := x.r.Body
	put := func(read []byte) {
		x.r.Body = &joined{io.MultiReader(bytes.NewReader(read), body), body}
	}
	lose := func(err error) error {
		x.lost = err
		return err
	}
	first := make([]byte, len(git.Flush))
	if _, err := io.ReadFull(body, first); err != nil {
		return lose(errors.New("the body is incomplete"))
	}
	if string(first) == git.Flush { // git asks so whether a large push would be taken
		if n, err := body.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
			return lose(git.ErrCommands)
		}
		put(first)
		r.Discovery = true
		return nil
	}
	updates, read, err := git.ReadCommands(io.MultiReader(bytes.NewReader(first), body))
	if err != nil {
		return lose(err)
	}
	put(read)
	r.Updates = updates
	return nil
}

// joined is a body whose begin was read already.
type joined struct {
	io.Reader
	io.Closer
}

// kept is the push as it would be if it kept every commit.
func kept(r *git.Request) *git.Request {
	k := *r
	k.Updates = slices.Clone(k.Updates)
	for i := range k.Updates {
		k.Updates[i].Forced, k.Updates[i].Unproved = false, false
	}
	return &k
}

// provePush looks in the pack for the way from what a ref gets to what it has,
// and keeps the pack in a file meanwhile: no byte of it may
// be sent before. It says why the push is denied if it still is.
func (x *exchange) provePush() (why string) {
	f, err := nameless()
	if err != nil {
		return "the pack cannot be kept while it is looked at: the folder for temporary files (TMPDIR) takes no file without a name"
	}
	x.push.spool, x.push.give = f, x.c.s.spools.Release
	body := x.r.Body
	in := &spooling{x: x, r: body, to: f, control: http.NewResponseController(x.w), until: time.Now().Add(spoolTime)}
	defer func() { _ = in.control.SetReadDeadline(time.Time{}) }()
	// The commands come once more, and are the same.
	updates, _, err := git.ReadCommands(in)
	if err == nil {
		err = git.FastForward(in, updates)
	}
	if in.err != nil {
		err = in.err
	}
	if err != nil {
		x.lost = err
		return strings.ReplaceAll(err.Error(), "\n", ": ")
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		x.lost = errors.New("the pack cannot be read back")
		return x.lost.Error()
	}
	x.r.Body = &joined{f, body}
	proved := *x.push.request
	proved.Updates = updates
	x.push.request, x.request.Git = &proved, &proved
	if slices.ContainsFunc(updates, func(u git.Update) bool { return u.Forced }) {
		return "a ref would get a commit from which the pack that is pushed does not lead back to the one that the ref has, so that commits may be left behind"
	}
	return ""
}

// spooling reads a body and keeps what it reads in a file.
type spooling struct {
	x       *exchange
	r       io.Reader
	to      *os.File
	control *http.ResponseController
	until   time.Time
	n       int64
	err     error
}

var (
	errSpoolLong = errors.New("the push is too long for its commits to be looked at; push in smaller parts, or let the rule say force: true")
	errSpoolMany = errors.New("too many pushes are being looked at at once")
	errSpoolDisk = errors.New("the pack cannot be kept while it is looked at: the temporary file cannot be written")
	errSpoolLate = errors.New("the push took too long")
)

func (s *spooling) Read(p []byte) (int, error) {
	const step = 1 << 20
	if s.err != nil {
		return 0, s.err
	}
	fail := func(err error) (int, error) { s.err = err; return 0, err }
	if s.x.push.spooled-s.n < int64(len(p)) {
		take := int64(max(step, len(p)))
		if s.x.push.spooled+take > maxSpool+step {
			return fail(errSpoolLong)
		}
		if !s.x.c.s.spools.TryAcquire(take) {
			return fail(errSpoolMany)
		}
		s.x.push.spooled += take
	}
	now := time.Now()
	if now.After(s.until) {
		return fail(errSpoolLate)
	}
	_ = s.control.SetReadDeadline(now.Add(bodyTimeout))
	n, err := s.r.Read(p)
	if s.n += int64(n); s.n > maxSpool {
		return fail(errSpoolLong)
	}
	if _, werr := s.to.Write(p[:n]); werr != nil {
		return fail(errSpoolDisk)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fail(errors.New("the body is incomplete"))
	}
	return n, err
}
