package secrets

import "github.com/creel-run/creel/middleware"

// Name is what a policy calls the middleware of this package.
const Name = "creel/secrets"

// Factory gives the middleware that looks for secrets by the rules and for known
// ones. Its settings are mode, on and parts (see middleware.Scan).
func Factory(s *Scanner) middleware.Factory {
	return func(config map[string]any) (middleware.Middleware, error) {
		scan := &middleware.Scan{What: "a secret", Most: middleware.MaxBody, Find: s.Find}
		settings := middleware.NewSettings(config)
		scan.Read(settings)
		if err := settings.Err(); err != nil {
			return nil, err
		}
		return scan, nil
	}
}
