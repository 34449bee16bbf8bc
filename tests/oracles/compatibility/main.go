// compatibility answers from Talos's own package which Kubernetes a Talos runs, and from which host it may be brought: a question
// and an answer a line, as JSON. It is built against the version of pkg/machinery that the module pins in which it is built.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/compatibility"
)

type question struct {
	Talos      string `json:"talos"`
	Kubernetes string `json:"kubernetes"`
	Host       string `json:"host"`
}

func refusal(q question) error {
	talos, err := compatibility.ParseTalosVersion(&machine.VersionInfo{Tag: q.Talos})
	if err != nil {
		return err
	}
	if q.Host != "" {
		host, err := compatibility.ParseTalosVersion(&machine.VersionInfo{Tag: q.Host})
		if err != nil {
			return err
		}
		return talos.UpgradeableFrom(host)
	}
	kubernetes, err := compatibility.ParseKubernetesVersion(q.Kubernetes)
	if err != nil {
		return err
	}
	return kubernetes.SupportedWith(talos)
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		reason := ""
		if err := refusal(q); err != nil {
			reason = err.Error()
		}
		if err := answers.Encode(map[string]string{"refused": reason}); err != nil {
			os.Exit(2)
		}
	}
}
