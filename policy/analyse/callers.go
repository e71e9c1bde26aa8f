package analyse

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/glob"
)

// callers are the sets of callers that some conditions tell apart.
type callers struct {
	conditions []*condition
	group      map[string]int // of a condition, by its print
	groups     int
	programAt  map[string]int
	programs   []string  // the patterns, as classified
	coverage   *coverage // made when it is needed
	digests    []string  // that some condition wants; "" stands for all others
	classes    *automaton.Classes
	list       []caller
	byTaken    map[groupSet]int
}

// caller is a set of callers: those that exactly these groups of conditions
// take. The program and the ancestors are an example.
type caller struct {
	taken     groupSet
	known     bool
	program   int // class of programs
	sha256    string
	ancestors []int
	members   []member // all programs that are such a caller by themselves
}

// member is a class of programs with a digest.
type member struct {
	program int
	sha256  string
}

const maxCallers = 1 << 12 // sets of callers in one cell

// TooManyError says that a policy tells more cases apart at one place than are
// looked at.
type TooManyError struct {
	What string
	Most int
}

func (e *TooManyError) Error() string {
	return fmt.Sprintf("analyse policy: more than %d %s at one host and port", e.Most, e.What)
}

func (a *analysis) callersOf(c *cell) (*callers, error) {
	w := &callers{byTaken: map[groupSet]int{}, group: map[string]int{}}
	// Conditions that lead to the same endpoints need not be told apart.
	leadsTo := map[string][]string{}
	for side, list := range c.sides {
		for _, ep := range list {
			who := ep.net.who
			if leadsTo[who.print] == nil {
				w.conditions = append(w.conditions, who)
			}
			if to := fmt.Sprint(side, " ", ep.content); !slices.Contains(leadsTo[who.print], to) {
				leadsTo[who.print] = append(leadsTo[who.print], to)
			}
		}
	}
	slices.SortFunc(w.conditions, func(x, y *condition) int { return cmp.Compare(x.print, y.print) })
	key := ""
	groups := map[string]int{}
	for _, who := range w.conditions {
		to := leadsTo[who.print]
		slices.Sort(to)
		name := strings.Join(to, "\n")
		g, ok := groups[name]
		if !ok {
			g = len(groups)
			groups[name] = g
		}
		w.group[who.print] = g
		key += fmt.Sprint(g, " ", who.print, "\n")
	}
	w.groups = len(groups)
	if known := a.callerBy[key]; known != nil {
		return known, nil
	}
	if w.groups > maxGroups {
		return nil, &TooManyError{"rules with programs of their own", maxGroups}
	}
	if err := w.classify(a); err != nil {
		return nil, err
	}
	if err := a.spend(len(w.classes.List) * len(w.digests) * len(w.conditions)); err != nil {
		return nil, err
	}
	if err := w.combine(); err != nil {
		return nil, err
	}
	a.callerBy[key] = w
	return w, nil
}

// classify sorts programs by the patterns that match them.
func (w *callers) classify(a *analysis) error {
	w.programAt = map[string]int{}
	var sets []*automaton.Automaton
	w.digests = []string{""}
	for _, who := range w.conditions {
		for _, p := range who.programs {
			if !slices.Contains(w.digests, p.sha256) {
				w.digests = append(w.digests, p.sha256)
			}
			if _, known := w.programAt[p.text]; known {
				continue
			}
			w.programAt[p.text] = len(w.programs)
			set, err := programSet(p)
			if err != nil {
				return err
			}
			if err := a.spend(set.Work() / stepsOfAutomata); err != nil {
				return err
			}
			w.programs = append(w.programs, p.text)
			sets = append(sets, set)
		}
	}
	var err error
	if w.classes, err = a.classify(automaton.Programs(), sets); err != nil {
		return fmt.Errorf("patterns of programs: %w", err)
	}
	return nil
}

func programSet(p program) (*automaton.Automaton, error) {
	if !p.glob {
		return automaton.Texts(p.text)
	}
	g, err := glob.Compile(p.text, '/')
	if err != nil {
		return nil, err
	}
	return automaton.Glob(g)
}

// taken are the conditions that take a program as the caller, and those that
// take it as an ancestor.
func (w *callers) taken(class automaton.Class, sha256 string) (direct, above groupSet) {
	for _, who := range w.conditions {
		i := w.group[who.print]
		if who.any {
			direct.add(i)
			continue
		}
		for _, p := range who.programs {
			if !class.In(w.programAt[p.text]) {
				continue
			}
			if p.sha256 == "" || p.sha256 == sha256 {
				direct.add(i)
			}
			if who.ancestors && p.sha256 == "" { // of ancestors nobody took a digest
				above.add(i)
			}
		}
	}
	return direct, above
}

func (w *callers) unknownCaller() groupSet {
	var taken groupSet
	for _, who := range w.conditions {
		if who.any {
			taken.add(w.group[who.print])
		}
	}
	return taken
}

// combine lists every set of conditions that some caller meets: by its program
// alone, then with one ancestor more each.
func (w *callers) combine() error {
	w.add(caller{taken: w.unknownCaller()})
	var aboves []groupSet
	seen := map[groupSet]bool{{}: true}
	var classOf []int
	for i, class := range w.classes.List {
		for _, sum := range w.digests {
			direct, above := w.taken(class, sum)
			w.add(caller{taken: direct, known: true, program: i, sha256: sum})
			if !seen[above] {
				seen[above] = true
				aboves = append(aboves, above)
				classOf = append(classOf, i)
			}
		}
	}
	for i := 0; i < len(w.list); i++ {
		if !w.list[i].known {
			continue
		}
		for k, above := range aboves {
			one := w.list[i]
			if above.within(one.taken) {
				continue
			}
			one.taken = one.taken.or(above)
			one.ancestors = append(slices.Clone(one.ancestors), classOf[k])
			one.members = nil
			w.add(one)
			if len(w.list) > maxCallers {
				return &TooManyError{"sets of callers", maxCallers}
			}
		}
	}
	return nil
}

// add keeps one caller for each set of conditions. An unknown caller is kept
// beside a known one that the same rules take.
func (w *callers) add(c caller) {
	if !c.known {
		w.list = append(w.list, c)
		return
	}
	i, ok := w.byTaken[c.taken]
	if !ok {
		i = len(w.list)
		w.byTaken[c.taken] = i
		w.list = append(w.list, c)
	}
	if len(c.ancestors) == 0 {
		w.list[i].members = append(w.list[i].members, member{c.program, c.sha256})
	}
}

// takes reports whether a condition takes the caller.
func (w *callers) takes(c *caller, who *condition) bool { return c.taken.has(w.group[who.print]) }
