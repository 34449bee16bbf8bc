// Command immediate says whether Talos takes one machine config in the place of another without a reboot.
//
// The rule is machined's own and cannot be imported, so it is read out of its source, whose path is the only argument: the
// assignments of CanApplyImmediate, which make equal what may differ. What still differs then needs a reboot. The function's
// conditions ask for sections that are there on both sides, which is what an assignment through them needs, too.
//
// One JSON question a line on standard input ({"current": …, "wanted": …}, both YAML), one JSON answer a line on standard
// output ({"live": …}, or {"error": …}).
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"

	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/types/v1alpha1"
)

const function = "CanApplyImmediate"

type question struct {
	Current string `json:"current"`
	Wanted  string `json:"wanted"`
}

type answer struct {
	Live  bool   `json:"live"`
	Error string `json:"error"`
}

func main() {
	if len(os.Args) != 2 {
		fail(errors.New("name the file with " + function))
	}

	rule, err := read(os.Args[1])
	if err != nil {
		fail(err)
	}

	questions := json.NewDecoder(bufio.NewReaderSize(os.Stdin, 1<<20))
	answers := json.NewEncoder(os.Stdout)

	for {
		var q question

		if err := questions.Decode(&q); err != nil {
			return // end of input
		}

		var a answer

		live, err := rule.live(q)
		if err != nil {
			a.Error = err.Error()
		}

		a.Live = live

		if err = answers.Encode(a); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// rule holds the names of the fields that lead to what may differ.
type rule [][]string

func read(path string) (rule, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return nil, err
	}

	var found rule

	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Name.Name != function {
			continue
		}

		ast.Inspect(f.Body, func(node ast.Node) bool {
			assignment, ok := node.(*ast.AssignStmt)
			if !ok || assignment.Tok != token.ASSIGN || len(assignment.Lhs) != 1 || len(assignment.Rhs) != 1 {
				return true
			}

			to, from := fields(assignment.Lhs[0]), fields(assignment.Rhs[0])
			if len(to) < 2 || to[0] != "newConfig" {
				return true
			}

			if len(from) < 2 || from[0] != "currentConfig" || !slices.Equal(to[1:], from[1:]) {
				err = fmt.Errorf("%s assigns %v from %v, which is no longer understood here", function, to, from)
			}

			found = append(found, to[1:])

			return true
		})
	}

	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s has no %s that is understood here", path, function)
	}

	return found, err
}

// fields are the names in a.b.c.
func fields(e ast.Expr) []string {
	switch e := e.(type) {
	case *ast.Ident:
		return []string{e.Name}
	case *ast.SelectorExpr:
		if before := fields(e.X); before != nil {
			return append(before, e.Sel.Name)
		}
	}

	return nil
}

func (r rule) live(q question) (bool, error) {
	current, err := mainDocument(q.Current)
	if err != nil {
		return false, err
	}

	wanted, err := mainDocument(q.Wanted)
	if err != nil {
		return false, err
	}

	wanted = wanted.DeepCopy()

	for _, names := range r {
		from, to := reflect.ValueOf(current).Elem(), reflect.ValueOf(wanted).Elem()

		for i, name := range names {
			if from.Kind() == reflect.Pointer {
				if from.IsNil() || to.IsNil() {
					break
				}

				from, to = from.Elem(), to.Elem()
			}

			from, to = from.FieldByName(name), to.FieldByName(name)
			if !from.IsValid() {
				return false, fmt.Errorf("%v is no field of a config", names)
			}

			if i == len(names)-1 {
				to.Set(from)
			}
		}
	}

	return reflect.DeepEqual(current, wanted), nil
}

func mainDocument(text string) (*v1alpha1.Config, error) {
	cfg, err := configloader.NewFromBytes([]byte(text))
	if err != nil {
		return nil, err
	}

	if cfg.RawV1Alpha1() == nil {
		return nil, errors.New("there is no v1alpha1 document")
	}

	return cfg.RawV1Alpha1(), nil
}
