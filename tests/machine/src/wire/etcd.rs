//! The real etcd behind a machine: a process on the machine's own address, its data beside the machine's disk. What the model
//! wants of it follows after every turn; what it says is mirrored into the model.
//!
//! It is asked by its own JSON gateway, in plain text: the lab's networks are its own.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, body::Bytes, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    sync::Mutex,
    time::timeout,
};

use super::{events::Events, world::World};
use crate::model::{Member, PeerAnswer, PeerCall, PeerRefusal, RealEtcd};

/// For one question.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at what it says.
const LOOK: Duration = Duration::from_millis(150);
const CLIENT: u16 = 2379;

/// What it refused, in its own words, or that nobody answers.
#[derive(Debug)]
pub(super) enum Fault {
    /// nobody listens there
    Unreachable(anyhow::Error),
    /// etcd's words
    Refused(String),
}

/// What it says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    pub(super) member: u64,
    pub(super) leader: u64,
    pub(super) learner: bool,
    pub(super) index: u64,
    pub(super) applied: u64,
    pub(super) term: u64,
    pub(super) size: i64,
    pub(super) errors: Vec<String>,
}

/// All members, and the cluster's id.
pub(super) type Members = (u64, BTreeMap<u64, Member>);

/// The real etcd of this machine.
pub(super) struct RealEtcds {
    program: PathBuf,
    folder: PathBuf,
    running: Mutex<Option<Running>>,
    /// a bootstrap from the snapshot that was handed over was accepted
    pub(super) recovers: AtomicBool,
}

struct Running {
    child: Child,
    address: IpAddr,
}

impl RealEtcds {
    /// Its data go beside the machine's disk.
    pub(super) fn beside(program: PathBuf, disk: &Path) -> Self {
        let folder = disk.with_extension("etcd");
        Self { program, folder, running: Mutex::default(), recovers: AtomicBool::new(false) }
    }

    fn snapshot(&self) -> PathBuf {
        self.folder.with_extension("snapshot")
    }

    /// Keeps a snapshot for a bootstrap from it.
    pub(super) fn keep(&self, snapshot: &[u8]) -> anyhow::Result<()> {
        Ok(fs::write(self.snapshot(), snapshot)?)
    }

    /// Starts it, ends it, or forgets its data, as the model wants it.
    pub(super) async fn follow(&self, world: &Arc<World>, events: &Events) -> anyhow::Result<()> {
        let wanted = world.look(crate::model::Machine::real_etcd);
        let mut running = self.running.lock().await;
        let runs = wanted.as_ref().is_some_and(|wanted| wanted.runs);
        if !runs && let Some(mut old) = running.take() {
            old.child.kill().await.ok();
        }
        let Some(wanted) = wanted else {
            if self.folder.exists() {
                fs::remove_dir_all(&self.folder)?;
            }
            return Ok(());
        };
        if runs && running.is_none() {
            match self.start(&wanted).await? {
                Ok(started) => {
                    *running = Some(started);
                    events.say("etcd-process", json!({ "address": wanted.address }));
                }
                Err(reason) => world.with(|machine, now| machine.etcd_not_restored(&reason, now)),
            }
        }
        Ok(())
    }

    /// The inner error is of the snapshot that it was to begin from.
    async fn start(&self, wanted: &RealEtcd) -> anyhow::Result<Result<Running, String>> {
        let (name, address) = (&wanted.name, wanted.address);
        let own = format!("http://{address}:2380");
        let is_new = !self.folder.exists();
        if is_new && self.recovers.swap(false, Ordering::SeqCst) {
            let restored = Command::new(&self.program)
                .arg("restore")
                .args([&self.snapshot(), &self.folder])
                .args([name, &own])
                .stdin(Stdio::null())
                .output()
                .await?;
            if !restored.status.success() {
                fs::remove_dir_all(&self.folder).ok();
                return Ok(Err(String::from_utf8_lossy(&restored.stderr).trim().to_owned()));
            }
        }
        let members = wanted.data.cluster.members.iter();
        let others =
            members.filter(|(id, _)| wanted.data.cluster.members.len() > 1 && **id != wanted.data.me);
        let mut cluster: Vec<String> =
            others.map(|(_, member)| format!("{}=http://{}:2380", member.name, member.address)).collect();
        let state = if cluster.is_empty() { "new" } else { "existing" };
        cluster.push(format!("{name}={own}"));
        let client = format!("http://{address}:{CLIENT}");
        // the kernel ends it with this process, however that ends: whoever takes a machine's power takes all of it
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .args(["etcd", "--name", name, "--data-dir"])
            .arg(&self.folder)
            .args(["--listen-client-urls", "http://0.0.0.0:2379", "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", "http://0.0.0.0:2380", "--initial-advertise-peer-urls", &own])
            .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", state])
            // a lab's machines lose their power by a signal, and nothing is lost of what was written by that
            .args(["--unsafe-no-fsync", "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {} by setpriv of util-linux", self.program.display()))?;
        Ok(Ok(Running { child, address }))
    }

