package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/api/storage"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var telling sync.Mutex

// tell prints a request as Talos's own code understands it: fields by name, enums by word.
func tell(method string, request any) error {
	message, ok := request.(proto.Message)
	if !ok || strings.HasPrefix(method, "/cosi.") {
		return nil
	}

	// protojson varies its spaces on purpose; the detour makes them always the same
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		return err
	}

	var fields any
	if err = json.Unmarshal(text, &fields); err != nil {
		return err
	}

	line, err := json.Marshal(fields)
	if err != nil {
		return err
	}

	say("%s %s\n", method[strings.LastIndex(method, ".")+1:], line)

	return nil
}

// say prints a line whole; whoever does not read it any more has gone.
func say(format string, words ...any) {
	telling.Lock()
	defer telling.Unlock()

	fmt.Fprintf(os.Stdout, format, words...) //nolint:errcheck
}

func tellCall(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := tell(info.FullMethod, request); err != nil {
		return nil, err
	}

	return handler(ctx, request)
}

func tellStream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return handler(server, told{stream, info.FullMethod})
}

type told struct {
	grpc.ServerStream

	method string
}

func (t told) RecvMsg(m any) error {
	if err := t.ServerStream.RecvMsg(m); err != nil {
		return err
	}

	return tell(t.method, m)
}

func (*service) Reset(context.Context, *machine.ResetRequest) (*machine.ResetResponse, error) {
	return &machine.ResetResponse{Messages: []*machine.Reset{{}}}, nil
}

func (*service) Reboot(context.Context, *machine.RebootRequest) (*machine.RebootResponse, error) {
	return &machine.RebootResponse{Messages: []*machine.Reboot{{}}}, nil
}

func (*service) Shutdown(context.Context, *machine.ShutdownRequest) (*machine.ShutdownResponse, error) {
	return &machine.ShutdownResponse{Messages: []*machine.Shutdown{{}}}, nil
}

func (*service) Upgrade(context.Context, *machine.UpgradeRequest) (*machine.UpgradeResponse, error) {
	return &machine.UpgradeResponse{Messages: []*machine.Upgrade{{}}}, nil
}

func (*service) EtcdMemberList(context.Context, *machine.EtcdMemberListRequest) (*machine.EtcdMemberListResponse, error) {
	return &machine.EtcdMemberListResponse{Messages: []*machine.EtcdMembers{{
		Members: []*machine.EtcdMember{{Id: 1, Hostname: "mini01", PeerUrls: []string{"https://10.0.0.11:2380"}, IsLearner: true}},
	}}}, nil
}

func (*service) EtcdRemoveMemberByID(
	context.Context, *machine.EtcdRemoveMemberByIDRequest,
) (*machine.EtcdRemoveMemberByIDResponse, error) {
	return &machine.EtcdRemoveMemberByIDResponse{Messages: []*machine.EtcdRemoveMemberByID{{}}}, nil
}

func (*service) EtcdLeaveCluster(context.Context, *machine.EtcdLeaveClusterRequest) (*machine.EtcdLeaveClusterResponse, error) {
	return &machine.EtcdLeaveClusterResponse{Messages: []*machine.EtcdLeaveCluster{{}}}, nil
}

func (*service) EtcdForfeitLeadership(
	context.Context, *machine.EtcdForfeitLeadershipRequest,
) (*machine.EtcdForfeitLeadershipResponse, error) {
	return &machine.EtcdForfeitLeadershipResponse{
		Messages: []*machine.EtcdForfeitLeadership{{Member: "mini02"}},
	}, nil
}

func (*service) EtcdStatus(context.Context, *emptypb.Empty) (*machine.EtcdStatusResponse, error) {
	return &machine.EtcdStatusResponse{Messages: []*machine.EtcdStatus{{
		MemberStatus: &machine.EtcdMemberStatus{MemberId: 1, Leader: 2, RaftIndex: 3, DbSize: 4, IsLearner: true},
	}}}, nil
}

func (*service) EtcdAlarmList(context.Context, *emptypb.Empty) (*machine.EtcdAlarmListResponse, error) {
	return &machine.EtcdAlarmListResponse{Messages: []*machine.EtcdAlarm{{
		MemberAlarms: []*machine.EtcdMemberAlarm{{MemberId: 1, Alarm: machine.EtcdMemberAlarm_NOSPACE}},
	}}}, nil
}

