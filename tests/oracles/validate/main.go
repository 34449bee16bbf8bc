// Command validate answers questions about machine configs with Talos's own code: the generator, the strict decoder, the
// validation of `talosctl validate --strict --mode metal`, the patcher and the secrets bundle of pkg/machinery.
//
// It reads one JSON question a line on standard input and answers one JSON line each on standard output, so that a test can ask
// thousands of questions of one process. The crate talos-config builds and asks it (tests/oracle there). The first build takes
// about 45 seconds on two cores, later ones one second.
package main

import (
	"bufio"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	tx509 "github.com/siderolabs/crypto/x509"
	"go.yaml.in/yaml/v4"
	yamlv3 "gopkg.in/yaml.v3"

	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/encoder"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/config/types/v1alpha1"
	"github.com/siderolabs/talos/pkg/machinery/config/validation"
)

type question struct {
	Ask string `json:"ask"` // generate, check, decode, patch, secrets, new-secrets, certificate, schematic

	Config  string   `json:"config"`
	Patches []string `json:"patches"`
	Secrets string   `json:"secrets"`

	Contract   string              `json:"contract"`
	Type       string              `json:"type"`
	Cluster    string              `json:"cluster"`
	Endpoint   string              `json:"endpoint"`
	Kubernetes string              `json:"kubernetes"`
	SANs       []string            `json:"sans"`
	Port       int                 `json:"port"`
	DNSDomain  string              `json:"dns_domain"`
	Disk       string              `json:"disk"`
	Image      string              `json:"image"`
	KernelArgs []string            `json:"kernel_args"`
	Sysctls    map[string]string   `json:"sysctls"`
	Mirrors    map[string][]string `json:"mirrors"`
	Scheduling bool                `json:"scheduling"`
	Discovery  *bool               `json:"discovery"`
	KubeSpan   *bool               `json:"kubespan"`
	Debug      bool                `json:"debug"`
	CNI        string              `json:"cni"`
	CNIURLs    []string            `json:"cni_urls"`

	Schematic schematic `json:"schematic"`

	CA          string `json:"ca"`
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
	Server      string `json:"server"` // the name or address of a server; none for a client
}

// schematic has the parts of an Image Factory schematic in which people write texts. The factory's own YAML library writes it.
type schematic struct {
	Overlay struct {
		Image   string         `json:"image" yaml:"image"`
		Name    string         `json:"name" yaml:"name"`
		Options map[string]any `json:"options" yaml:"options,omitempty"`
	} `json:"overlay" yaml:"overlay,omitempty"`
	Customization struct {
		EmbeddedMachineConfiguration string   `json:"embeddedMachineConfiguration" yaml:"embeddedMachineConfiguration,omitempty"`
		ExtraKernelArgs              []string `json:"extraKernelArgs" yaml:"extraKernelArgs,omitempty"`
		Meta                         []struct {
			Key   uint8  `json:"key" yaml:"key"`
			Value string `json:"value" yaml:"value"`
		} `json:"meta" yaml:"meta,omitempty"`
	} `json:"customization" yaml:"customization"`
}

type answer struct {
	Text     string   `json:"text"`
	Warnings []string `json:"warnings"`
	Error    string   `json:"error"`
}

// metal is the mode of a bare-metal machine.
type metal struct{}

func (metal) String() string        { return "metal" }
func (metal) RequiresInstall() bool { return true }
func (metal) InContainer() bool     { return false }

