# Rules by key: those of the literal host, and those of the domain behind its
# first dot.
package creel

found contains rule if some rule in data.literal[input.host]

found contains rule if some rule in data.wild[domain]

domain := substring(input.host, indexof(input.host, ".") + 1, -1)
