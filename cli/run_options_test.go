package cli

import "testing"

func TestBelowSystem(t *testing.T) {
	for _, c := range []struct {
		dir, home string
		want      bool
	}{
		{"/usr/share", "/root", true},
		{"/usr/share/doc/x", "/root", true},
		{"/usr/local", "/root", true},
		{"/usr/local/bin", "/root", true},
		{"/etc/cron.d", "/root", true},
		{"/boot/grub", "/root", true},
		{"/lib32/x", "/root", true},
		{"/var/lib", "/root", true},
		{"/var/lib/dpkg", "/root", true},
		{"/var/spool/cron", "/root", true},
		{"/usr/share", "/usr", true},
		{"/var/lib/dpkg", "/", true},
		{"/var/lib/dpkg", "/var/lib", true},
		{"/var/lib/dpkg", "/var/lib/ci", true},
		{"/var/lib/ci/work", "/var/lib/ci", false},
		{"/usr/local/src", "/root", false},
		{"/usr/local/src/x", "/root", false},
		{"/usr/src/linux", "/root", false},
		{"/usr/srcs", "/root", true},
		{"/var/tmp/x", "/root", false},
		{"/var/www/site", "/root", false},
		{"/library/x", "/root", false},
		{"/home/a/usr/share", "/home/a", false},
		{"/root/job", "/root", false},
		{"/srv/x", "/root", false},
		{"/opt/x", "/root", false},
	} {
		if got := belowSystem(c.dir, c.home); got != c.want {
			t.Errorf("%s with the home %s: %v", c.dir, c.home, got)
		}
	}
}
