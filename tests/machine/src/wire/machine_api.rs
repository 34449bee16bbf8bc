//! The machine API in protobuf: every call goes to the model, every answer comes from it.

use std::{collections::BTreeSet, io::Write, sync::Arc};

use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use talos_api::proto::{
    common,
    machine::{self as pb, machine_service_server::MachineService},
    storage::{self, storage_service_server::StorageService},
};
use tonic::codegen::BoxStream;
use tonic::{Request as Grpc, Response as Reply};

use super::{apid, capture, etcd::RealEtcds, events::Events, happenings, pki, world::World};
use crate::model::{ApplyMode, Caller, Request, Response, Status};

/// The services of one machine.
#[derive(Clone)]
pub(super) struct Api(pub(super) Arc<World>, pub(super) Events, pub(super) Option<Arc<RealEtcds>>);

/// The model's status in gRPC.
pub(super) fn refuse(status: Status) -> tonic::Status {
    tonic::Status::new(tonic::Code::from_i32(status.code as i32), status.message)
}

/// The caller that the connection proved to be.
pub(super) fn caller<T>(request: &Grpc<T>) -> Caller {
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or(Caller::Anonymous);
    apid::spoken_for(caller, request.metadata().as_ref())
}

impl Api {
    pub(super) fn ask<T>(&self, grpc: &Grpc<T>, request: Request) -> Result<Response, tonic::Status> {
        let caller = caller(grpc);
        let changes = request.changes();
        let answer = self.0.with(|machine, now| machine.call(&caller, request, now));
        if let Some(call) = changes {
            let refused = answer.as_ref().err().map(ToString::to_string);
            self.1.say("called", json!({ "call": call, "refused": refused }));
        }
        answer.map_err(refuse)
    }
}

/// The model answers a call with its own kind of answer.
pub(super) fn mismatch() -> tonic::Status {
    tonic::Status::internal("the simulated machine answered another call")
}

#[tonic::async_trait]
impl MachineService for Api {
    async fn apply_configuration(
        &self,
        request: Grpc<pb::ApplyConfigurationRequest>,
    ) -> Result<Reply<pb::ApplyConfigurationResponse>, tonic::Status> {
        let asked = request.get_ref();
        let mode = match asked.mode {
            0 => ApplyMode::Reboot,
            1 => ApplyMode::Auto,
            2 => ApplyMode::NoReboot,
            3 => ApplyMode::Staged,
            4 => ApplyMode::Try,
            other => return Err(tonic::Status::invalid_argument(format!("unknown mode {other}"))),
        };
        let call = Request::ApplyConfiguration { data: asked.data.clone(), mode, dry_run: asked.dry_run };
        let Response::Applied { mode, details } = self.ask(&request, call)? else { return Err(mismatch()) };
        let message = pb::ApplyConfiguration {
            mode: mode as i32,
            mode_details: details,
            ..pb::ApplyConfiguration::default()
        };
        Ok(Reply::new(pb::ApplyConfigurationResponse { messages: vec![message] }))
    }

    async fn bootstrap(
        &self,
        request: Grpc<pb::BootstrapRequest>,
    ) -> Result<Reply<pb::BootstrapResponse>, tonic::Status> {
        let call =
            if request.get_ref().recover_etcd { Request::BootstrapRecovered } else { Request::Bootstrap };
        let recovers = call == Request::BootstrapRecovered;
        // it is begun as soon as the model says so
        if let (true, Some(etcd)) = (recovers, &self.2) {
            etcd.recovers.store(true, std::sync::atomic::Ordering::SeqCst);
        }
        let answer = self.ask(&request, call);
        if let (Err(_), Some(etcd)) = (&answer, &self.2) {
            etcd.recovers.store(false, std::sync::atomic::Ordering::SeqCst);
        }
        answer?;
        Ok(Reply::new(pb::BootstrapResponse { messages: vec![pb::Bootstrap::default()] }))
    }

    async fn packet_capture(
        &self,
        request: Grpc<pb::PacketCaptureRequest>,
    ) -> Result<Reply<BoxStream<common::Data>>, tonic::Status> {
        self.ask(&request, Request::PacketCapture)?;
        Ok(Reply::new(capture::capture(request.get_ref())?))
    }

    async fn etcd_member_list(
        &self,
        request: Grpc<pb::EtcdMemberListRequest>,
    ) -> Result<Reply<pb::EtcdMemberListResponse>, tonic::Status> {
        self.list_members(&request).await
    }

    async fn etcd_remove_member_by_id(
        &self,
        request: Grpc<pb::EtcdRemoveMemberByIdRequest>,
    ) -> Result<Reply<pb::EtcdRemoveMemberByIdResponse>, tonic::Status> {
        self.remove_member(&request).await
    }

    async fn etcd_leave_cluster(
        &self,
        request: Grpc<pb::EtcdLeaveClusterRequest>,
    ) -> Result<Reply<pb::EtcdLeaveClusterResponse>, tonic::Status> {
        self.leave(&request).await
    }

