package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/creel-run/creel/api"
)

// policyName is the policy that a workspace may carry.
const policyName = "creel.yaml"

// within reports whether path lies in dir or is dir; both are clean.
func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// trust remembers, for each workspace, the last policy of its own that an
// operator put into force. An agent that may write there could leave a policy
// for the next start; a policy that appeared or changed since then is therefore
// not taken by itself, but only when it is named with --policy.
type trust struct{ file string }

type trustRecord struct {
	Workspace string `json:"workspace"`
	Policy    string `json:"policy_sha256"` // empty: there was none
}

func trustOf(ws string) (trust, error) {
	state, err := api.StateDir()
	if err != nil {
		return trust{}, err
	}
	sum := sha256.Sum256([]byte(ws))
	return trust{filepath.Join(state, "workspaces", hex.EncodeToString(sum[:16])+".json")}, nil
}

// changed reports whether a policy differs from the one that was last trusted.
// A workspace that no agent has written to yet is trusted as it is.
func (t trust) changed(policy []byte) (bool, error) {
	b, err := os.ReadFile(t.file)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	var r trustRecord
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return true, fmt.Errorf("read workspace record: %w", err)
	}
	return r.Policy != digest(policy), nil
}

// known reports whether the workspace has a record.
func (t trust) known() bool {
	_, err := os.Lstat(t.file)
	return err == nil
}

// remember records a policy; nil stands for none.
func (t trust) remember(ws string, policy []byte) error {
	b, err := json.Marshal(trustRecord{Workspace: ws, Policy: digest(policy)})
	if err != nil {
		return fmt.Errorf("write workspace record: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(t.file), 0o700); err != nil {
		return fmt.Errorf("write workspace record: %w", err)
	}
	tmp := fmt.Sprintf("%s.%d", t.file, os.Getpid())
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write workspace record: %w", err)
	}
	return os.Rename(tmp, t.file)
}

func digest(policy []byte) string {
	if policy == nil {
		return ""
	}
	sum := sha256.Sum256(policy)
	return hex.EncodeToString(sum[:])
}
