package schema

import (
	"fmt"
	"strings"

	"github.com/creel-run/creel/policy"
)

const intro = `# The policy language: reference

This page is written by ` + "`make docs`" + ` from the table that the decoder reads. It lists every word; [tutorial.md](tutorial.md) shows how to come to a policy, [README.md](README.md) lists the other pages.

A policy is one YAML document of at most 1 MiB. Keys are words of the list below or names that the writer chooses; an unknown key, a key twice, a value of another type, or
a word in another case is a fault, and a faulty file changes nothing. ` + "`creel policy check FILE`" + ` reports all faults at once, with line and column. Nothing behind a key is an empty mapping or list.
Aliases may be used for whole values; merge keys (` + "`<<`" + `) may not.

The column *since* is the version that brought a word: a file that says ` + "`version: 1`" + ` can use the words of version 1 alone. Words marked *not yet* are part of the language and refused by this build,
unless they are written as ` + "`false`" + `.

How values are written:

| value | |
|---|---|
| true or false | without quotes |
| number | decimal digits without quotes, no leading zero |
| size | a number, or for bytes a text such as ` + "`512M`" + ` or ` + "`2G`" + ` (powers of 1024) |
| text | a YAML text; quote what begins with ` + "`*`, `&`, `!`, `%`, `@`" + ` or could be a number or a boolean |
| glob | ` + "`*`" + ` is any run of characters that does not cross ` + "`/`" + ` in paths, ` + "`.`" + ` in hosts and query values; ` + "`**`" + ` as a whole component crosses; ` + "`?`, `[a-z]`, `{a,b}`" + ` and ` + "`\\`" + ` work as in a shell, but that an empty alternative (` + "`{a,}`" + `) is none |

`

// Reference is the reference of the language as a Markdown page.
func Reference() string {
	var b strings.Builder
	b.WriteString(intro)
	for _, s := range policy.Language() {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n| word | since | value | |\n|---|---|---|---|\n", s.Name, s.About)
		for _, w := range s.Words {
			fmt.Fprintf(&b, "| `%s` | %d | %s | %s%s |\n", w.Name, w.Since, inWords(w.Value), required(w), cell(w.About))
		}
		b.WriteByte('\n')
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func required(w policy.Word) string {
	switch {
	case w.Value.Required == 0:
		return ""
	case w.Value.Required <= w.Since:
		return "**Required.** "
	}
	return fmt.Sprintf("**Required in version %d.** ", w.Value.Required)
}

// cell keeps a star from becoming emphasis.
func cell(text string) string { return strings.ReplaceAll(text, "*", `\*`) }

func inWords(v policy.Shape) string {
	text := ""
	switch v.Form {
	case policy.Flag:
		text = "true or false"
	case policy.Number:
		text = fmt.Sprintf("number of %d..%d", v.Low, v.High)
	case policy.Size:
		text = "number or size"
	case policy.Text:
		text = "text"
	case policy.OneOf:
		text = either(v.Words)
	case policy.List:
		text = "list of " + plural(v.Of[0])
	case policy.Map:
		text = "mapping of names to " + plural(v.Of[0])
	case policy.Mapping:
		text = link(v.Section)
	case policy.AnyOf:
		var list []string
		for _, one := range v.Of {
			list = append(list, inWords(one))
		}
		text = strings.Join(list, ", or ")
	case policy.Anything:
		text = "anything"
	}
	if v.Since > 1 {
		text += fmt.Sprintf(" (version %d)", v.Since)
	}
	return text
}

func plural(v policy.Shape) string {
	if v.Form == policy.AnyOf {
		var list []string
		for _, one := range v.Of {
			text := plural(one)
			if one.Since > 1 {
				text += fmt.Sprintf(" (version %d)", one.Since)
			}
			list = append(list, text)
		}
		return strings.Join(list, " or ")
	}
	switch v.Form {
	case policy.Text:
		return "texts"
	case policy.Number:
		return fmt.Sprintf("numbers of %d..%d", v.Low, v.High)
	case policy.Mapping:
		return link(v.Section)
	}
	return inWords(v)
}

func either(words []string) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = "`" + w + "`"
	}
	if len(list) == 1 {
		return list[0]
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}

func link(section string) string {
	return fmt.Sprintf("[%s](#%s)", section, strings.ReplaceAll(section, " ", "-"))
}
