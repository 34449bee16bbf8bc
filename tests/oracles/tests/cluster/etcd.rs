//! The played etcd of the simulated machines beside a real one behind them: the same questions by the machine API and from
//! machine to machine, one after the other, and the same answers in the same words.
//!
//! A sequence is fixed where something is founded or lost, and random from a seed between that.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hardware::Firmware;
use machine::model::{Pace, PeerAnswer, PeerCall, PeerRefusal};
use machine::wire::ask_etcd;
use net::namespace::{self, Namespace};
use oracles::Tool;
use seeded::Numbers;
use talos_api::{ApplyMode, Authority, CallError, Client, Credentials, EtcdMember, Peer, probe};
use talos_config::generate::MachineType;
use talos_config::secrets::SecretsBundle;
use tokio::time::{Instant, sleep};

use crate::provisioner::Provisioner;
use crate::rack::{PATIENCE, Powered, SCHEMATIC, config, place, until};

/// How many sequences are compared, each from a seed of its own.
const SEEDS: &str = "ICHORD_ETCD_SEEDS";
/// Random questions of one sequence.
const QUESTIONS: usize = 14;
/// etcd changes nothing before all have been connected for five seconds, and elects anew after a change: what is only so for
/// a while is asked again for so long.
const PASSES: Duration = Duration::from_secs(30);
/// What is only so for a while.
const PASSING: [&str; 5] = ["unhealthy cluster", "no leader", "leader changed", "timed out", "unreachable"];

/// Whom a question is about: one of the three machines, an address where nobody is, or an id that nobody has.
#[derive(Debug, Clone, Copy)]
enum Whom {
    Machine(usize),
    Ghost(usize),
    Nobody,
}

/// A question to the machine of this number.
#[derive(Debug, Clone, Copy)]
enum Question {
    Members {
        at: usize,
        local: bool,
    },
    Status {
        at: usize,
    },
    Snapshot {
        at: usize,
    },
    Bootstrap {
        at: usize,
    },
    Forfeit {
        at: usize,
    },
    Remove {
        at: usize,
        whom: Whom,
    },
    Leave {
        at: usize,
    },
    /// from machine to machine
    Add {
        at: usize,
        whom: Whom,
    },
    Promote {
        at: usize,
        whom: Whom,
    },
}

use Question::{Add, Bootstrap, Forfeit, Leave, Members, Promote, Remove, Snapshot, Status};
use Whom::{Ghost, Machine, Nobody};

/// Three control planes, and what was said.
struct Side {
    real: bool,
    clients: Vec<Client>,
    /// every id that was ever seen, and whose it is
    ids: BTreeMap<u64, String>,
    said: Vec<String>,
}

fn address(number: usize) -> IpAddr {
    IpAddr::from([10, 77, 0, 100 + u8::try_from(number).unwrap()])
}

fn ghost(number: usize) -> IpAddr {
    IpAddr::from([10, 77, 0, 200 + u8::try_from(number).unwrap()])
}

fn name(whom: Whom) -> String {
    match whom {
        Machine(number) => format!("mini0{number}"),
        Ghost(number) => format!("ghost-{number}"),
        Nobody => "nobody".to_owned(),
    }
}

impl Side {
    fn client(&self, number: usize) -> &Client {
        &self.clients[number - 1]
    }

    fn know(&mut self, members: &[EtcdMember]) {
        for member in members {
            let at = member.peer_urls[0].trim_start_matches("https://").trim_end_matches(":2380");
            let at: IpAddr = at.parse().unwrap();
            let known = (1..=3).map(Machine).find(|it| matches!(it, Machine(n) if address(*n) == at));
            let is_ghost = |it: &Whom| matches!(it, Ghost(number) if ghost(*number) == at);
            let known = known.or_else(|| (1..=2).map(Ghost).find(is_ghost));
            self.ids.insert(member.id, known.map_or_else(|| at.to_string(), name));
        }
    }

    /// The last id that was seen of it; those that nobody had before are unknown to etcd.
    fn id(&self, whom: Whom) -> u64 {
        let name = name(whom);
        self.ids.iter().find(|(_, known)| **known == name).map_or(0x0bad_c0de, |(id, _)| *id)
    }

    /// Without what differs from one cluster to the next.
    fn plain(&self, words: &str) -> String {
        let known = self.ids.iter().map(|(id, name)| (id.to_string(), name.clone()));
        let nobody = (self.id(Nobody).to_string(), name(Nobody));
        known.chain([nobody]).fold(words.to_owned(), |words, (id, name)| words.replace(&id, &name))
    }

