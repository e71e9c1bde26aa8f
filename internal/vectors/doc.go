// Package vectors runs the conformance vectors of testdata/vectors and
// testdata/vectors-more from tests. The first folder is a copy and says what
// OpenShell does; the second is the repository's own, and says what is done here.
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
