// Command values puts a HelmRelease's values together with helm-controller's own code, and a Kustomization's variables into an object
// with kustomize-controller's.
//
// It reads one JSON question a line on standard input (the release's own values, its references, and the objects that they
// mean; or a Kustomization and an object) and answers one JSON line each on standard output. The crate handover builds and asks
// it (tests/values.rs and tests/postbuild.rs there).
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/chartutil"
	"github.com/fluxcd/pkg/kustomize"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/provider"
)

type question struct {
	Values     map[string]any              `json:"values"`
	References []meta.ValuesReference      `json:"references"`
	Maps       map[string]corev1.ConfigMap `json:"maps"`
	Secrets    map[string]corev1.Secret    `json:"secrets"`

	Kustomization map[string]any `json:"kustomization"`
	Object        map[string]any `json:"object"`
	Strict        bool           `json:"strict"`
}

type answer struct {
	Error  string         `json:"error,omitempty"`
	Values map[string]any `json:"values"`
}

func main() {
	input := bufio.NewReader(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return
		}
		found := answer{}
		if values, err := ask(line); err != nil {
			found.Error = err.Error()
		} else {
			found.Values = values
		}
		if err := output.Encode(found); err != nil {
			return
		}
	}
}

func ask(line []byte) (map[string]any, error) {
	var question question
	if err := json.Unmarshal(line, &question); err != nil {
		return nil, err
	}
	if question.Object != nil {
		return substituted(question)
	}
	return chartutil.ChartValuesFromReferences(context.Background(), logr.Discard(), &objects{question: question}, "tools",
		question.Values, question.References...)
}

// substituted is what comes of an object once the variables are in it.
func substituted(question question) (object map[string]any, err error) {
	// some parts of values cannot be cut out, and then it panics
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("%v", panicked)
		}
	}()
	resource, err := provider.NewDefaultDepProvider().GetResourceFactory().FromMap(question.Object)
	if err != nil {
		return nil, err
	}
	kustomization := unstructured.Unstructured{Object: question.Kustomization}
	strategy, _, err := unstructured.NestedString(question.Kustomization, "spec", "postBuild", "substituteStrategy")
	if err != nil {
		return nil, err
	}
	_, err = kustomize.SubstituteVariables(context.Background(), &objects{question: question}, kustomization, resource,
		kustomize.SubstituteWithStrict(question.Strict), kustomize.SubstituteWithAlways(strategy == "Always"))
	if err != nil {
		return nil, err
	}
	return resource.Map()
}

// objects are what a question brings along, as far as they are asked for.
type objects struct {
	kube.Client
	question question
}

func (o *objects) Get(_ context.Context, key kube.ObjectKey, object kube.Object, _ ...kube.GetOption) error {
	switch object := object.(type) {
	case *corev1.ConfigMap:
		if found, ok := o.question.Maps[key.Name]; ok {
			*object = found
			return nil
		}
	case *corev1.Secret:
		if found, ok := o.question.Secrets[key.Name]; ok {
			*object = found
			return nil
		}
	}
	return errors.NewNotFound(schema.GroupResource{Resource: "objects"}, key.Name)
}