    async fn etcd_snapshot(
        &self,
        request: Grpc<pb::EtcdSnapshotRequest>,
    ) -> Result<Reply<BoxStream<common::Data>>, tonic::Status> {
        self.snapshot(&request).await
    }

    async fn etcd_recover(
        &self,
        request: Grpc<tonic::Streaming<common::Data>>,
    ) -> Result<Reply<pb::EtcdRecoverResponse>, tonic::Status> {
        self.take_snapshot(request).await
    }

    async fn etcd_forfeit_leadership(
        &self,
        request: Grpc<pb::EtcdForfeitLeadershipRequest>,
    ) -> Result<Reply<pb::EtcdForfeitLeadershipResponse>, tonic::Status> {
        self.forfeit(&request).await
    }

    async fn etcd_status(&self, request: Grpc<()>) -> Result<Reply<pb::EtcdStatusResponse>, tonic::Status> {
        self.member_status(&request).await
    }

    async fn events(
        &self,
        request: Grpc<pb::EventsRequest>,
    ) -> Result<Reply<BoxStream<pb::Event>>, tonic::Status> {
        self.ask(&request, Request::Events)?;
        Ok(Reply::new(happenings::stream(Arc::clone(&self.0))))
    }

    async fn hostname(&self, request: Grpc<()>) -> Result<Reply<pb::HostnameResponse>, tonic::Status> {
        let Response::Hostname(hostname) = self.ask(&request, Request::Hostname)? else {
            return Err(mismatch());
        };
        let message = pb::Hostname { hostname, ..pb::Hostname::default() };
        Ok(Reply::new(pb::HostnameResponse { messages: vec![message] }))
    }

    async fn memory(&self, request: Grpc<()>) -> Result<Reply<pb::MemoryResponse>, tonic::Status> {
        let Response::Memory { bytes } = self.ask(&request, Request::Memory)? else {
            return Err(mismatch());
        };
        let kilobytes = bytes / 1024;
        let meminfo =
            pb::MemInfo { memtotal: kilobytes, memavailable: kilobytes / 2, ..pb::MemInfo::default() };
        let message = pb::Memory { meminfo: Some(meminfo), ..pb::Memory::default() };
        Ok(Reply::new(pb::MemoryResponse { messages: vec![message] }))
    }