    fn refused(&self, error: &CallError) -> String {
        match error {
            CallError::Status { code, message, .. } => self.plain(&format!("{code:?}: {message}")),
            other => format!("{other:?}"),
        }
    }

    fn done(&self, answer: Result<PeerAnswer, PeerRefusal>) -> String {
        match answer {
            Ok(_) => "done".to_owned(),
            Err(PeerRefusal::Refused(words)) => self.plain(&words),
            Err(PeerRefusal::Unreachable) => "unreachable".to_owned(),
            Err(PeerRefusal::NotLeader(_)) => "no leader".to_owned(),
        }
    }

    /// Asks until the answer is not one that passes, and writes it down.
    async fn ask(&mut self, question: Question) {
        let end = Instant::now() + PASSES;
        let answer = loop {
            let answer = self.once(question).await;
            let learns = matches!(question, Promote { whom: Machine(_), .. }) && answer.contains("in sync");
            // an id is made of the address and the second, and one that was taken out never comes back
            let renewed = matches!(question, Add { .. }) && answer.contains("member not found");
            let passes = learns || renewed || PASSING.iter().any(|words| answer.contains(words));
            if !passes || Instant::now() > end {
                break answer;
            }
            sleep(Duration::from_millis(50)).await;
        };
        self.said.push(format!("{question:?}: {answer}"));
        match question {
            Remove { whom: Machine(gone), .. } | Leave { at: gone } if answer == "done" => {
                let state = until("its etcd to end", async || {
                    let services = self.client(gone).services().await.ok()?;
                    let etcd = services.into_iter().find(|service| service.id == "etcd")?;
                    (etcd.state != "Running").then_some(etcd.state)
                });
                let state = state.await;
                self.said.push(format!("mini0{gone}: its etcd is {state}"));
            }
            _ => {}
        }
        if matches!(question, Add { .. } | Remove { .. } | Promote { .. } | Leave { .. } | Forfeit { .. }) {
            self.agree().await;
        }
    }

    /// Until all that run tell the same members, and follow a leader.
    async fn agree(&mut self) {
        let told = until("everybody to agree", async || {
            let mut told: Vec<Vec<EtcdMember>> = Vec::new();
            let mut leaders = Vec::new();
            for client in &self.clients {
                let Ok(status) = client.etcd_status().await else { continue };
                leaders.push(status.leader);
                told.push(client.etcd_members(false).await.ok()?);
            }
            let one_leader = leaders.iter().all(|leader| *leader != 0 && *leader == leaders[0]);
            (one_leader && !told.is_empty() && told.iter().all(|members| *members == told[0]))
                .then(|| told.swap_remove(0))
        });
        let told = told.await;
        self.know(&told);
    }

    async fn once(&mut self, question: Question) -> String {
        match question {
            Members { at, local } => match self.client(at).etcd_members(local).await {
                Ok(members) => {
                    self.know(&members);
                    let mut all: Vec<String> = members.iter().map(|it| self.told(it)).collect();
                    all.sort();
                    all.join(", ")
                }
                Err(error) => self.refused(&error),
            },
            Status { at } => match self.client(at).etcd_status().await {
                Ok(status) => {
                    let own = self.plain(&status.member_id.to_string());
                    let led = if status.leader == 0 { "nobody leads" } else { "somebody leads" };
                    format!("{own}, learner {}, {led}, {:?}", status.learner, status.errors)
                }
                Err(error) => self.refused(&error),
            },
            Snapshot { at } => {
                let mut bytes = Vec::new();
                match self.client(at).etcd_snapshot(&mut bytes).await {
                    Ok(_) => "a snapshot".to_owned(),
                    Err(talos_api::SnapshotError::Call(error)) => self.refused(&error),
                    Err(error) => error.to_string(),
                }
            }
            Bootstrap { at } => match self.client(at).bootstrap().await {
                Ok(()) => "done".to_owned(),
                Err(error) => self.refused(&error),
            },
            Forfeit { at } => self.forfeit(at).await,
            Remove { at, whom } => match self.client(at).etcd_remove_member(self.id(whom)).await {
                Ok(true) => "done".to_owned(),
                Ok(false) => "no such member".to_owned(),
                Err(error) => self.refused(&error),
            },
            Leave { at } => match self.client(at).etcd_leave().await {
                Ok(()) => "done".to_owned(),
                Err(error) => self.refused(&error),
            },
            Add { at, whom } => {
                let learner = match whom {
                    Machine(number) => address(number),
                    Ghost(number) => ghost(number),
                    Nobody => IpAddr::from([10, 77, 0, 250]),
                };
                self.done(ask_etcd(address(at), &PeerCall::AddLearner { address: learner }, self.real).await)
            }
            Promote { at, whom } => {
                let call = PeerCall::Promote { id: self.id(whom) };
                self.done(ask_etcd(address(at), &call, self.real).await)
            }
        }
    }

