package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// namespaces tries what a sandbox is built of, in one child.
func namespaces(ctx context.Context) []Feature {
	users := Feature{Name: "user namespaces", Required: true}
	proc := Feature{Name: "fresh /proc", Required: true}
	nft := Feature{Name: "nftables", Required: true}
	overlay := Feature{Name: "overlay"}
	done, startErr, err := tryInside(ctx)
	all := func() []Feature { return []Feature{users, proc, nft, overlay} }
	for _, f := range []*Feature{&proc, &nft, &overlay} {
		f.Detail = "needs user namespaces"
	}
	switch {
	case startErr != nil:
		explainUsers(&users, startErr)
		return all()
	case err != nil:
		users.Detail = err.Error()
		return all()
	case done["caps"].failed():
		users.Outcome = No
		users.Detail = "made, but without rights inside: " + done["caps"].Err
		users.Fix = usersFix(unix.EACCES)
		return all()
	}
	users.Outcome, users.Detail = Yes, "with mount, pid, network, ipc, uts and cgroup namespaces"

	settle(&proc, done, "proc", "",
		"run creel outside of the container, or start that with an unmasked /proc (podman, docker: --security-opt systempaths=unconfined; Kubernetes: procMount: Unmasked)")
	if proc.Outcome == No && done["proc"].Errno == unix.EPERM {
		proc.Detail = "refused: the /proc that is visible here has masks"
	}
	settle(&nft, done, "nft", "redirect and refusal load in a namespace",
		"modprobe -a nf_tables nft_redir nft_ct nft_reject_inet nf_nat")
	settle(&overlay, done, "overlay", "in a user namespace", "modprobe overlay")
	return all()
}

// settle turns a step into an outcome. A step that the child did not reach
// stays Unknown.
func settle(f *Feature, done steps, name, detail, fix string) {
	s, reached := done[name]
	switch {
	case !reached:
		f.Detail = "not tried"
	case s.failed():
		f.Outcome, f.Detail, f.Fix = No, s.Err, fix
	default:
		f.Outcome, f.Detail = Yes, detail
	}
}

func explainUsers(f *Feature, err error) {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		f.Detail = err.Error()
		return
	}
	switch errno {
	case unix.EPERM, unix.EACCES, unix.ENOSPC, unix.EUSERS, unix.EINVAL:
		f.Outcome, f.Detail, f.Fix = No, errno.Error(), usersFix(errno)
	default: // no memory, no process left: says nothing about namespaces
		f.Detail = err.Error()
	}
}

// usersFix names the switch that is in the way, if one of the known ones is.
func usersFix(errno unix.Errno) string {
	switch {
	case errno == unix.EINVAL:
		return "boot a kernel with CONFIG_USER_NS=y"
	case sysctl("user/max_user_namespaces") == "0":
		return "sysctl -w user.max_user_namespaces=15000"
	case errno == unix.ENOSPC || errno == unix.EUSERS:
		return "sysctl -w user.max_user_namespaces=15000 (all are in use, or they are nested too deep)"
	case sysctl("kernel/unprivileged_userns_clone") == "0":
		return "sysctl -w kernel.unprivileged_userns_clone=1"
	case sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
		return appArmorFix()
	}
	return "look for a seccomp profile or security module of the container or host that forbids clone(CLONE_NEWUSER)"
}

// appArmorFix gives creel alone the right, by a profile: switching the
// restriction off would give it to every program.
func appArmorFix() string {
	self, err := os.Executable()
	if err != nil || strings.ContainsAny(self, "'\"{}*?[]\\ \n") {
		self = "/usr/local/bin/creel"
	}
	return fmt.Sprintf(`printf 'abi <abi/4.0>,\nprofile creel %s flags=(unconfined) { userns, }\n' > /etc/apparmor.d/creel && apparmor_parser -r /etc/apparmor.d/creel`, self)
}

// sysctl reads a value; "" when there is none.
func sysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
