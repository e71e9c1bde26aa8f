// Package cow keeps what agents changed in copy-on-write workspaces until the
// operator decides: it shows the changes, applies them to the real tree, or
// forgets them.
//
// A layer is a folder below the state folder's "cow", named after its sandbox:
//
//	NAME/layer.json   whose workspace it is, and since when (Meta)
//	NAME/lock         locked by the supervisor while its sandbox runs
//	NAME/data/upper   what the agent wrote, as overlayfs keeps it
//	NAME/data/work    overlayfs's own
//
// Mounting is package sandbox's. Everything in upper is hostile: it is opened
// beneath its root and through no link, and of overlayfs's attributes only
// "opaque" is read. The workspace is written beneath its root and through no
// link, too, each file by a rename.
//
// It is a leaf, imported by the supervisor and the command line. A layer has one
// writer at a time, who holds its lock; reading needs none.
package cow
