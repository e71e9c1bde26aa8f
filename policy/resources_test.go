package policy

import "testing"

func TestParseLimits(t *testing.T) {
	for _, tt := range []struct {
		parse func(string) (int64, error)
		text  string
		want  int64 // 0: refused
	}{
		{ParseMemory, "512M", 512 << 20}, {ParseMemory, "2Gi", 2 << 30}, {ParseMemory, "16777216", 16 << 20}, {ParseMemory, "1T", 1 << 40},
		{ParseMemory, "15M", 0}, {ParseMemory, "0", 0}, {ParseMemory, "-1G", 0}, {ParseMemory, "1.5G", 0}, {ParseMemory, "512m", 0}, {ParseMemory, "512MB", 0},
		{ParseMemory, "G", 0}, {ParseMemory, "", 0}, {ParseMemory, "9999999999T", 0}, {ParseMemory, "1iM", 0}, {ParseMemory, "1KM", 0}, {ParseMemory, "0x40000000", 0},
		{ParseDisk, "1M", 1 << 20}, {ParseDisk, "1K", 0},
		{ParseCPU, "0.5", 500}, {ParseCPU, "2", 2000}, {ParseCPU, "0.01", 10}, {ParseCPU, "1.125", 1125},
		{ParseCPU, "0", 0}, {ParseCPU, "0.001", 0}, {ParseCPU, "1.", 0}, {ParseCPU, ".5", 0}, {ParseCPU, "1e3", 0}, {ParseCPU, "-1", 0}, {ParseCPU, "1.0005", 0}, {ParseCPU, "1000000", 0},
		{ParsePIDs, "1", 1}, {ParsePIDs, "0", 0}, {ParsePIDs, "01", 0}, {ParsePIDs, "99999999", 0}, {ParseOpenFiles, "16", 16}, {ParseOpenFiles, "15", 0},
	} {
		got, err := tt.parse(tt.text)
		if got != tt.want || (err == nil) != (tt.want > 0) {
			t.Errorf("%q: %d, %v; want %d", tt.text, got, err, tt.want)
		}
	}
}
