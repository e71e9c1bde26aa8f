package builtin

import (
	"fmt"

	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/middleware/external"
	"github.com/creel-run/creel/middleware/pii"
	"github.com/creel-run/creel/middleware/secrets"
)

// Factories gives the factory of each middleware, for middleware.New. known are
// the secrets that Creel keeps, which creel/secrets looks for by value as well;
// services are those that the operator registered.
func Factories(known []secrets.Known, services ...*external.Service) (map[string]middleware.Factory, error) {
	scanner, err := secrets.NewScanner(known...)
	if err != nil {
		return nil, err
	}
	all := map[string]middleware.Factory{
		secrets.Name:          secrets.Factory(scanner),
		secrets.OpenShellName: secrets.OpenShell,
		pii.Name:              pii.Factory,
	}
	for _, s := range services {
		if all[s.Name()] != nil {
			return nil, fmt.Errorf("register middleware %q: the name is taken", s.Name())
		}
		all[s.Name()] = s.Factory
	}
	return all, nil
}
