package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case roleSend: // runs inside the sandboxes
			os.Exit(bulkSend(os.Args[2:]))
		case roleHold:
			os.Exit(hold())
		case roleCall:
			os.Exit(callConnect())
		case roleName:
			os.Exit(askNames())
		case roleFlip:
			os.Exit(flip())
		case roleRelay:
			os.Exit(relay(os.Args[2:]))
		case roleReverse:
			os.Exit(reverse(os.Args[2:]))
		case roleLoad:
			os.Exit(load(os.Args[2:]))
		}
	}
	creel := flag.String("creel", "bin/creel", "the program to measure")
	tools := flag.String("tools", ".tools", "folder with the peers from npm")
	out := flag.String("out", "docs/BENCHMARKS.md", "file to write")
	only := flag.String("only", "", "one figure (B1, B2, B4, B6, B7, B8, B12, B13, B14, B15; B4 with B5), printed and not written to a file")
	rounds := flag.Int("rounds", 60, "rounds of the short figures")
	flag.Parse()
	if err := run(*creel, *tools, *out, *only, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(creel, tools, out, only string, rounds int) error {
	b, err := prepare(creel, tools)
	if err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if only != "" {
		return b.one(only)
	}
	var done []*comparison
	for _, who := range b.users() {
		fmt.Printf("B1 start as %s …\n", who.label)
		c := b.start(who)
		c.run(rounds, 2*time.Minute)
		c.print(os.Stdout)
		done = append(done, c)
	}
	fmt.Println("B3 bulk …")
	c, stop := b.bulk()
	c.run(9, 2*time.Minute)
	stop()
	c.print(os.Stdout)
	done = append(done, c)

	fmt.Println("B4 and B5 HTTPS …")
	list, err := b.measureHTTPS()
	if err != nil {
		return err
	}
	done = append(done, list...)

	for _, d := range []*comparison{b.decisions(), b.differences(), b.scanning()} {
		fmt.Printf("%s packages alone …\n", d.id)
		d.run(4, 2*time.Minute)
		d.print(os.Stdout)
		done = append(done, d)
	}

	fmt.Println("B7 a change …")
	c = b.change()
	c.print(os.Stdout)
	done = append(done, c)

	fmt.Println("B8 names …")
	c = b.names()
	c.run(9, 2*time.Minute)
	c.print(os.Stdout)
	done = append(done, c)

	fmt.Println("B12 the caller …")
	c = b.caller()
	c.run(9, 2*time.Minute)
	c.print(os.Stdout)
	done = append(done, c)

	fmt.Println("B10 the binary …")
	c = b.binary()
	c.run(rounds, time.Minute)
	c.print(os.Stdout)
	done = append(done, c)

	people := b.users()
	w := people[len(people)-1] // the ordinary user, if there is a choice
	fmt.Println("B2 memory of idle sandboxes …")
	c = b.idle(w)
	c.print(os.Stdout)
	done = append(done, c)

	fmt.Println("B15 least memory …")
	c = b.small(w)
	c.run(4, time.Minute)
	c.print(os.Stdout)
	done = append(done, c)

	f, err := os.Create(out)
	if err != nil {
		return err
	}
	b.report(f, done)
	if err := f.Close(); err != nil {
		return err
	}
	fmt.Println("wrote", filepath.ToSlash(out))
	return nil
}

// one measures a single figure.
func (b *bench) one(id string) error {
	if id == "B4" || id == "B5" {
		_, err := b.measureHTTPS()
		return err
	}
	people := b.users()
	if id == "B6" || id == "B7" || id == "B13" || id == "B14" { // the same for every user
		people = people[:1]
	}
	for _, w := range people {
		var c *comparison
		switch id {
		case "B1":
			c = b.start(w)
			c.run(60, 2*time.Minute)
		case "B6":
			c = b.decisions()
			c.run(4, 2*time.Minute)
		case "B7":
			c = b.change()
		case "B8":
			c = b.names()
			c.run(9, 2*time.Minute)
		case "B14":
			c = b.differences()
			c.run(4, 2*time.Minute)
		case "B13":
			c = b.scanning()
			c.run(4, 2*time.Minute)
		case "B12":
			c = b.caller()
			c.run(9, 2*time.Minute)
		case "B2":
			c = b.idle(w)
		case "B15":
			c = b.small(w)
			c.run(4, time.Minute)
		default:
			return fmt.Errorf("-only %s: want B1, B2, B4 (with B5), B6, B7, B8, B12, B13, B14 or B15", id)
		}
		c.print(os.Stdout)
	}
	return nil
}