func main() {
	questions := json.NewDecoder(bufio.NewReaderSize(os.Stdin, 1<<20))
	answers := json.NewEncoder(os.Stdout)

	for {
		var q question

		if err := questions.Decode(&q); err != nil {
			return // end of input
		}

		a, err := reply(q)
		if err != nil {
			a.Error = err.Error()
		}

		if err = answers.Encode(a); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func reply(q question) (a answer, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()

	switch q.Ask {
	case "generate":
		return generated(q)
	case "check":
		return checked(q)
	case "decode":
		cfg, err := configloader.NewFromBytes([]byte(q.Config))
		if err != nil {
			return a, err
		}

		return text(cfg)
	case "patch":
		return patched(q)
	case "secrets":
		bundle, err := loadSecrets(q.Secrets)
		if err != nil {
			return a, err
		}

		return a, bundle.Validate()
	case "schematic":
		raw, err := yamlv3.Marshal(q.Schematic)
		a.Text = string(raw)

		return a, err
	case "certificate":
		return verified(q)
	case "new-secrets":
		contract, err := config.ParseContractFromVersion(q.Contract)
		if err != nil {
			return a, err
		}

		bundle, err := secrets.NewBundle(secrets.NewFixedClock(time.Now()), contract)
		if err != nil {
			return a, err
		}

		raw, err := yaml.Marshal(bundle)
		a.Text = string(raw)

		return a, err
	default:
		return a, errors.New("unknown question " + q.Ask)
	}
}

func generated(q question) (a answer, err error) {
	contract, err := config.ParseContractFromVersion(q.Contract)
	if err != nil {
		return a, err
	}

	bundle, err := loadSecrets(q.Secrets)
	if err != nil {
		return a, err
	}

	options := []generate.Option{
		generate.WithVersionContract(contract),
		generate.WithSecretsBundle(bundle),
		generate.WithAdditionalSubjectAltNames(q.SANs),
		generate.WithLocalAPIServerPort(q.Port),
		generate.WithInstallDisk(q.Disk),
		generate.WithInstallImage(q.Image),
		generate.WithInstallExtraKernelArgs(q.KernelArgs),
		generate.WithSysctls(q.Sysctls),
		generate.WithAllowSchedulingOnControlPlanes(q.Scheduling),
		generate.WithDebug(q.Debug),
	}

	if q.DNSDomain != "" {
		options = append(options, generate.WithDNSDomain(q.DNSDomain))
	}

	if q.CNI != "" {
		options = append(options, generate.WithClusterCNIConfig(&v1alpha1.CNIConfig{CNIName: q.CNI, CNIUrls: q.CNIURLs}))
	}

	for host, endpoints := range q.Mirrors {
		options = append(options, generate.WithRegistryMirror(host, endpoints...))
	}

	if q.Discovery != nil {
		options = append(options, generate.WithClusterDiscovery(*q.Discovery))
	}

	if q.KubeSpan != nil {
		options = append(options, generate.WithKubeSpanEnabled(*q.KubeSpan))
	}

	input, err := generate.NewInput(q.Cluster, q.Endpoint, q.Kubernetes, options...)
	if err != nil {
		return a, err
	}

	kind, err := machine.ParseType(q.Type)
	if err != nil {
		return a, err
	}

	cfg, err := input.Config(kind)
	if err != nil {
		return a, err
	}

	return text(cfg)
}

func checked(q question) (a answer, err error) {
	cfg, err := configloader.NewFromBytes([]byte(q.Config))
	if err != nil {
		return a, err
	}

	a.Warnings, err = cfg.Validate(metal{}, validation.WithLocal(), validation.WithStrict())

	return a, err
}

func patched(q question) (a answer, err error) {
	patches := make([]configpatcher.Patch, 0, len(q.Patches))

	for _, raw := range q.Patches {
		patch, err := configpatcher.LoadPatch([]byte(raw))
		if err != nil {
			return a, err
		}

		patches = append(patches, patch)
	}

	out, err := configpatcher.Apply(configpatcher.WithBytes([]byte(q.Config)), patches)
	if err != nil {
		return a, err
	}

	cfg, err := out.Config()
	if err != nil {
		return a, err
	}

	return text(cfg)
}

// verified checks a certificate, its key and its chain as Go's TLS does. Answers the organizations, which are Talos's roles.
func verified(q question) (a answer, err error) {
	// Talos labels Ed25519 keys in its own way and reads them in its own way
	pair := tx509.PEMEncodedCertificateAndKey{Crt: []byte(q.Certificate), Key: []byte(q.Key)}

	key, err := pair.GetKey()
	if err != nil {
		return a, err
	}

	cert, err := pair.GetCert()
	if err != nil {
		return a, err
	}

	signer, ok := key.(crypto.Signer)
	if !ok {
		return a, errors.New("not a signing key")
	}

	if public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(cert.PublicKey) {
		return a, errors.New("the key is not the certificate's")
	}

	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(q.CA)) {
		return a, errors.New("no authority")
	}

	usage := x509.ExtKeyUsageClientAuth
	if q.Server != "" {
		usage = x509.ExtKeyUsageServerAuth
	}

	_, err = cert.Verify(x509.VerifyOptions{
		Roots:       roots,
		DNSName:     q.Server,
		CurrentTime: cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 2),
		KeyUsages:   []x509.ExtKeyUsage{usage},
	})
	a.Text = strings.Join(cert.Subject.Organization, ",")

	return a, err
}

func loadSecrets(text string) (*secrets.Bundle, error) {
	bundle := &secrets.Bundle{Clock: secrets.NewClock()}

	return bundle, yaml.Unmarshal([]byte(text), bundle)
}

func text(cfg config.Provider) (a answer, err error) {
	raw, err := cfg.EncodeBytes(encoder.WithComments(encoder.CommentsDisabled))
	a.Text = string(raw)

	return a, err
}
