//! ClusterService: the health check runs here and asks every node through its machine API.

use std::{net::IpAddr, time::Duration};

use axum::body::Body;
use serde_json::Value;
use talos_api::proto::{
    cluster::{self as pb, cluster_service_server::ClusterService},
    cosi::resource::{ListRequest, state_client::StateClient},
    machine::{EtcdMemberListRequest, machine_service_client::MachineServiceClient},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Request as Grpc, Response as Reply, Status};

use super::{
    apid::Passer,
    machine_api::{Api, caller},
};
use crate::model::{CHECKS, NodeHealth, Request, Said, Service, Verdict};

/// Between two looks at the cluster; Talos takes five seconds, but everything is faster here.
const PAUSE: Duration = Duration::from_millis(200);

type Sender = mpsc::Sender<Result<pb::HealthCheckProgress, Status>>;

#[tonic::async_trait]
impl ClusterService for Api {
    async fn health_check(
        &self,
        request: Grpc<pb::HealthCheckRequest>,
    ) -> Result<Reply<BoxStream<pb::HealthCheckProgress>>, Status> {
        self.ask(&request, Request::HealthCheck)?;
        let caller = caller(&request);
        let passer = Passer::of(&self.0, Some(&caller));
        let passer = passer.ok_or_else(|| Status::permission_denied("no request forwarding"))?;
        let asked = request.into_inner();
        let patience = asked.wait_timeout.unwrap_or_default();
        let patience = Duration::from_secs(u64::try_from(patience.seconds).unwrap_or_default());
        let info = asked.cluster_info.unwrap_or_default();
        let mut nodes = addresses(&info.control_plane_nodes, true)?;
        nodes.extend(addresses(&info.worker_nodes, false)?);
        if nodes.is_empty() {
            nodes = self.members(&caller)?;
        }
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move { check(&passer, nodes, patience, &sender).await });
        Ok(Reply::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl Api {
    /// The nodes that this machine knows itself.
    fn members(&self, caller: &crate::model::Caller) -> Result<Vec<(IpAddr, bool)>, Status> {
        let known = self.list_now(caller, "cluster", "Members.cluster.talos.dev")?;
        let member = |spec: &Value| {
            let address = spec["addresses"].get(0)?.as_str()?.parse().ok()?;
            Some((address, spec["machineType"] == "controlplane"))
        };
        Ok(known.iter().filter_map(|one| member(&one.spec)).collect())
    }
}

fn addresses(texts: &[String], control_plane: bool) -> Result<Vec<(IpAddr, bool)>, Status> {
    let address = |text: &String| match text.parse() {
        Ok(address) => Ok((address, control_plane)),
        Err(_) => Err(Status::unknown(format!("ParseAddr({text:?}): unable to parse IP"))),
    };
    texts.iter().map(address).collect()
}

/// Waits for one check after the other and tells about it; whoever asked may leave.
async fn check(
    passer: &Passer,
    nodes: Vec<(IpAddr, bool)>,
    patience: Duration,
    sender: &Sender,
) -> Option<()> {
    let tell = async |message: String| {
        let progress = pb::HealthCheckProgress { message, ..pb::HealthCheckProgress::default() };
        sender.send(Ok(progress)).await.ok()
    };
    let end = Instant::now() + patience;
    let found: Vec<String> = nodes.iter().map(|(address, _)| format!("{:?}", address.to_string())).collect();
    tell(format!("discovered nodes: [{}]", found.join(" "))).await?;
    let mut seen = look(passer, &nodes).await;
    for (name, judge) in CHECKS {
        tell(format!("waiting for {name}: ...")).await?;
        let mut last = None;
        loop {
            let verdict = judge(&seen);
            if last.as_ref() != Some(&verdict) {
                tell(format!("waiting for {name}: {verdict}")).await?;
            }
            if !matches!(verdict, Verdict::Not(_)) {
                break;
            }
            last = Some(verdict);
            if Instant::now() >= end {
                return sender.send(Err(Status::deadline_exceeded("context deadline exceeded"))).await.ok();
            }
            tokio::time::sleep(PAUSE).await;
            seen = look(passer, &nodes).await;
        }
    }
    Some(())
}

async fn look(passer: &Passer, nodes: &[(IpAddr, bool)]) -> Vec<NodeHealth> {
    let asked = nodes.iter().map(|&(address, control_plane)| async move {
        let said = ask(passer, address, control_plane).await.map_err(|error| format!("{error:#}"));
        NodeHealth { address, control_plane, said }
    });
    futures_util::future::join_all(asked).await
}

/// Asks one node about everything.
async fn ask(passer: &Passer, address: IpAddr, control_plane: bool) -> anyhow::Result<Said> {
    let sender = passer.connect(&address.to_string()).await?;
    let service = tower::service_fn(move |request: axum::http::Request<tonic::body::Body>| {
        let mut request = request.map(Body::new);
        passer.sign(request.headers_mut());
        let mut sender = sender.clone();
        async move { sender.send_request(request).await }
    });
    let origin = "https://machine".parse()?;
    let mut machine = MachineServiceClient::with_origin(service.clone(), origin);
    let mut said = Said::default();
    for list in machine.service_list(()).await?.into_inner().messages {
        said.services.extend(list.services.into_iter().map(|info| Service {
            id: info.id,
            state: info.state,
            healthy: info.health.filter(|health| !health.unknown).map(|health| health.healthy),
            message: String::new(),
        }));
    }
    if control_plane {
        let query = EtcdMemberListRequest { query_local: true };
        let lists = machine.etcd_member_list(query).await.map(|reply| reply.into_inner().messages);
        // a node without etcd has a service that says so
        let members = lists.unwrap_or_default().into_iter().flat_map(|list| list.members);
        said.members = members
            .filter_map(|member| {
                let url = member.peer_urls.first()?.trim_start_matches("https://").to_owned();
                let (host, _) = url.rsplit_once(':')?;
                Some((member.id, host.trim_matches(['[', ']']).parse().ok()?))
            })
            .collect();
    }
    let list = async |namespace: &str, kind: &str| {
        let origin = "https://machine".parse()?;
        let mut state = StateClient::with_origin(service.clone(), origin);
        let request = ListRequest {
            namespace: namespace.to_owned(),
            r#type: kind.to_owned(),
            ..ListRequest::default()
        };
        let mut stream = state.list(request).await?.into_inner();
        let mut specs = Vec::new();
        while let Some(one) = stream.message().await? {
            let yaml = one.resource.and_then(|resource| resource.spec).unwrap_or_default().yaml_spec;
            specs.push(serde_saphyr::from_str::<Value>(&yaml)?);
        }
        anyhow::Ok(specs)
    };
    for status in list("runtime", "MachineStatuses.runtime.talos.dev").await? {
        said.stage = status["stage"].as_str().unwrap_or_default().to_owned();
        let unmet = status["status"]["unmetConditions"].as_array().cloned().unwrap_or_default();
        said.unmet = unmet.iter().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect();
    }
    said.diagnostics = list("runtime", "Diagnostics.runtime.talos.dev").await?.len();
    for node in list("k8s", "NodeStatuses.kubernetes.talos.dev").await? {
        said.kubernetes = Some((node["nodeReady"] == true, node["unschedulable"] != true));
    }
    Ok(said)
}