    /// Whoever leads hands over to the first other member by id, which is chance: the answer must fit.
    async fn forfeit(&mut self, at: usize) -> String {
        let (status, members) =
            match (self.client(at).etcd_status().await, self.client(at).etcd_members(false).await) {
                (Ok(status), Ok(members)) => (status, members),
                (Err(error), _) | (_, Err(error)) => return self.refused(&error),
            };
        let mut others: Vec<&EtcdMember> = members.iter().filter(|it| it.id != status.member_id).collect();
        others.sort_by_key(|member| member.id);
        let answer = match self.client(at).etcd_forfeit_leadership().await {
            Ok(next) => next.unwrap_or_default(),
            Err(error) => self.refused(&error),
        };
        let expected = match others.first() {
            None => return answer,
            Some(_) if status.leader != status.member_id => String::new(),
            Some(next) if next.learner => {
                "Unknown: failed to forfeit leadership: etcdserver: bad leader transferee".to_owned()
            }
            Some(next) => next.hostname.clone(),
        };
        match answer == expected {
            true => "as Talos chooses".to_owned(),
            false => format!("{answer} instead of {expected}"),
        }
    }

    fn told(&self, member: &EtcdMember) -> String {
        let id = self.plain(&member.id.to_string());
        let role = if member.learner { "learner" } else { "voter" };
        format!("{id} = {:?} {role} {:?} {:?}", member.hostname, member.peer_urls, member.client_urls)
    }
}

/// Random questions: nothing in them takes a machine out.
fn random(seed: u64) -> Vec<Question> {
    let mut numbers = Numbers::new(seed);
    let mut below = |count: usize| numbers.below(count);
    let mut questions = Vec::new();
    for _ in 0..QUESTIONS {
        let at = 1 + below(3);
        let whom = match below(5) {
            0 => Machine(1 + below(3)),
            1 => Nobody,
            _ => Ghost(1 + below(2)),
        };
        questions.push(match below(10) {
            0 | 1 => Members { at, local: below(2) == 0 },
            2 => Status { at },
            3 => Snapshot { at },
            4 => Bootstrap { at },
            5 => Forfeit { at },
            6 if !matches!(whom, Machine(_)) => Remove { at, whom },
            7 => Promote { at, whom },
            _ => Add { at, whom },
        });
    }
    questions
}

