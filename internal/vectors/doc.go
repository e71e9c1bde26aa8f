// Package vectors runs the conformance vectors of testdata/vectors from tests.
//
// A vector is an input and the outcome expected for it (the README beside them
// gives the form). An entry with a note may be judged more strictly on purpose,
// never more laxly; each package keeps its own table of such deviations, with
// the reason. CREEL_VECTORS names another folder of the same form, whose ids
// the tables cannot know: there a stricter outcome passes if the entry has a
// note, and is counted as stricter.
//
// Only tests import this package.
package vectors
