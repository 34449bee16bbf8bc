// Command schema prints the types of all config documents of one Talos release as JSON, read by reflection from pkg/machinery.
//
// The crate talos-config has the output checked in (src/schema/v1.13.json there): it tells the patch engine what Go knows from its
// types. Run from tests/oracles: go run ./schema > ../../daemon/crates/talos-config/src/schema/v1.13.json
//
// With the argument `names` it prints which Go field holds which key in the main document, because templates in patches name
// the fields: go run ./schema names > ../../daemon/crates/talos-config/src/schema/names-v1.13.json
//
// A type is written as a word: string, bool, int, float, bytes, any, duration, octal, url, size, opaque, overwritten, args,
// enum=<zero text>, or the name of a struct; with *T for a pointer, []T for a list, {}T for a map with text keys, !T for a struct
// that is taken whole, T! for a field that a patch replaces, and T@key for a list whose elements are matched by a key.
package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/types/v1alpha1"
)

const module = "github.com/siderolabs/talos/pkg/machinery"

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

type output struct {
	Source    string                       `json:"source"`
	Documents map[string]string            `json:"documents"`
	Structs   map[string]map[string]string `json:"structs"`
	names     map[string]map[string]string
}

// known are the types that say less about themselves than is needed.
var known = map[string]string{
	"v1alpha1.Unstructured":              "{}any",
	"v1alpha1.Endpoint":                  "url",
	"v1alpha1.Args":                      "args",
	"v1alpha1.FileMode":                  "octal",
	"v1alpha1.Base64Bytes":               "bytes",
	"v1alpha1.NetworkDeviceList":         "[]*v1alpha1.Device@interface",
	"v1alpha1.VlanList":                  "[]*v1alpha1.Vlan@vlanId",
	"v1alpha1.AdmissionPluginConfigList": "[]*v1alpha1.AdmissionPluginConfig@name",
	"extensions.ConfigFileList":          "[]extensions.ConfigFile@mountPath",
	"time.Duration":                      "duration",
	"meta.URL":                           "url",
	"security.ImageVerificationRules":    "[]security.ImageVerificationRuleV1Alpha1@image!",
	"block.Size":                         "size",
	// these two are merged by taking the patch's value even where the patch has none
	"block.ByteSize": "overwritten",
	"cel.Expression": "overwritten",
}

func main() {
	out := output{
		Source:    module + " " + version(),
		Documents: map[string]string{},
		Structs:   map[string]map[string]string{},
		names:     map[string]map[string]string{},
	}

	if len(os.Args) == 2 && os.Args[1] == "names" {
		out.add(reflect.TypeFor[v1alpha1.Config]())
		write(out.names)

		return
	}

	for _, kind := range kinds() {
		text := "apiVersion: v1alpha1\nkind: " + kind + "\n"
		if kind == "" {
			text = "version: v1alpha1\nmachine: {}\n"
		}

		cfg, err := configloader.NewFromBytes([]byte(text))
		if err != nil {
			fmt.Fprintln(os.Stderr, kind, err)

			continue
		}

		out.Documents[kind] = out.add(reflect.TypeOf(cfg.Documents()[0]).Elem())
	}

	write(out)
}

func write(out any) {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	encoder.SetEscapeHTML(false)

	if err := encoder.Encode(out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// kinds lists what the published schema names, with its mistakes put right (talos.md §1.3).
func kinds() []string {
	var schema struct {
		Defs map[string]struct {
			Properties map[string]struct {
				Enum []string `json:"enum"`
			} `json:"properties"`
		} `json:"$defs"`
	}

	raw, err := os.ReadFile(filepath.Join(directory(), "config", "schemas", "config.schema.json"))
	if err != nil {
		panic(err)
	}

	if err = json.Unmarshal(raw, &schema); err != nil {
		panic(err)
	}

	result := []string{"", "ImageVerificationConfig", "KubeSpanEndpointsConfig"}

	for _, def := range schema.Defs {
		for _, kind := range def.Properties["kind"].Enum {
			if kind != "KubeSpanEndpoints" {
				result = append(result, kind)
			}
		}
	}

	slices.Sort(result)

	return slices.Compact(result)
}

// directory is where Go keeps the sources of pkg/machinery.
func directory() string {
	raw, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		panic(err)
	}

	return strings.TrimSpace(string(raw))
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}

	return ""
}

func name(t reflect.Type) string { return strings.TrimPrefix(t.String(), "*") }

func (out *output) word(t reflect.Type) string {
	if word, ok := known[name(t)]; ok && t.Kind() != reflect.Pointer {
		out.visitElements(t)

		return word
	}

	if t.Kind() != reflect.Pointer && custom(t) {
		switch t.Kind() { //nolint:exhaustive
		case reflect.Slice, reflect.Map, reflect.Bool, reflect.String:
			// as the kind says
		case reflect.Struct:
			if strings.HasPrefix(name(t), "x509.") {
				// a certificate and its key are read together
				return "!" + out.add(t)
			}

			return "opaque"
		default:
			if m, ok := reflect.Zero(t).Interface().(encoding.TextMarshaler); ok {
				if text, err := m.MarshalText(); err == nil && !strings.Contains(string(text), "(") {
					return "enum=" + string(text)
				}
			}

			return "enum="
		}
	}

	switch t.Kind() {
	case reflect.Pointer:
		return "*" + out.word(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}

		return "[]" + out.word(t.Elem())
	case reflect.Map:
		return "{}" + out.word(t.Elem())
	case reflect.Struct:
		return out.add(t)
	case reflect.Interface:
		return "any"
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "string"
	case reflect.Float32, reflect.Float64:
		return "float"
	default:
		return "int"
	}
}

// custom says whether a type reads itself from YAML.
func custom(t reflect.Type) bool {
	_, reads := reflect.PointerTo(t).MethodByName("UnmarshalYAML")

	return reads || reflect.PointerTo(t).Implements(textType)
}

func (out *output) visitElements(t reflect.Type) {
	if t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 {
		out.word(t.Elem())
	}
}

func (out *output) add(t reflect.Type) string {
	if _, ok := out.Structs[name(t)]; !ok {
		out.Structs[name(t)] = map[string]string{}
		out.names[name(t)] = map[string]string{}
		out.fields(t, out.Structs[name(t)], out.names[name(t)])
	}

	return name(t)
}

func (out *output) fields(t reflect.Type, into, names map[string]string) {
	for i := range t.NumField() {
		field := t.Field(i)
		tag := strings.Split(field.Tag.Get("yaml"), ",")

		switch {
		case tag[0] == "-" || (!field.IsExported() && !field.Anonymous):
		case slices.Contains(tag[1:], "inline"):
			if field.Type.Kind() == reflect.Struct {
				out.fields(field.Type, into, names)
			} else {
				fmt.Fprintln(os.Stderr, "inline", name(t), field.Name, field.Type)
			}
		default:
			word := out.word(field.Type)
			if slices.Contains(strings.Split(field.Tag.Get("merge"), ","), "replace") {
				word += "!"
			}

			key := tag[0]
			if key == "" {
				key = strings.ToLower(field.Name)
			}

			into[key] = word
			names[field.Name] = key
		}
	}
}
