package analyse

// maxGroups bounds the groups of conditions in one cell.
const maxGroups = 1024

// groupSet is a set of groups of conditions; it can be a key.
type groupSet [maxGroups / 64]uint64

func (s *groupSet) add(group int)      { s[group/64] |= 1 << (group % 64) }
func (s *groupSet) has(group int) bool { return s[group/64]>>(group%64)&1 != 0 }

func (s groupSet) or(o groupSet) groupSet {
	for i := range s {
		s[i] |= o[i]
	}
	return s
}

// within reports whether all groups of s are in o.
func (s groupSet) within(o groupSet) bool {
	for i := range s {
		if s[i]&^o[i] != 0 {
			return false
		}
	}
	return true
}
