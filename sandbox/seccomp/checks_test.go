package seccomp

import "testing"

func TestArguments(t *testing.T) {
	const high = 1 << 32 // the kernel cuts it off, so the filter must not look at it
	const dir = 0o200000 // O_DIRECTORY
	tests := []struct {
		call string
		args []uint64
		want Action
	}{
		{"open", []uint64{0, 0, 0o7777}, Allow}, // garbage mode, nothing created
		{"open", []uint64{0, oCreat, 0o644}, Allow},
		{"open", []uint64{0, oCreat, 0o4755}, refuse},
		{"open", []uint64{0, oTmpfile | dir, 0o2755}, refuse},
		{"openat", []uint64{0, 0, 0, 0o6755}, Allow},
		{"openat", []uint64{0, 0, oCreat | 1, 0o1777}, Allow},
		{"openat", []uint64{0, 0, oCreat | high, 0o4755 | high}, refuse},
		{"openat", []uint64{0, 0, oTmpfile | dir | 2, 0o4700}, refuse},
		{"creat", []uint64{0, 0o644}, Allow},
		{"creat", []uint64{0, 0o4644}, refuse},
		{"mkdir", []uint64{0, 0o1777}, Allow},
		{"mkdir", []uint64{0, 0o2755}, refuse},
		{"mkdirat", []uint64{0, 0, 0o755}, Allow},
		{"mkdirat", []uint64{0, 0, 0o4755}, refuse},
		{"chmod", []uint64{0, 0o755}, Allow},
		{"chmod", []uint64{0, 0o4755}, refuse},
		{"chmod", []uint64{0, 0o2755 | high}, refuse},
		{"fchmod", []uint64{0, 0o755}, Allow},
		{"fchmod", []uint64{0, 0o6000}, refuse},
		{"fchmodat", []uint64{0, 0, 0o755}, Allow},
		{"fchmodat", []uint64{0, 0, 0o4755}, refuse},
		{"fchmodat2", []uint64{0, 0, 0o755, 0x100}, Allow},
		{"fchmodat2", []uint64{0, 0, 0o2755, 0x100}, refuse},
		{"mknod", []uint64{0, 0o644}, Allow}, // type 0 is a file
		{"mknod", []uint64{0, typeFile | 0o644}, Allow},
		{"mknod", []uint64{0, typeFile | 0o4644}, refuse},
		{"mknod", []uint64{0, typeFIFO | 0o600}, Allow},
		{"mknod", []uint64{0, typeSock | 0o600}, Allow},
		{"mknod", []uint64{0, 0o020000 | 0o600, 0}, refuse}, // character device, whiteouts too
		{"mknod", []uint64{0, 0o060000 | 0o600}, refuse},    // block device
		{"mknod", []uint64{0, 0o040000 | 0o600}, refuse},    // a folder is not made so
		{"mknodat", []uint64{0, 0, typeFIFO | 0o600}, Allow},
		{"mknodat", []uint64{0, 0, 0o020000 | high}, refuse},
		{"mknodat", []uint64{0, 0, typeFile | 0o2755}, refuse},

		{"clone", []uint64{0x1200011}, Allow},               // fork of libc
		{"clone", []uint64{0x3d0f00}, Allow},                // a thread of libc
		{"clone", []uint64{0x50f00}, Allow},                 // a thread of Go
		{"clone", []uint64{0x4111}, Allow},                  // vfork of Go
		{"clone", []uint64{0x10000000 | 17}, refuse},        // user
		{"clone", []uint64{0x40000000 | 17 | high}, refuse}, // net
		{"clone", []uint64{0x20000 | 17}, refuse},           // mount
		{"clone", []uint64{0x20000000 | 17}, refuse},        // pid
		{"clone", []uint64{0x8000000 | 17}, refuse},         // ipc
		{"clone", []uint64{0x4000000 | 17}, refuse},         // uts
		{"clone", []uint64{0x2000000 | 17}, refuse},         // cgroup

		{"socket", []uint64{1, 1, 0}, Allow},
		{"socket", []uint64{1, 5 | 0x80000, 0}, Allow},
		{"socket", []uint64{1, 2 | 0x80000, 0}, refuseProtocol}, // a unix datagram could go to the host
		{"socket", []uint64{1, 5 | 0x800, 0}, Allow},
		{"socket", []uint64{1, 3, 0}, refuseFamily},
		{"socket", []uint64{2, 1, 0}, Allow},
		{"socket", []uint64{2, 1 | 0x80800, 6}, Allow},
		{"socket", []uint64{10, 1, 0}, Allow},
		{"socket", []uint64{10, 2, 17}, Allow},
		{"socket", []uint64{2 | high, 2 | high, 0 | high}, Allow},
		{"socket", []uint64{2, 2, 6}, refuseProtocol},
		{"socket", []uint64{2, 1, 17}, refuseProtocol},
		{"socket", []uint64{2, 1, 262}, refuseProtocol}, // MPTCP
		{"socket", []uint64{10, 1 | 0x80000, 262}, refuseProtocol},
		{"socket", []uint64{2, 1, 132}, refuseProtocol}, // SCTP
		{"socket", []uint64{2, 5, 132}, refuseProtocol},
		{"socket", []uint64{2, 5, 0}, refuseProtocol},
		{"socket", []uint64{2, 6, 33}, refuseProtocol},  // DCCP
		{"socket", []uint64{2, 2, 1}, refuseProtocol},   // ping
		{"socket", []uint64{10, 2, 58}, refuseProtocol}, // ping
		{"socket", []uint64{2, 2, 136}, refuseProtocol}, // UDP-Lite
		{"socket", []uint64{2, 3, 255}, refuse},
		{"socket", []uint64{10, 3 | 0x80000, 58}, refuse},
		{"socket", []uint64{2, 10, 0x300}, refuse}, // SOCK_PACKET
		{"socket", []uint64{16, 3 | 0x80000, 0}, Allow},
		{"socket", []uint64{16, 2, 0}, Allow},
		{"socket", []uint64{16, 3, 4}, refuseFamily},  // sock_diag
		{"socket", []uint64{16, 3, 9}, refuseFamily},  // audit
		{"socket", []uint64{16, 3, 12}, refuseFamily}, // netfilter
		{"socket", []uint64{16, 3, 15}, refuseFamily}, // uevents
		{"socket", []uint64{17, 3, 0}, refuseFamily},  // AF_PACKET
		{"socket", []uint64{38, 5, 0}, refuseFamily},  // AF_ALG
		{"socket", []uint64{40, 1, 0}, refuseFamily},  // AF_VSOCK
		{"socket", []uint64{31, 3, 1}, refuseFamily},  // AF_BLUETOOTH
		{"socket", []uint64{30, 1, 0}, refuseFamily},  // AF_TIPC
		{"socket", []uint64{44, 3, 0}, refuseFamily},  // AF_XDP
		{"socket", []uint64{15, 3, 2}, refuseFamily},  // AF_KEY
		{"socket", []uint64{0, 1, 0}, refuseFamily},
		{"socket", []uint64{1<<32 + 40, 1, 0}, refuseFamily},
		{"memfd_create", []uint64{0, 0}, refuseAccess},
		{"memfd_create", []uint64{0, 1 | 2}, refuseAccess},
		{"memfd_create", []uint64{0, 0x10}, refuseAccess},
		{"memfd_create", []uint64{0, 8 | 1}, Allow},
		{"socketpair", []uint64{1, 1, 0}, Allow},
		{"socketpair", []uint64{1, 5 | 0x80800, 0}, Allow},
		{"socketpair", []uint64{1, 2, 0}, refuseProtocol},
		{"socketpair", []uint64{30, 1, 0}, refuseFamily},
		{"socketpair", []uint64{2, 1, 0}, refuseFamily},

		{"sendto", []uint64{3, 0, 9, 0x4000}, Allow},
		{"sendto", []uint64{3, 0, 9, msgFastOpen}, refuseOperation},
		{"sendto", []uint64{3, 0, 9, msgFastOpen | 0x4000 | high}, refuseOperation},
		{"sendmsg", []uint64{3, 0, 0x4000}, Allow},
		{"sendmsg", []uint64{3, 0, msgFastOpen}, refuseOperation},
		{"sendmmsg", []uint64{3, 0, 2, 0}, Allow},
		{"sendmmsg", []uint64{3, 0, 2, msgFastOpen}, refuseOperation},
		{"setsockopt", []uint64{3, 6, 1}, Allow},
		{"setsockopt", []uint64{3, 1, 30}, Allow},
		{"setsockopt", []uint64{3, 6, tcpFastOpenConnect}, refuseOperation},
		{"setsockopt", []uint64{3, 6 | high, tcpULP | high}, refuseOperation},

		{"ioctl", []uint64{0, 0x5401}, Allow}, // TCGETS
		{"ioctl", []uint64{0, 0x5413}, Allow}, // TIOCGWINSZ
		{"ioctl", []uint64{0, 0x540e}, Allow}, // TIOCSCTTY
		{"ioctl", []uint64{0, 0x5412}, refuse},
		{"ioctl", []uint64{0, 0x5412 | high}, refuse}, // CVE-2023-1523
		{"ioctl", []uint64{0, 0x541c}, refuse},
		{"ioctl", []uint64{0, 0x541c | 0xdeadbeef<<32}, refuse},
		{"ioctl", []uint64{0, 0x541d}, refuse},
		{"ioctl", []uint64{0, 0x5423}, refuse},
		{"ioctl", []uint64{0, 0x50009401}, refuse},        // BTRFS_IOC_SNAP_CREATE
		{"ioctl", []uint64{0, 0x50009417}, refuse},        // BTRFS_IOC_SNAP_CREATE_V2
		{"ioctl", []uint64{0, 0x50009417 | high}, refuse}, // CVE-2023-1523
		{"ioctl", []uint64{0, 0x5000940e}, refuse},        // BTRFS_IOC_SUBVOL_CREATE
		{"ioctl", []uint64{0, 0x5000943f}, refuse},        // BTRFS_IOC_SNAP_DESTROY_V2
		{"ioctl", []uint64{0, 0x4020bc10}, refuse},        // BCH_IOCTL_SUBVOLUME_CREATE
		{"ioctl", []uint64{0, 0x40049409}, Allow},         // FICLONE
		{"ioctl", []uint64{0, 0x4020940d}, Allow},         // FICLONERANGE
		{"ioctl", []uint64{0, 0xc0189436}, Allow},         // FIDEDUPERANGE
		{"ioctl", []uint64{0, 0x5000940d}, refuse},        // the number of one, not its size
		{"ioctl", []uint64{0, 0xc0406618}, refuse},        // FS_IOC_REMOVE_ENCRYPTION_KEY
		{"ioctl", []uint64{0, 0xc0506617}, refuse},        // FS_IOC_ADD_ENCRYPTION_KEY
		{"ioctl", []uint64{0, 0x80086601}, Allow},         // FS_IOC_GETFLAGS
		{"ioctl", []uint64{0, 0xc020660b}, Allow},         // FS_IOC_FIEMAP

		{"fcntl", []uint64{3, 1, 3}, Allow},    // F_GETFD
		{"fcntl", []uint64{3, 1025}, Allow},    // F_GETLEASE
		{"fcntl", []uint64{3, 1030, 3}, Allow}, // F_DUPFD_CLOEXEC
		{"fcntl", []uint64{3, fSetLease, 0}, refuse},
		{"fcntl", []uint64{3, fSetLease | high, 1}, refuse},
		{"fcntl", []uint64{3, fNotify, 1}, refuse},
		{"fcntl", []uint64{3, fSetDeleg, 0}, refuse},
		{"prlimit64", []uint64{0, 7, 0x7f0000001000, 0}, Allow},
		{"prlimit64", []uint64{high, 7, 0x7f0000001000, 0}, Allow}, // pid_t is an int: still 0
		{"prlimit64", []uint64{77, 7, 0, 0x7f0000001000}, Allow},
		{"prlimit64", []uint64{77, 7, 0x7f0000001000, 0}, refuse},
		{"prlimit64", []uint64{77, 7, 0x7f00000000, 0}, refuse}, // the lower half of this pointer is 0
		{"prlimit64", []uint64{77, 7, 0x1000, 0}, refuse},

		{"prctl", []uint64{15}, Allow},
		{"prctl", []uint64{4, 0}, Allow},
		{"prctl", []uint64{38, 1}, Allow},
		{"prctl", []uint64{0x53564d41}, Allow},
		{"prctl", []uint64{22, 2}, Allow},
		{"prctl", []uint64{35, 13}, refuse},
		{"prctl", []uint64{35 | high, 14}, refuse},
		{"prctl", []uint64{28, 1}, refuse},
		{"prctl", []uint64{47, capAmbientRaise}, refuse},
		{"prctl", []uint64{47, 4}, Allow},
		{"prctl", []uint64{57, 1}, refuseValue},
		{"prctl", []uint64{62}, refuseValue},
		{"prctl", []uint64{1000}, refuseValue},
		{"personality", []uint64{0xffffffff}, Allow},
		{"personality", []uint64{0}, Allow},
		{"personality", []uint64{0x0400000}, refuse}, // READ_IMPLIES_EXEC
		{"personality", []uint64{0x0040000}, refuse}, // ADDR_NO_RANDOMIZE

		{"seccomp", []uint64{0}, Allow},
		{"seccomp", []uint64{1, 0}, Allow},
		{"seccomp", []uint64{1, 1 | 4}, Allow},
		{"seccomp", []uint64{1, 8}, refuse},
		{"seccomp", []uint64{1 | high, 8 | 1 | high}, refuse},
		{"seccomp", []uint64{2, 0}, Allow},

		{"connect", []uint64{3}, Allow},
		{"execve", []uint64{1, 2, 3}, Allow},
	}
	covered := map[string]bool{}
	for arch, audit := range arches {
		m := newMachine(t, Spec{Arch: arch})
		for _, tt := range tests {
			covered[tt.call] = true
			c := find(t, arch, tt.call)
			if c == nil {
				if arch == "amd64" {
					t.Errorf("no call %s", tt.call)
				}
				continue // arm64 has no open, creat, mkdir, chmod, mknod
			}
			if got := m.call(audit, uint32(c.number(arch)), tt.args...); got != tt.want {
				t.Errorf("%s: %s%#x: %v, want %v", arch, tt.call, tt.args, got, tt.want)
			}
		}
		if got := newMachine(t, Spec{Arch: arch, Notify: true}).call(audit, uint32(find(t, arch, "connect").number(arch))); got != Notify {
			t.Errorf("%s: connect with Notify: %v", arch, got)
		}
	}
	for _, table := range tables() {
		for _, g := range table {
			for _, c := range g.calls {
				if c.check != nil && !covered[c.name] {
					t.Errorf("the check of %s has no test", c.name)
				}
			}
		}
	}
}