/// One whole sequence against machines whose etcd is this program, or is played.
async fn sequence(program: Option<PathBuf>, seed: u64, folder: &Path) -> Vec<String> {
    let places = [Namespace::create().unwrap(), Namespace::create().unwrap(), Namespace::create().unwrap()];
    let ports = place(&places).await;
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let _provisioner = Provisioner::start("br0", &ports, SCHEMATIC).await;
    // the last one stays a learner until somebody promotes it
    let pace = |number: u8| match number {
        3 => Pace { promote_every: 3_600_000, ..Pace::fast() },
        _ => Pace::fast(),
    };
    let machines: Vec<Powered> = (1_u8..)
        .zip(&places)
        .map(|(number, place)| {
            let disk = folder.join(format!("{number}.json"));
            Powered::with(place, number, Firmware::UefiX64, disk, pace(number), program.clone())
        })
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let secrets = SecretsBundle::generate(now).unwrap();
    let admin = secrets.talos_admin(now).unwrap();
    let credentials =
        Credentials::from_pem(&secrets.os.certificate, &admin.certificate, admin.key.expose()).unwrap();
    let ours = Authority::from_pem(&secrets.os.certificate).unwrap();
    let mut side =
        Side { real: program.is_some(), clients: Vec::new(), ids: BTreeMap::new(), said: Vec::new() };
    for number in 1..=3 {
        let at = SocketAddr::new(address(number), talos_api::PORT);
        let seen = async || probe(at, &ours, Duration::from_secs(2)).await.ok();
        let fingerprint = until("maintenance", async || match seen().await {
            Some(Peer::Maintenance { fingerprint }) => Some(fingerprint),
            _ => None,
        });
        let waiting = Client::maintenance(at, &fingerprint.await).await.unwrap();
        let text =
            config(MachineType::ControlPlane, &format!("mini0{number}"), &format!("eth{number}"), &secrets);
        waiting.apply_configuration(&text, ApplyMode::Auto, false).await.unwrap();
        until("our certificate", async || (seen().await == Some(Peer::Ours)).then_some(())).await;
        let client = Client::configured(at, &credentials).await.unwrap().with_deadline(PATIENCE);
        if number == 1 {
            until("the bootstrap", async || client.bootstrap().await.ok()).await;
        }
        let voters = number.min(2);
        until("its place in etcd", async || {
            let members = client.etcd_members(false).await.ok()?;
            let voting = members.iter().filter(|member| !member.learner).count();
            let named = members.iter().all(|member| !member.hostname.is_empty());
            (members.len() == number && voting == voters && named).then_some(())
        })
        .await;
        side.clients.push(client);
    }
    side.agree().await;

    let everything =
        |at| [Status { at }, Members { at, local: true }, Members { at, local: false }, Snapshot { at }];
    for question in (1..=3).flat_map(everything) {
        side.ask(question).await;
    }
    for question in [
        Bootstrap { at: 1 },
        Forfeit { at: 1 },
        Add { at: 2, whom: Ghost(1) },
        Promote { at: 1, whom: Machine(2) },
        Promote { at: 2, whom: Nobody },
        Remove { at: 1, whom: Nobody },
        // its own etcd does nothing for others yet
        Add { at: 3, whom: Ghost(1) },
        Promote { at: 3, whom: Machine(3) },
        Promote { at: 2, whom: Machine(3) },
        Add { at: 2, whom: Ghost(1) },
        Members { at: 3, local: true },
        Add { at: 1, whom: Ghost(1) },
        Add { at: 1, whom: Ghost(2) },
        Add { at: 1, whom: Machine(2) },
        Promote { at: 1, whom: Ghost(1) },
        Remove { at: 3, whom: Ghost(1) },
        Remove { at: 3, whom: Ghost(1) },
    ] {
        side.ask(question).await;
    }
    for question in random(seed) {
        side.ask(question).await;
    }
    for question in [
        Remove { at: 1, whom: Ghost(1) },
        Remove { at: 1, whom: Ghost(2) },
        Remove { at: 1, whom: Machine(2) },
        Members { at: 1, local: false },
        Status { at: 2 },
        Members { at: 2, local: true },
        Bootstrap { at: 2 },
        Leave { at: 3 },
        Members { at: 3, local: false },
        Members { at: 1, local: true },
        Remove { at: 1, whom: Machine(1) },
        Leave { at: 1 },
        Forfeit { at: 1 },
    ] {
        side.ask(question).await;
    }
    recovered(&mut side).await;
    for machine in machines {
        machine.off();
    }
    side.said
}

/// A machine that holds no data begins from what is no snapshot, and then from one.
async fn recovered(side: &mut Side) {
    let mut snapshot = Vec::new();
    side.client(1).etcd_snapshot(&mut snapshot).await.unwrap();
    let mut broken = snapshot.clone();
    broken.truncate(snapshot.len() / 2);
    for (what, bytes) in [("half of a snapshot", broken), ("a snapshot", snapshot)] {
        let client = side.client(3);
        client.etcd_recover(std::io::Cursor::new(bytes)).await.unwrap();
        let told = match client.bootstrap_recovered(false).await {
            Ok(()) => "done".to_owned(),
            Err(error) => side.refused(&error),
        };
        let state = until("its etcd to come to something", async || {
            let services = client.services().await.ok()?;
            let etcd = services.into_iter().find(|service| service.id == "etcd")?;
            match (etcd.state.as_str(), etcd.healthy) {
                ("Failed", _) => Some("Failed"),
                ("Running", Some(true)) => Some("Running"),
                _ => None,
            }
        });
        let state = state.await;
        side.said.push(format!("bootstrapped from {what}: {told}, its etcd is {state}"));
    }
    for question in [Members { at: 3, local: false }, Status { at: 3 }, Bootstrap { at: 3 }] {
        side.ask(question).await;
    }
}

#[test]
fn the_played_etcd_answers_as_the_real_one() {
    let Some(seeds) = std::env::var(SEEDS).ok().and_then(|text| text.parse::<u64>().ok()) else {
        println!("skipped: {SEEDS} says how many sequences are compared");
        return;
    };
    let Some(program) = Tool::Etcd.for_test() else { return };
    namespace::test(move || async move {
        for seed in 1..=seeds {
            // each in a network of its own, both at once
            let sides = [None, Some(program.clone())].map(|program| {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().to_owned();
                let network = Namespace::create().unwrap();
                let side = network.spawn(move || async move { sequence(program, seed, &path).await });
                (side.unwrap(), network, folder)
            });
            let [played, real] = sides.map(|(side, _network, _folder)| side.join().unwrap().unwrap());
            for (played, real) in played.iter().zip(&real) {
                assert_eq!(played, real, "seed {seed}: the played one on the left");
            }
            assert_eq!(played.len(), real.len(), "seed {seed}");
        }
    })
    .unwrap();
}