func (*service) EtcdAlarmDisarm(context.Context, *emptypb.Empty) (*machine.EtcdAlarmDisarmResponse, error) {
	return &machine.EtcdAlarmDisarmResponse{Messages: []*machine.EtcdAlarmDisarm{{
		MemberAlarms: []*machine.EtcdMemberAlarm{{MemberId: 1, Alarm: machine.EtcdMemberAlarm_CORRUPT}},
	}}}, nil
}

func (*service) EtcdDefragment(context.Context, *emptypb.Empty) (*machine.EtcdDefragmentResponse, error) {
	return &machine.EtcdDefragmentResponse{Messages: []*machine.EtcdDefragment{{}}}, nil
}

func (*service) EtcdSnapshot(_ *machine.EtcdSnapshotRequest, stream machine.MachineService_EtcdSnapshotServer) error {
	database := []byte("database")
	hash := sha256.Sum256(database)

	if err := stream.Send(&common.Data{Bytes: database}); err != nil {
		return err
	}

	return stream.Send(&common.Data{Bytes: hash[:]})
}

func (*service) EtcdRecover(stream machine.MachineService_EtcdRecoverServer) error {
	for {
		_, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&machine.EtcdRecoverResponse{Messages: []*machine.EtcdRecover{{}}})
		}

		if err != nil {
			say("EtcdRecover was given up: %s\n", status.Code(err))

			return err
		}
	}
}

func (*service) MetaWrite(context.Context, *machine.MetaWriteRequest) (*machine.MetaWriteResponse, error) {
	return &machine.MetaWriteResponse{Messages: []*machine.MetaWrite{{}}}, nil
}

func (*service) MetaDelete(context.Context, *machine.MetaDeleteRequest) (*machine.MetaDeleteResponse, error) {
	return &machine.MetaDeleteResponse{Messages: []*machine.MetaDelete{{}}}, nil
}

func (*service) Dmesg(_ *machine.DmesgRequest, stream machine.MachineService_DmesgServer) error {
	return stream.Send(&common.Data{Bytes: []byte("kern\n")})
}

func (*service) Logs(_ *machine.LogsRequest, stream machine.MachineService_LogsServer) error {
	return stream.Send(&common.Data{Bytes: []byte("a line\n")})
}

func (*service) LoadAvg(context.Context, *emptypb.Empty) (*machine.LoadAvgResponse, error) {
	return &machine.LoadAvgResponse{Messages: []*machine.LoadAvg{{Load1: 0.5, Load5: 1.5, Load15: 2.5}}}, nil
}

func (*service) Memory(context.Context, *emptypb.Empty) (*machine.MemoryResponse, error) {
	return &machine.MemoryResponse{Messages: []*machine.Memory{{
		Meminfo: &machine.MemInfo{Memtotal: 2048, Memavailable: 1024},
	}}}, nil
}

func (*service) SystemStat(context.Context, *emptypb.Empty) (*machine.SystemStatResponse, error) {
	return &machine.SystemStatResponse{Messages: []*machine.SystemStat{{
		BootTime: 1_700_000_000, ProcessRunning: 3, ProcessBlocked: 1,
	}}}, nil
}

func (*service) GenerateClientConfiguration(
	context.Context, *machine.GenerateClientConfigurationRequest,
) (*machine.GenerateClientConfigurationResponse, error) {
	return &machine.GenerateClientConfigurationResponse{Messages: []*machine.GenerateClientConfiguration{{
		Ca: []byte("ca"), Crt: []byte("crt"), Key: []byte("key"), Talosconfig: []byte("context: mini"),
	}}}, nil
}

