package schema

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"github.com/creel-run/creel/policy"
)

const dialect = "https://json-schema.org/draft/2020-12/schema"

type object = map[string]any

// JSON is the JSON Schema of one version of the language, indented.
func JSON(version int) ([]byte, error) {
	if version < 1 || version > Versions {
		return nil, fmt.Errorf("write schema: there is no version %d, want a number of 1..%d", version, Versions)
	}
	sections := policy.Language()
	defs := object{}
	for _, s := range sections[1:] {
		if def, ok := mapping(s, version); ok {
			defs[name(s.Name)] = def
		}
	}
	root, _ := mapping(sections[0], version)
	root["$schema"] = dialect
	root["title"] = fmt.Sprintf("Creel policy, version %d", version)
	root["type"] = "object"
	root["$defs"] = defs
	properties := root["properties"].(object)
	one := properties["version"].(object)
	properties["version"] = object{"const": version, "description": one["description"]}
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write schema: %w", err)
	}
	return append(out, '\n'), nil
}

// Versions is the newest version of the language.
const Versions = 2

// mapping is the schema of a section; false if the version has no word of it.
func mapping(s policy.Section, version int) (object, bool) {
	properties, required := object{}, []string{}
	for _, w := range s.Words {
		if w.Since > version {
			continue
		}
		one := value(w.Value, version)
		one["description"] = w.About
		properties[w.Name] = one
		if w.Value.Required != 0 && w.Value.Required <= version {
			required = append(required, w.Name)
		}
	}
	def := object{
		"description":          strings.ReplaceAll(s.About, "`", ""),
		"type":                 orNothing("object"),
		"properties":           properties,
		"additionalProperties": false,
	}
	if len(required) > 0 {
		def["required"] = required
	}
	return def, len(properties) > 0
}

// orNothing: a key with nothing behind it is an empty mapping or list.
func orNothing(kind string) []string { return []string{kind, "null"} }

func value(v policy.Shape, version int) object {
	switch v.Form {
	case policy.Flag:
		return object{"type": "boolean"}
	case policy.Number:
		one := object{"type": "integer", "minimum": v.Low, "maximum": v.High}
		if v.Empty {
			return object{"anyOf": []object{one, {"enum": []any{"", nil}}}}
		}
		return one
	case policy.Size:
		return object{"type": []string{"string", "number"}}
	case policy.Text:
		one := object{"type": "string"}
		if v.Empty {
			one["type"] = orNothing("string")
		}
		if len(v.Words) > 0 {
			one["examples"] = v.Words
		}
		return one
	case policy.OneOf:
		var words []any
		for _, w := range v.Words {
			words = append(words, w)
		}
		if v.Empty {
			words = append(words, "", nil)
		}
		if v.Fold && version == 1 {
			return object{"anyOf": []object{{"enum": words}, {"type": "string", "pattern": folded(v.Words)}}}
		}
		return object{"enum": words}
	case policy.List:
		return object{"type": orNothing("array"), "items": value(v.Of[0], version)}
	case policy.Map:
		return object{"type": orNothing("object"), "additionalProperties": value(v.Of[0], version)}
	case policy.Mapping:
		return object{"$ref": "#/$defs/" + name(v.Section)}
	case policy.AnyOf:
		var list []object
		for _, alternative := range v.Of {
			if alternative.Since <= version {
				list = append(list, value(alternative, version))
			}
		}
		if len(list) == 1 {
			return list[0]
		}
		return object{"anyOf": list}
	case policy.Anything:
		return object{}
	}
	return object{"const": false}
}

// folded is a pattern for the words in any case.
func folded(words []string) string {
	var list []string
	for _, w := range words {
		var b strings.Builder
		for _, r := range w {
			if unicode.IsLetter(r) {
				fmt.Fprintf(&b, "[%c%c]", r, unicode.ToUpper(r))
			} else {
				b.WriteRune(r)
			}
		}
		list = append(list, b.String())
	}
	return "^(" + strings.Join(list, "|") + ")$"
}

func name(section string) string { return strings.ReplaceAll(section, " ", "_") }
