// Command descriptors prints, as JSON, what Talos's own generated code says about the packages of the machine
// API: every message with its fields, every enum, every service with its methods. The tests of protogen compare
// our own protocol files with it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"

	_ "github.com/cosi-project/runtime/api/v1alpha1"
	_ "github.com/siderolabs/talos/pkg/machinery/api/cluster"
	_ "github.com/siderolabs/talos/pkg/machinery/api/common"
	_ "github.com/siderolabs/talos/pkg/machinery/api/machine"
	_ "github.com/siderolabs/talos/pkg/machinery/api/security"
	_ "github.com/siderolabs/talos/pkg/machinery/api/storage"
	_ "github.com/siderolabs/talos/pkg/machinery/api/time"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

const machinery = "github.com/siderolabs/talos/pkg/machinery"

// A type is a full name with a leading dot, or the scalar's own name.
type field struct {
	Number   int32  `json:"number"`
	Type     string `json:"type"`
	Repeated bool   `json:"repeated"`
	OneOf    string `json:"oneof"`
}

type method struct {
	Input           string `json:"input"`
	Output          string `json:"output"`
	ClientStreaming bool   `json:"client_streaming"`
	ServerStreaming bool   `json:"server_streaming"`
}

// Keys are full names with a leading dot, then names.
type dump struct {
	Machinery string                       `json:"machinery"`
	Messages  map[string]map[string]field  `json:"messages"`
	Enums     map[string]map[string]int32  `json:"enums"`
	Services  map[string]map[string]method `json:"services"`
}

func main() {
	result := dump{
		Messages: map[string]map[string]field{},
		Enums:    map[string]map[string]int32{},
		Services: map[string]map[string]method{},
	}

	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == machinery {
				result.Machinery = dependency.Version
			}
		}
	}

	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		result.messages(file.Messages())
		result.enums(file.Enums())
		result.services(file.Services())

		return true
	})

	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func full(descriptor protoreflect.Descriptor) string {
	return "." + string(descriptor.FullName())
}

func (d *dump) messages(messages protoreflect.MessageDescriptors) {
	for i := range messages.Len() {
		message := messages.Get(i)
		fields := map[string]field{}

		for j := range message.Fields().Len() {
			f := message.Fields().Get(j)
			described := field{
				Number:   int32(f.Number()),
				Type:     f.Kind().String(),
				Repeated: f.Cardinality() == protoreflect.Repeated,
			}

			if f.Message() != nil {
				described.Type = full(f.Message())
			} else if f.Enum() != nil {
				described.Type = full(f.Enum())
			}

			if f.ContainingOneof() != nil {
				described.OneOf = string(f.ContainingOneof().Name())
			}

			fields[string(f.Name())] = described
		}

		d.Messages[full(message)] = fields
		d.messages(message.Messages())
		d.enums(message.Enums())
	}
}

func (d *dump) enums(enums protoreflect.EnumDescriptors) {
	for i := range enums.Len() {
		values := map[string]int32{}

		for j := range enums.Get(i).Values().Len() {
			value := enums.Get(i).Values().Get(j)
			values[string(value.Name())] = int32(value.Number())
		}

		d.Enums[full(enums.Get(i))] = values
	}
}

func (d *dump) services(services protoreflect.ServiceDescriptors) {
	for i := range services.Len() {
		methods := map[string]method{}

		for j := range services.Get(i).Methods().Len() {
			m := services.Get(i).Methods().Get(j)
			methods[string(m.Name())] = method{
				Input:           full(m.Input()),
				Output:          full(m.Output()),
				ClientStreaming: m.IsStreamingClient(),
				ServerStreaming: m.IsStreamingServer(),
			}
		}

		d.Services[full(services.Get(i))] = methods
	}
}
