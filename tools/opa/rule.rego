# What one rule takes: the same meaning as creel's for the rules that bench
# writes. find.rego says which rules are looked at.
package creel

default connect := false

connect if {
	some rule in found
	named(rule)
}

default request := false

request if {
	allowed
	not denied
}

allowed if {
	some rule in found
	named(rule)
	some entry in rule.allow
	takes(entry)
}

denied if {
	some rule in found
	named(rule)
	some entry in rule.deny
	takes(entry)
}

named(rule) if {
	rule.port == input.port
	program(rule)
}

program(rule) if input.binary in rule.binaries

program(rule) if {
	some pattern in rule.binary_globs
	glob.match(pattern, ["/"], input.binary)
}

takes(entry) if {
	method(entry.method)
	glob.match(entry.path, ["/"], input.path)
	every key, pattern in entry.query {
		every value in input.query[key] {
			glob.match(pattern, ["."], value)
		}
	}
}

method("*")

method(name) if name == input.method