    async fn kubeconfig(&self, request: Grpc<()>) -> Result<Reply<BoxStream<common::Data>>, tonic::Status> {
        self.ask(&request, Request::Kubeconfig)?;
        let config = self.0.look(|machine| machine.config().cloned());
        let internal = |error: anyhow::Error| tonic::Status::internal(format!("{error:#}"));
        let archive = config
            .and_then(|config| Some((config.kubernetes_ca.clone()?, config)))
            .ok_or_else(mismatch)
            .and_then(|(ca, config)| {
                let endpoint = format!("https://{}:{}", config.endpoint_host, config.endpoint_port);
                pki::kubeconfig(&ca, &config.cluster_name, &endpoint)
                    .and_then(|text| archive(&text))
                    .map_err(internal)
            })?;
        // in pieces, as the real thing streams it
        let piece = |bytes: &[u8]| Ok(common::Data { bytes: bytes.to_vec(), ..common::Data::default() });
        let pieces: Vec<Result<common::Data, tonic::Status>> = archive.chunks(1000).map(piece).collect();
        Ok(Reply::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn read(
        &self,
        request: Grpc<pb::ReadRequest>,
    ) -> Result<Reply<BoxStream<common::Data>>, tonic::Status> {
        let path = request.get_ref().path.clone();
        let Response::File(text) = self.ask(&request, Request::Read { path })? else {
            return Err(mismatch());
        };
        let data = common::Data { bytes: text.into_bytes(), ..common::Data::default() };
        Ok(Reply::new(Box::pin(tokio_stream::iter([Ok(data)]))))
    }

    async fn reboot(
        &self,
        request: Grpc<pb::RebootRequest>,
    ) -> Result<Reply<pb::RebootResponse>, tonic::Status> {
        let power_cycle = request.get_ref().mode == 1;
        self.ask(&request, Request::Reboot { power_cycle })?;
        Ok(Reply::new(pb::RebootResponse {
            messages: vec![pb::Reboot { actor_id: fresh_id(), ..pb::Reboot::default() }],
        }))
    }

    async fn reset(
        &self,
        request: Grpc<pb::ResetRequest>,
    ) -> Result<Reply<pb::ResetResponse>, tonic::Status> {
        let asked = request.get_ref();
        let wiped = asked.system_partitions_to_wipe.iter().filter(|partition| partition.wipe);
        let partitions: BTreeSet<String> = wiped.map(|partition| partition.label.clone()).collect();
        let mut graceful = asked.graceful;
        // its member leaves the real one first, or it stays as it is
        if graceful && let Ok(Some(own)) = self.real(&request, Request::EtcdStatus) {
            self.leaves_real(own).await?;
            graceful = false;
        }
        let call = Request::Reset { graceful, reboot: asked.reboot, partitions };
        self.ask(&request, call)?;
        Ok(Reply::new(pb::ResetResponse {
            messages: vec![pb::Reset { actor_id: fresh_id(), ..pb::Reset::default() }],
        }))
    }

    async fn service_list(&self, request: Grpc<()>) -> Result<Reply<pb::ServiceListResponse>, tonic::Status> {
        let Response::Services(services) = self.ask(&request, Request::ServiceList)? else {
            return Err(mismatch());
        };
        let service = |service: crate::model::Service| pb::ServiceInfo {
            id: service.id,
            health: Some(pb::ServiceHealth {
                unknown: service.healthy.is_none(),
                healthy: service.healthy == Some(true),
                last_message: service.message.clone(),
                ..pb::ServiceHealth::default()
            }),
            events: Some(pb::ServiceEvents {
                events: vec![pb::ServiceEvent {
                    msg: service.message,
                    state: service.state.clone(),
                    ..pb::ServiceEvent::default()
                }],
            }),
            state: service.state,
        };
        let services = services.into_iter().map(service).collect();
        let message = pb::ServiceList { services, ..pb::ServiceList::default() };
        Ok(Reply::new(pb::ServiceListResponse { messages: vec![message] }))
    }

    async fn shutdown(
        &self,
        request: Grpc<pb::ShutdownRequest>,
    ) -> Result<Reply<pb::ShutdownResponse>, tonic::Status> {
        self.ask(&request, Request::Shutdown)?;
        Ok(Reply::new(pb::ShutdownResponse {
            messages: vec![pb::Shutdown { actor_id: fresh_id(), ..pb::Shutdown::default() }],
        }))
    }

    async fn upgrade(
        &self,
        request: Grpc<pb::UpgradeRequest>,
    ) -> Result<Reply<pb::UpgradeResponse>, tonic::Status> {
        let reference = request.get_ref().image.clone();
        self.ask(&request, Request::Upgrade { reference })?;
        let ack = "Upgrade request received".to_owned();
        let message = pb::Upgrade { ack, actor_id: fresh_id(), ..pb::Upgrade::default() };
        Ok(Reply::new(pb::UpgradeResponse { messages: vec![message] }))
    }

    async fn image_pull(
        &self,
        request: Grpc<pb::ImagePullRequest>,
    ) -> Result<Reply<pb::ImagePullResponse>, tonic::Status> {
        let reference = request.get_ref().reference.clone();
        self.ask(&request, Request::ImagePull { reference })?;
        Ok(Reply::new(pb::ImagePullResponse { messages: vec![pb::ImagePull::default()] }))
    }

    async fn version(&self, request: Grpc<()>) -> Result<Reply<pb::VersionResponse>, tonic::Status> {
        let Response::Version { tag } = self.ask(&request, Request::Version)? else { return Err(mismatch()) };
        let version = pb::VersionInfo {
            tag,
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
            ..pb::VersionInfo::default()
        };
        let platform = pb::PlatformInfo { name: "metal".to_owned(), mode: "metal".to_owned() };
        let message = pb::Version {
            version: Some(version),
            platform: Some(platform),
            features: Some(pb::FeaturesInfo { rbac: true }),
            ..pb::Version::default()
        };
        Ok(Reply::new(pb::VersionResponse { messages: vec![message] }))
    }
}

/// Names one event, or one thing that was asked for.
pub(super) fn fresh_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A tar.gz with one file `kubeconfig`.
fn archive(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(text.len())?);
    header.set_mode(0o600);
    header.set_cksum();
    builder.append_data(&mut header, "kubeconfig", text.as_bytes())?;
    let mut encoder = builder.into_inner()?;
    encoder.flush()?;
    Ok(encoder.finish()?)
}

#[tonic::async_trait]
impl StorageService for Api {
    async fn disks(&self, request: Grpc<()>) -> Result<Reply<storage::DisksResponse>, tonic::Status> {
        let Response::Disks { disks, system } = self.ask(&request, Request::Disks)? else {
            return Err(mismatch());
        };
        let kind = |disk: &hardware::Disk| match disk.transport.as_str() {
            "nvme" => 3,
            _ if disk.rotational => 2,
            _ => 1,
        };
        let disk = |disk: hardware::Disk| storage::Disk {
            size: disk.size,
            r#type: kind(&disk),
            system_disk: system.as_ref() == Some(&disk.dev_path),
            model: disk.model,
            device_name: disk.dev_path,
            serial: disk.serial,
            modalias: disk.modalias,
            uuid: disk.uuid,
            wwid: disk.wwid,
            bus_path: disk.bus_path,
            readonly: disk.readonly,
            ..storage::Disk::default()
        };
        let message =
            storage::Disks { disks: disks.into_iter().map(disk).collect(), ..storage::Disks::default() };
        Ok(Reply::new(storage::DisksResponse { messages: vec![message] }))
    }
}
