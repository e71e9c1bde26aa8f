package netname

import "net/netip"

// IsMetadataHost reports the names of cloud metadata services, and addresses
// that are one. Such a host is refused whatever it resolves to.
func IsMetadataHost(h Host) bool {
	if h.IsAddr() {
		return IsMetadataAddr(h.addr)
	}
	switch h.name {
	case "metadata.google.internal", "metadata.goog", "metadata",
		"instance-data", "instance-data.ec2.internal",
		"metadata.azure.internal", "metadata.azure.com",
		"metadata.packet.net", "metadata.platformequinix.com",
		"metadata.tencentyun.com",
		"api.metadata.cloud.ibm.com":
		return true
	}
	return false
}

// IsMetadataAddr reports the addresses of cloud metadata and platform services.
// All of them are AlwaysBlocked; this tells them apart for findings.
func IsMetadataAddr(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	t := table()
	for _, m := range t.metadata {
		if a == m {
			return true
		}
	}
	for _, s := range t.platforms {
		if s.net.Contains(a) {
			return true
		}
	}
	return false
}