// Events of every type that Talos has.
func (*service) Events(_ *machine.EventsRequest, stream machine.MachineService_EventsServer) error {
	happened := []proto.Message{
		&machine.SequenceEvent{
			Sequence: "install", Action: machine.SequenceEvent_STOP, Error: &common.Error{Message: "no disk"},
		},
		&machine.PhaseEvent{Phase: "mountState", Action: machine.PhaseEvent_START},
		&machine.TaskEvent{Task: "setupLogger", Action: machine.TaskEvent_STOP},
		&machine.ServiceStateEvent{
			Service: "etcd", Action: machine.ServiceStateEvent_RUNNING, Message: "started",
			Health: &machine.ServiceHealth{Healthy: true},
		},
		&machine.RestartEvent{Cmd: 1},
		&machine.ConfigLoadErrorEvent{Error: "unreadable"},
		&machine.ConfigValidationErrorEvent{Error: "invalid"},
		&machine.AddressEvent{Hostname: "mini01", Addresses: []string{"10.0.0.11"}},
		&machine.MachineStatusEvent{
			Stage: machine.MachineStatusEvent_BOOTING,
			Status: &machine.MachineStatusEvent_MachineStatus{
				UnmetConditions: []*machine.MachineStatusEvent_MachineStatus_UnmetCondition{{Name: "time", Reason: "not synced"}},
			},
		},
	}

	for i, message := range happened {
		data, err := anypb.New(message)
		if err != nil {
			return err
		}

		if err = stream.Send(&machine.Event{Data: data, Id: fmt.Sprint(i), ActorId: "somebody"}); err != nil {
			return err
		}
	}

	return nil
}

type images struct {
	machine.UnimplementedImageServiceServer
}

func (images) List(_ *machine.ImageServiceListRequest, stream machine.ImageService_ListServer) error {
	return stream.Send(&machine.ImageServiceListResponse{
		Name: "installer:v1", Digest: "sha256:00", Size: 5, CreatedAt: &timestamppb.Timestamp{Seconds: 7},
	})
}

func (images) Pull(request *machine.ImageServicePullRequest, stream machine.ImageService_PullServer) error {
	progress := &machine.ImageServicePullProgress{
		LayerId:  "sha256:01",
		Progress: &machine.ImageServicePullLayerProgress{Offset: 3, Total: 9},
	}

	if err := stream.Send(&machine.ImageServicePullResponse{
		Response: &machine.ImageServicePullResponse_PullProgress{PullProgress: progress},
	}); err != nil {
		return err
	}

	return stream.Send(&machine.ImageServicePullResponse{
		Response: &machine.ImageServicePullResponse_Name{Name: request.ImageRef},
	})
}

type lifecycle struct {
	machine.UnimplementedLifecycleServiceServer
}

func said(words string) *machine.LifecycleServiceInstallProgress {
	return &machine.LifecycleServiceInstallProgress{
		Response: &machine.LifecycleServiceInstallProgress_Message{Message: words},
	}
}

func ended(code int32) *machine.LifecycleServiceInstallProgress {
	return &machine.LifecycleServiceInstallProgress{
		Response: &machine.LifecycleServiceInstallProgress_ExitCode{ExitCode: code},
	}
}

// Install works.
func (lifecycle) Install(_ *machine.LifecycleServiceInstallRequest, stream machine.LifecycleService_InstallServer) error {
	for _, progress := range []*machine.LifecycleServiceInstallProgress{said("partitioning"), ended(0)} {
		if err := stream.Send(&machine.LifecycleServiceInstallResponse{Progress: progress}); err != nil {
			return err
		}
	}

	return nil
}

// Upgrade fails.
func (lifecycle) Upgrade(_ *machine.LifecycleServiceUpgradeRequest, stream machine.LifecycleService_UpgradeServer) error {
	for _, progress := range []*machine.LifecycleServiceInstallProgress{said("no space left"), ended(1)} {
		if err := stream.Send(&machine.LifecycleServiceUpgradeResponse{Progress: progress}); err != nil {
			return err
		}
	}

	return nil
}

type disks struct {
	storage.UnimplementedStorageServiceServer
}

func (disks) Disks(context.Context, *emptypb.Empty) (*storage.DisksResponse, error) {
	return &storage.DisksResponse{Messages: []*storage.Disks{{
		Disks: []*storage.Disk{{DeviceName: "/dev/nvme0n1", Size: 6, Model: "disk", Type: storage.Disk_NVME}},
	}}}, nil
}

func (disks) BlockDeviceWipe(context.Context, *storage.BlockDeviceWipeRequest) (*storage.BlockDeviceWipeResponse, error) {
	return &storage.BlockDeviceWipeResponse{Messages: []*storage.BlockDeviceWipe{{}}}, nil
}
