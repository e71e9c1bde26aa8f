package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// sharedCatalogue is where the catalogue lies beside the checkout, if it does.
const sharedCatalogue = "../shared/attacks.md"

func main() {
	asJSON := flag.Bool("json", false, "print JSON")
	from := flag.String("from", "", "read the output of `go test -json` from this file instead of running it")
	flag.Parse()
	ok, err := run(*from, *asJSON, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "attacks:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

// run is called at the root of the tree.
func run(from string, asJSON bool, out, errs io.Writer) (ok bool, err error) {
	text, err := os.ReadFile("testdata/attacks.txt")
	if err != nil {
		return false, err
	}
	list, err := parseList(string(text))
	if err != nil {
		return false, err
	}
	if text, err = os.ReadFile("testdata/attack-ways.txt"); err != nil {
		return false, err
	}
	excused, err := parseWays(string(text), list)
	if err != nil {
		return false, err
	}
	threats, err := os.ReadFile("docs/THREATS.md")
	if err != nil {
		return false, err
	}
	ok = true
	if text, err := os.ReadFile(sharedCatalogue); err == nil {
		for _, f := range difference(list, string(text)) {
			fmt.Fprintln(errs, "attacks:", f)
			ok = false
		}
	}
	t, err := suite(from)
	if err != nil {
		return false, err
	}
	if t.bad {
		fmt.Fprint(errs, t.log.String())
		ok = false
	}
	all := judge(list, parseThreats(string(threats)), t, excused)
	return ok && !bad(all), write(out, all, asJSON)
}

// suite runs the tests, or reads what they told before.
func suite(from string) (*tests, error) {
	if from != "" {
		f, err := os.Open(from)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readTests(f)
	}
	cmd := exec.Command("go", "test", "-json", "-count=1", "-timeout=15m", "-parallel=4", "-run=^TestEscape", "./e2e")
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t, err := readTests(pipe)
	var exit *exec.ExitError
	switch werr := cmd.Wait(); {
	case err != nil:
		return nil, err
	case errors.As(werr, &exit):
		t.bad = true
	case werr != nil:
		return nil, werr
	}
	return t, nil
}
