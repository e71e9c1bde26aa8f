// Package git turns what a Git client asks over HTTP into plain data, so that
// rules can speak of repositories, refs and pushes instead of paths and bytes.
//
// Git's smart HTTP protocol is two requests for each operation: the client asks
// for the refs (GET …/info/refs?service=…), and then posts what it wants
// (git-upload-pack) or gives (git-receive-pack). A push begins with its commands,
// "old new ref" for each ref, and ends with a pack of the objects that the server
// lacks. Whether an update leaves commits behind is not in the commands: FastForward
// looks for a way from the new commit back to the old one in the pack, which has
// every commit between the two, because the server lacks them.
//
// What it cannot tell it calls forced: a new commit that is not in the pack (one
// that the server has under another ref), and commits that are written as the
// difference to one that is not in the pack.
//
// A leaf: it imports nothing of creel and reads from what it is given. Everything
// is foreign bytes: lines, commands, objects and sizes are bounded, and whatever is
// not understood is an error. The dumb protocol and signed pushes are not understood.
//
// Sources: gitprotocol-http(5), gitprotocol-pack(5), gitprotocol-common(5),
// gitformat-pack(5).
package git
