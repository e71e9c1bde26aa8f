# Rules as a list, each of which is looked at.
package creel

found contains rule if {
	some rule in data.rules
	host(rule.host)
}

host(pattern) if {
	not contains(pattern, "*")
	pattern == input.host
}

host(pattern) if {
	contains(pattern, "*")
	glob.match(pattern, ["."], input.host)
}
