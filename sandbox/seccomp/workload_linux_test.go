package seccomp

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestWorkloads runs real programs under the filter: each does threads, files
// and processes of its own kind. What the machine lacks is named and passed
// over; the shell and Go are always there.
func TestWorkloads(t *testing.T) {
	tests := []struct {
		program string
		args    []string
		want    string
	}{
		{"sh", []string{"-c", "echo a | cat && (exit 3); echo $?"}, "a\n3"},
		{"bash", []string{"-c", "coproc cat; echo hi >&${COPROC[1]}; read -ru ${COPROC[0]} x; echo $x; true & wait $! && mkdir d && cp -a /etc/passwd d && ls d"}, "hi\npasswd"},
		{"go", []string{"version"}, "go version"},
		{"git", []string{"-c", "init.defaultBranch=x", "init", "r"}, "Initialized empty"},
		{"curl", []string{"-sS", "--version"}, "curl"},
		{"node", []string{"-e", `const {Worker}=require('worker_threads'),fs=require('fs');
			require('zlib').gzipSync('x'.repeat(1e5)); fs.watch('.').close(); fs.readdirSync('/');
			const c=require('child_process').execFileSync('true');
			const s=require('net').createServer().listen(0,()=>{require('net').connect(s.address().port,()=>{
			new Worker('1+1',{eval:true}).on('exit',c=>{console.log('worker',c);process.exit(0)})})})`}, "worker 0"},
		{"python3", []string{"-c", `import subprocess,threading,tempfile,socket,multiprocessing,ssl,sqlite3
t=threading.Thread(target=lambda:None);t.start();t.join()
with multiprocessing.get_context('fork').Pool(2) as p: print(p.map(abs,[-1,-2]))
print(subprocess.run(['echo','sub'],capture_output=True,text=True).stdout)
s=socket.create_server(('127.0.0.1',0));c=socket.create_connection(s.getsockname());print('net')
sqlite3.connect('x.db').execute('create table t(a)');print('done')`}, "done"},
		{"java", []string{"-XshowSettings:vm", "-version"}, "version"},
		{"make", []string{"-f", "/dev/null", "--eval", "a: ; echo 'int main(void){return 0;}' >a.c && cc a.c -o a && ./a && echo built", "-s", "a"}, "built"},
		{"cargo", []string{"new", "--vcs", "none", "c"}, ""},
		{"tmux", []string{"-S", "sock", "new-session", "-d", "cat", ";", "list-sessions", ";", "kill-server"}, "1 windows"},
		{"npm", []string{"--version"}, "."},
		{"pip", []string{"--version"}, "pip"},
	}
	var missing []string
	for _, tt := range tests {
		path, err := exec.LookPath(tt.program)
		if err != nil {
			if tt.program == "sh" || tt.program == "go" {
				t.Fatal(err)
			}
			missing = append(missing, tt.program)
			continue
		}
		t.Run(tt.program, func(t *testing.T) {
			role := []any{"exec", path}
			for _, a := range tt.args {
				role = append(role, a)
			}
			out, err := run(t, role...)
			if err != nil || !strings.Contains(out, tt.want) {
				t.Errorf("%s: %v, output %q; want %q", tt.program, err, out, tt.want)
			}
		})
	}
	if len(missing) > 0 {
		t.Logf("not on this machine: %s", strings.Join(missing, ", "))
	}
}

// TestGoBuild compiles and runs a program: the compiler, the linker and the
// runtime all live under the filter.
func TestGoBuild(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "main.go")
	const src = "package main\nimport \"sync\"\nfunc main(){var w sync.WaitGroup;for range 99{w.Go(func(){})};w.Wait();println(\"ran\")}\n"
	if err := os.WriteFile(file, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, "exec", goTool, "run", file); err != nil || !strings.Contains(out, "ran") {
		t.Errorf("go run: %v, %q", err, out)
	}
}
