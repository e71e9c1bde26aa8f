package policy

// Section is one mapping of the language: its keys in the order in which they
// are best written.
type Section struct {
	Name  string
	About string
	Words []Word
}

// Word is one key of a section.
type Word struct {
	Name  string
	Since int // the version of the language that brought it
	Value Shape
	About string // one sentence
}

// Form is the kind of value that a word takes. The zero value takes none.
type Form uint8

const (
	_        Form = iota
	Flag          // true or false
	Number        // of Low..High
	Size          // a number, or a text like 512M
	Text          // Words are usual ones
	OneOf         // one of Words
	List          // of Of[0]; nothing stands for an empty one
	Map           // keys are the writer's, values are Of[0]
	Mapping       // keys are those of Section
	AnyOf         // what one of Of takes
	Anything      // whatever it is
)

// Shape says what a word takes. The decoder may want more of a value (that a
// path is absolute, that a pattern is well formed), and never takes what its
// shape does not.
type Shape struct {
	Form      Form
	Words     []string
	Low, High int
	Of        []Shape
	Section   string
	Since     int  // of an alternative: the version that brought it
	Required  int  // the first version that wants the word; 0: none does
	Empty     bool // the empty text, or nothing, means that the word is not written
	Fold      bool // version 1 takes the words in any case
}

// Language is every section of the language, the document first. Its values
// are shared: they must not be changed.
func Language() []Section {
	list := make([]Section, 0, len(sections))
	for _, s := range sections {
		one := Section{Name: s.name, About: s.about, Words: make([]Word, 0, len(*s.words))}
		for _, w := range *s.words {
			one.Words = append(one.Words, Word{Name: w.name, Since: w.since, Value: w.value, About: w.about})
		}
		list = append(list, one)
	}
	return list
}