    /// Brings what it says to the model, for ever.
    pub(super) async fn mirror(self: Arc<Self>, world: Arc<World>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let address = {
                let mut running = self.running.lock().await;
                let Some(process) = running.as_mut() else { continue };
                if let Ok(Some(status)) = process.child.try_wait() {
                    *running = None;
                    let reason =
                        format!("the member has been permanently removed from the cluster ({status})");
                    world.turn(|machine, now| machine.etcd_ended(reason, now));
                    continue;
                }
                process.address
            };
            if let Ok((health, (cluster, members))) = look(&world, address).await {
                let leader = (health.leader != 0).then_some(health.leader);
                world.turn(|machine, now| machine.mirror_etcd(cluster, health.member, members, leader, now));
            }
        }
    }
}

/// Its own word, and the list of members; a learner does not give that, so that a voter is asked.
async fn look(world: &World, own: IpAddr) -> anyhow::Result<(Health, Members)> {
    let health = status(own).await.map_err(Fault::into_error)?;
    if !health.learner {
        return Ok((health, members(own, false).await.map_err(Fault::into_error)?));
    }
    let known =
        world.look(crate::model::Machine::real_etcd).context("there is no etcd")?.data.cluster.members;
    for member in known.values().filter(|member| member.address != own) {
        if let Ok(members) = members(member.address, false).await {
            return Ok((health, members));
        }
    }
    bail!("no voter answers")
}

/// What the others are asked for when a machine joins.
pub(super) async fn ask(to: IpAddr, call: &PeerCall) -> Result<PeerAnswer, PeerRefusal> {
    let asked = async {
        match call {
            PeerCall::Remove { id } => remove(to, *id).await?,
            PeerCall::Promote { id } => {
                post(to, "/v3/cluster/member/promote", &json!({ "ID": id.to_string() })).await?;
            }
            PeerCall::AddLearner { address } => return add(to, *address).await,
            PeerCall::Members
            | PeerCall::Beat { .. }
            | PeerCall::Campaign { .. }
            | PeerCall::Certificate { .. }
            | PeerCall::Node(_) => {}
        }
        Ok(PeerAnswer::Cluster(cluster(members(to, true).await?)))
    };
    asked.await.map_err(|fault| match fault {
        Fault::Unreachable(_) => PeerRefusal::Unreachable,
        Fault::Refused(words) => PeerRefusal::Refused(words),
    })
}

fn cluster((id, members): Members) -> crate::model::Cluster {
    crate::model::Cluster { id, revision: 0, members, elections: BTreeMap::new() }
}

/// A learner of this address that never started is taken again, as Talos 1.14 does (talos.md §9.3).
async fn add(to: IpAddr, address: IpAddr) -> Result<PeerAnswer, Fault> {
    let wanted = json!({ "peerURLs": [format!("http://{address}:2380")], "isLearner": true });
    let id = match post(to, "/v3/cluster/member/add", &wanted).await {
        Ok(added) => number(&added["member"]["ID"]),
        Err(fault) => {
            let (_, known) = members(to, true).await?;
            let unstarted =
                |(_, member): &(&u64, &Member)| member.address == address && member.name.is_empty();
            *known.iter().find(unstarted).ok_or(fault)?.0
        }
    };
    Ok(PeerAnswer::Added { id, cluster: cluster(members(to, true).await?) })
}

/// Takes a member out.
pub(super) async fn remove(to: IpAddr, id: u64) -> Result<(), Fault> {
    led(to, "/v3/cluster/member/remove", &json!({ "ID": id.to_string() })).await
}

/// Hands the lead to another one.
pub(super) async fn transfer(to: IpAddr, id: u64) -> Result<(), Fault> {
    led(to, "/v3/maintenance/transfer-leadership", &json!({ "targetID": id.to_string() })).await
}

/// Who its members are, as the machine API asks it: where there is a leader, and as all of them agree.
pub(super) async fn members_of_all(to: IpAddr) -> Result<Members, Fault> {
    listed(to, &json!({ "linearizable": true }), true).await
}

/// Who its members are.
pub(super) async fn members(to: IpAddr, linearizable: bool) -> Result<Members, Fault> {
    listed(to, &json!({ "linearizable": linearizable }), false).await
}

