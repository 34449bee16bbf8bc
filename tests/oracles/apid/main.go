// Command apid serves the machine API on loopback twice, as a machine in maintenance mode and as a configured one,
// from Talos's own parts: its certificates, Go's TLS and gRPC, the real state server, the real resources with their
// YAML. The tests of talos-api run their client against it. It prints where it listens, as one line of JSON, then every
// request of another service than the state's as it was understood (calls.go), and ends when its standard input does.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	stdx509 "crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/cosi-project/runtime/pkg/state/protobuf/server"
	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/api/storage"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/nethelpers"
	"github.com/siderolabs/talos/pkg/machinery/resources/block"
	"github.com/siderolabs/talos/pkg/machinery/resources/hardware"
	"github.com/siderolabs/talos/pkg/machinery/resources/network"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	ours, err := x509.NewSelfSignedCertificateAuthority(x509.Organization("talos"))
	if err != nil {
		return err
	}

	// The authority of a machine in maintenance mode lives as long as the boot and has no name.
	ephemeral, err := x509.NewSelfSignedCertificateAuthority()
	if err != nil {
		return err
	}

	admin, err := x509.NewKeyPair(ours,
		x509.Organization("os:admin"),
		x509.KeyUsage(stdx509.KeyUsageDigitalSignature),
		x509.ExtKeyUsage([]stdx509.ExtKeyUsage{stdx509.ExtKeyUsageClientAuth}))
	if err != nil {
		return err
	}

	clients := stdx509.NewCertPool()
	clients.AddCert(ours.Crt)

	configured, _, err := serve(ours, "mini01", &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients})
	if err != nil {
		return err
	}

	maintenance, fingerprint, err := serve(ephemeral, constants.MaintenanceServiceCommonName, &tls.Config{})
	if err != nil {
		return err
	}

	pair := x509.NewCertificateAndKeyFromKeyPair(admin)

	if err = json.NewEncoder(os.Stdout).Encode(map[string]string{
		"configured":  configured,
		"maintenance": maintenance,
		"fingerprint": fingerprint,
		"authority":   string(ours.CrtPEM),
		"certificate": string(pair.Crt),
		"key":         string(pair.Key),
	}); err != nil {
		return err
	}

	_, err = io.Copy(io.Discard, os.Stdin)

	return err
}

func serve(authority *x509.CertificateAuthority, name string, config *tls.Config) (address, fingerprint string, err error) {
	pair, err := x509.NewKeyPair(authority,
		x509.CommonName(name),
		x509.IPAddresses([]net.IP{net.IPv4(127, 0, 0, 1)}),
		x509.DNSNames([]string{name}),
		x509.KeyUsage(stdx509.KeyUsageDigitalSignature),
		x509.ExtKeyUsage([]stdx509.ExtKeyUsage{stdx509.ExtKeyUsageServerAuth}))
	if err != nil {
		return "", "", err
	}

	config.Certificates = []tls.Certificate{*pair.Certificate}
	config.MinVersion = tls.VersionTLS12

	leaf, err := stdx509.ParseCertificate(pair.Certificate.Certificate[0])
	if err != nil {
		return "", "", err
	}

	resources, err := resources()
	if err != nil {
		return "", "", err
	}

	api := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.UnaryInterceptor(tellCall), grpc.StreamInterceptor(tellStream))
	machine.RegisterMachineServiceServer(api, &service{})
	machine.RegisterImageServiceServer(api, images{})
	machine.RegisterLifecycleServiceServer(api, lifecycle{})
	storage.RegisterStorageServiceServer(api, disks{})
	v1alpha1.RegisterStateServer(api, server.NewState(resources))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}

	go func() {
		if err := api.Serve(listener); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}()

	return listener.Addr().String(), x509.SPKIFingerprint(leaf).String(), nil
}

