package probe

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Files are paths that speak of the host or would change it.
func Files() []Attempt {
	var all []Attempt
	for _, path := range []string{"/proc/1/mem", "/proc/1/environ", "/proc/1/maps", "/proc/1/root/etc"} {
		all = append(all, opens(Processes, path, unix.O_RDONLY))
	}
	for _, path := range []string{"/proc/kcore", "/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/kvm", "/dev/fuse", "/dev/net/tun",
		"/sys/kernel", "/sys/fs/cgroup", "/proc/sched_debug"} {
		all = append(all, opens(Mounts, path, unix.O_RDONLY))
	}
	for _, path := range []string{"/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches", "/proc/sys/kernel/modprobe",
		"/proc/sys/net/ipv4/ip_forward", "/proc/irq/default_smp_affinity", "/proc/pressure/cpu", "/etc/passwd", "/usr/bin/x", "/etc/ld.so.preload", "/x", "/run/creel/ca.pem"} {
		all = append(all, opens(Mounts, path, unix.O_WRONLY|unix.O_CREAT))
	}
	return append(all, Attempt{Layer: Namespaces, Name: "write /proc/self/uid_map", Try: func() string {
		// Opening it is harmless, writing counts.
		if os.WriteFile("/proc/self/uid_map", []byte("0 0 1"), 0) == nil {
			return "written"
		}
		return ""
	}})
}

func opens(layer, path string, flags int) Attempt {
	name := "open " + path
	if flags&unix.O_WRONLY != 0 {
		name += " for writing"
	}
	return Attempt{Layer: layer, Name: name, Try: func() string {
		f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return ""
		}
		_ = f.Close()
		return "opened"
	}}
}

// Status is what /proc/self/status must say.
func Status() []Attempt {
	var all []Attempt
	says := func(layer, want string) {
		name, value, _ := strings.Cut(want, ":\t")
		all = append(all, Attempt{Layer: layer, Name: name + " is " + value, Try: func() string {
			b, err := os.ReadFile("/proc/self/status")
			if err != nil {
				return err.Error()
			}
			for line := range strings.Lines(string(b)) {
				if got, ok := strings.CutPrefix(line, name+":"); ok {
					if got = strings.TrimSpace(got); got != value {
						return "it is " + got
					}
					return ""
				}
			}
			return "not said"
		}})
	}
	says(Privileges, "NoNewPrivs:\t1")
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		says(Privileges, set+":\t0000000000000000")
	}
	says(Seccomp, "Seccomp:\t2")
	return append(all, Attempt{Layer: Privileges, Name: "uid 0", Try: func() string {
		if os.Getuid() == 0 || os.Geteuid() == 0 {
			return "it is root"
		}
		return ""
	}})
}