async fn listed(to: IpAddr, question: &Value, led: bool) -> Result<Members, Fault> {
    let body = body(to, "/v3/cluster/member/list", question, led).await?;
    let told: Value = serde_json::from_slice(&body).map_err(|error| Fault::Unreachable(error.into()))?;
    let all = told["members"].as_array().cloned().unwrap_or_default();
    let member = |(index, member): (usize, &Value)| {
        let url = member["peerURLs"][0].as_str().unwrap_or_default();
        let address =
            url.trim_start_matches("http://").rsplit_once(':').and_then(|(host, _)| host.parse().ok());
        let name = member["name"].as_str().unwrap_or_default().to_owned();
        let learner = member["isLearner"].as_bool().unwrap_or_default();
        let address = address.unwrap_or_else(|| IpAddr::from([0, 0, 0, 0]));
        (number(&member["ID"]), Member { name, address, learner, joined: index as u64 })
    };
    Ok((number(&told["header"]["cluster_id"]), all.iter().enumerate().map(member).collect()))
}

/// What it says of itself.
pub(super) async fn status(to: IpAddr) -> Result<Health, Fault> {
    let told = post(to, "/v3/maintenance/status", &json!({})).await?;
    let errors = told["errors"].as_array().into_iter().flatten();
    Ok(Health {
        member: number(&told["header"]["member_id"]),
        leader: number(&told["leader"]),
        learner: told["isLearner"].as_bool().unwrap_or_default(),
        index: number(&told["raftIndex"]),
        applied: number(&told["raftAppliedIndex"]),
        term: number(&told["raftTerm"]),
        size: i64::try_from(number(&told["dbSize"])).unwrap_or_default(),
        errors: errors.filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}

/// Its database, and the checksum at its end.
pub(super) async fn snapshot(of: IpAddr) -> Result<Vec<u8>, Fault> {
    let body = body(of, "/v3/maintenance/snapshot", &json!({}), false).await?;
    let mut snapshot = Vec::new();
    for piece in serde_json::Deserializer::from_slice(&body).into_iter::<Value>() {
        let piece = piece.map_err(|error| Fault::Unreachable(error.into()))?;
        if let Some(words) = piece["error"]["message"].as_str() {
            return Err(Fault::Refused(words.to_owned()));
        }
        let blob = piece["result"]["blob"].as_str().unwrap_or_default();
        snapshot.extend(STANDARD.decode(blob).map_err(|error| Fault::Unreachable(error.into()))?);
    }
    Ok(snapshot)
}

/// Protobuf's 64 bits are text in JSON.
fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_u64()).unwrap_or_default()
}

async fn post(to: IpAddr, path: &str, question: &Value) -> Result<Value, Fault> {
    let body = body(to, path, question, false).await?;
    serde_json::from_slice(&body).map_err(|error| Fault::Unreachable(error.into()))
}

/// The same where there is a leader only.
async fn led(to: IpAddr, path: &str, question: &Value) -> Result<(), Fault> {
    body(to, path, question, true).await.map(drop)
}

async fn body(to: IpAddr, path: &str, question: &Value, led: bool) -> Result<Bytes, Fault> {
    let asked = async {
        let stream = TcpStream::connect((to, CLIENT)).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, to.to_string())
            // of the gRPC call behind the gateway, as Talos's client sets it (`WithRequireLeader`)
            .header("grpc-metadata-hasleader", led.to_string())
            .body(Full::<Bytes>::from(question.to_string()))?;
        let answer = sender.send_request(request).await?;
        let good = answer.status().is_success();
        anyhow::Ok((good, answer.into_body().collect().await?.to_bytes()))
    };
    let (good, body) = match timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(Fault::Unreachable(error)),
        Err(_) => return Err(Fault::Unreachable(anyhow!("no answer"))),
    };
    if good {
        return Ok(body);
    }
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    let words = told["message"].as_str().or_else(|| told["error"].as_str()).unwrap_or("etcd refused it");
    Err(Fault::Refused(words.to_owned()))
}

impl Fault {
    fn into_error(self) -> anyhow::Error {
        match self {
            Self::Unreachable(error) => error,
            Self::Refused(words) => anyhow!(words),
        }
    }

    /// As the machine API says it.
    pub(super) fn into_status(self) -> tonic::Status {
        self.around("")
    }

    /// The same with Talos's words before etcd's.
    pub(super) fn around(self, before: &str) -> tonic::Status {
        let said = |words: String| format!("{before}{words}");
        match self {
            Self::Unreachable(error) => tonic::Status::unavailable(said(format!("{error:#}"))),
            Self::Refused(words) if words.contains("member not found") => {
                tonic::Status::not_found(said(words))
            }
            Self::Refused(words) => tonic::Status::unknown(said(words)),
        }
    }
}