// resources of a machine that waits for its config; other types are refused, as apid does.
func resources() (state.CoreState, error) {
	resources := state.WrapCore(namespaced.NewState(inmem.Build))
	known := map[resource.Type]bool{}

	machineStatus := runtime.NewMachineStatus()
	machineStatus.TypedSpec().Stage = runtime.MachineStageMaintenance
	machineStatus.TypedSpec().Status.UnmetConditions = []runtime.UnmetCondition{{Name: "time", Reason: "time is not synced"}}

	system := hardware.NewSystemInformation(hardware.SystemInformationID)
	system.TypedSpec().UUID = "00112233-4455-6677-8899-aabbccddee01"
	system.TypedSpec().SerialNumber = "S1"

	card := network.NewLinkStatus(network.NamespaceName, "enp1s0")
	card.TypedSpec().Type = nethelpers.LinkEther
	card.TypedSpec().HardwareAddr = nethelpers.HardwareAddr{2, 0, 0, 0, 0, 1}
	card.TypedSpec().PermanentAddr = nethelpers.HardwareAddr{2, 0, 0, 0, 0, 2}
	card.TypedSpec().LinkState = true

	loopback := network.NewLinkStatus(network.NamespaceName, "lo")
	loopback.TypedSpec().Type = nethelpers.LinkLoopbck

	bond := network.NewLinkStatus(network.NamespaceName, "bond0")
	bond.TypedSpec().Type = nethelpers.LinkEther
	bond.TypedSpec().Kind = network.LinkKindBond
	bond.TypedSpec().HardwareAddr = nethelpers.HardwareAddr{2, 0, 0, 0, 0, 3}

	disk := block.NewDisk(block.NamespaceName, "vda")
	disk.TypedSpec().DevPath = "/dev/vda"
	disk.TypedSpec().Size = 10 << 30
	// A serial number that YAML would take for a number if it were not quoted.
	disk.TypedSpec().Serial = "0123456789"
	disk.TypedSpec().Rotational = true
	disk.TypedSpec().Symlinks = []string{"/dev/disk/by-id/virtio-0123456789"}

	hostname := network.NewHostnameStatus(network.NamespaceName, network.HostnameID)
	hostname.TypedSpec().Hostname = "mini01"

	addresses := network.NewNodeAddress(network.NamespaceName, network.NodeAddressCurrentID)
	addresses.TypedSpec().Addresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.11/24"), netip.MustParsePrefix("fd00::11/64")}

	for _, r := range []resource.Resource{machineStatus, system, card, loopback, bond, disk, hostname, addresses} {
		known[r.Metadata().Type()] = true

		if err := resources.Create(context.Background(), r); err != nil {
			return nil, err
		}
	}

	return state.Filter(resources, func(_ context.Context, access state.Access) error {
		if !known[access.ResourceType] {
			return status.Errorf(codes.PermissionDenied, "resource type %q is not supported", access.ResourceType)
		}

		return nil
	}), nil
}

type service struct {
	machine.UnimplementedMachineServiceServer

	bootstrapped atomic.Bool
}

func (*service) Version(context.Context, *emptypb.Empty) (*machine.VersionResponse, error) {
	return &machine.VersionResponse{Messages: []*machine.Version{{
		Version:  &machine.VersionInfo{Tag: "v1.13.9", Arch: "amd64"},
		Platform: &machine.PlatformInfo{Name: "metal", Mode: "metal"},
	}}}, nil
}

func (s *service) Bootstrap(context.Context, *machine.BootstrapRequest) (*machine.BootstrapResponse, error) {
	if s.bootstrapped.Swap(true) {
		return nil, status.Error(codes.AlreadyExists, "etcd data directory is not empty")
	}

	return &machine.BootstrapResponse{Messages: []*machine.Bootstrap{{}}}, nil
}

func (*service) Kubeconfig(_ *emptypb.Empty, stream machine.MachineService_KubeconfigServer) error {
	const text = "apiVersion: v1\nkind: Config\n"

	var archive bytes.Buffer

	zip := gzip.NewWriter(&archive)
	files := tar.NewWriter(zip)

	if err := files.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "kubeconfig", Size: int64(len(text)), Mode: 0o600}); err != nil {
		return err
	}

	if _, err := io.WriteString(files, text); err != nil {
		return err
	}

	if err := files.Close(); err != nil {
		return err
	}

	if err := zip.Close(); err != nil {
		return err
	}

	for archive.Len() > 0 {
		if err := stream.Send(&common.Data{Bytes: archive.Next(32)}); err != nil {
			return err
		}
	}

	return nil
}
