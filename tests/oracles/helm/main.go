// Command helm answers questions about release records with Helm's own code: its storage driver, and its upgrade.
//
// It reads one JSON question a line on standard input and answers one JSON line each on standard output. The crate handover
// builds and asks it (tests/helm.rs there), and so does control-plane. Records lie in memory; with a kubeconfig, in a cluster, and the upgrade is a real one.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/yaml"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/kube"
	"helm.sh/helm/v4/pkg/kube/fake"
	release "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/release/v1/util"
	"helm.sh/helm/v4/pkg/storage"
	"helm.sh/helm/v4/pkg/storage/driver"
)

type question struct {
	Ask  string `json:"ask"` // read, upgrade
	Name string `json:"name"`

	// where the records lie: in a cluster, or here
	Kubeconfig string          `json:"kubeconfig"`
	Namespace  string          `json:"namespace"`
	Secrets    []corev1.Secret `json:"secrets"`

	// what to upgrade to
	Chart  *chart.Chart   `json:"chart"`
	Values map[string]any `json:"values"`
}

type answer struct {
	Error    string          `json:"error,omitempty"`
	Releases []told          `json:"releases,omitempty"`
	Secrets  []corev1.Secret `json:"secrets,omitempty"`
}

// told is a release as Helm understood it.
type told struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Revision    int               `json:"revision"`
	Status      string            `json:"status"`
	Chart       *chart.Metadata   `json:"chart"`
	Values      map[string]any    `json:"values"`
	ApplyMethod string            `json:"applyMethod"`
	First       string            `json:"first"`
	Last        string            `json:"last"`
	Labels      map[string]string `json:"labels"`
	Objects     []any             `json:"objects"`
	Hooks       int               `json:"hooks"`
}

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	input := bufio.NewReader(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return
		}
		found, err := ask(line)
		if err != nil {
			found = &answer{Error: err.Error()}
		}
		if err := output.Encode(found); err != nil {
			return
		}
	}
}

func ask(line []byte) (*answer, error) {
	var question question
	if err := json.Unmarshal(line, &question); err != nil {
		return nil, err
	}
	configuration := action.NewConfiguration()
	memory := &secrets{namespace: question.Namespace, items: map[string]corev1.Secret{}}
	if question.Kubeconfig != "" {
		flags := genericclioptions.NewConfigFlags(false)
		flags.KubeConfig = &question.Kubeconfig
		flags.Namespace = &question.Namespace
		if err := configuration.Init(flags, question.Namespace, "secrets"); err != nil {
			return nil, err
		}
	} else {
		for _, secret := range question.Secrets {
			memory.items[secret.Name] = secret
		}
		configuration.Releases = storage.Init(driver.NewSecrets(memory))
		configuration.KubeClient = &fake.PrintingKubeClient{Out: io.Discard, LogOutput: io.Discard}
		configuration.Capabilities = common.DefaultCapabilities
	}
	switch question.Ask {
	case "read":
	case "upgrade":
		upgrade := action.NewUpgrade(configuration)
		upgrade.Namespace = question.Namespace
		// as helm-controller does
		upgrade.TakeOwnership = true
		upgrade.ForceConflicts = true
		upgrade.WaitStrategy = kube.HookOnlyStrategy
		if _, err := upgrade.Run(question.Name, question.Chart, question.Values); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("nothing is asked by %q", question.Ask)
	}
	history, err := configuration.Releases.History(question.Name)
	if err != nil {
		return nil, err
	}
	found := &answer{}
	for _, item := range history {
		release, ok := item.(*release.Release)
		if !ok {
			return nil, fmt.Errorf("a release is a %T", item)
		}
		told, err := tell(release)
		if err != nil {
			return nil, err
		}
		found.Releases = append(found.Releases, *told)
	}
	for _, secret := range memory.items {
		found.Secrets = append(found.Secrets, secret)
	}
	return found, nil
}

func tell(release *release.Release) (*told, error) {
	found := &told{
		Name:        release.Name,
		Namespace:   release.Namespace,
		Revision:    release.Version,
		Status:      release.Info.Status.String(),
		Chart:       release.Chart.Metadata,
		Values:      release.Config,
		ApplyMethod: release.ApplyMethod,
		First:       release.Info.FirstDeployed.UTC().Format("2006-01-02T15:04:05Z"),
		Last:        release.Info.LastDeployed.UTC().Format("2006-01-02T15:04:05Z"),
		Labels:      release.Labels,
		Hooks:       len(release.Hooks),
	}
	// as Helm takes the manifest apart before it compares it with a new one
	documents := util.SplitManifests(release.Manifest)
	for index := range len(documents) {
		var object any
		if err := yaml.Unmarshal([]byte(documents[fmt.Sprintf("manifest-%d", index)]), &object); err != nil {
			return nil, err
		}
		found.Objects = append(found.Objects, object)
	}
	return found, nil
}

// secrets are Secrets in memory, as far as Helm's driver asks for them.
type secrets struct {
	typed.SecretInterface
	namespace string
	items     map[string]corev1.Secret
}

var resource = schema.GroupResource{Resource: "secrets"}

func (s *secrets) Get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.Secret, error) {
	if secret, ok := s.items[name]; ok {
		return &secret, nil
	}
	return nil, errors.NewNotFound(resource, name)
}

func (s *secrets) List(_ context.Context, options metav1.ListOptions) (*corev1.SecretList, error) {
	selector, err := labels.Parse(options.LabelSelector)
	if err != nil {
		return nil, err
	}
	list := &corev1.SecretList{}
	for _, secret := range s.items {
		if secret.Type == "helm.sh/release.v1" && selector.Matches(labels.Set(secret.Labels)) {
			list.Items = append(list.Items, secret)
		}
	}
	return list, nil
}

func (s *secrets) Create(_ context.Context, secret *corev1.Secret, _ metav1.CreateOptions) (*corev1.Secret, error) {
	if _, ok := s.items[secret.Name]; ok {
		return nil, errors.NewAlreadyExists(resource, secret.Name)
	}
	secret.Namespace = s.namespace
	s.items[secret.Name] = *secret
	return secret, nil
}

func (s *secrets) Update(_ context.Context, secret *corev1.Secret, _ metav1.UpdateOptions) (*corev1.Secret, error) {
	if _, ok := s.items[secret.Name]; !ok {
		return nil, errors.NewNotFound(resource, secret.Name)
	}
	s.items[secret.Name] = *secret
	return secret, nil
}
