// Package egress is the data path of a sandbox: it accepts what the sandbox's
// network namespace redirects, judges it, and relays what is allowed.
//
// It may import leaves, audit, and its own subpackages (egress/ca, egress/dns);
// the supervisor hands it everything else behind the interfaces of Config.
// Every error on the way denies. See docs/ARCHITECTURE.md for the order of
// judgement.
package egress
