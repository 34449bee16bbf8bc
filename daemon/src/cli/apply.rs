//! `ichord apply`: a changed site is brought to its nodes, one after another. What is next is decided by `rollout::order`;
//! here the nodes are looked at, the record is kept, and what was decided is done.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use lifecycle::Role;
use rollout::{
    Class, NEVER_REBOOTS,
    order::{Etcd, Look, Next, Record, Told, next},
    versions::Minor,
};
use serde::Deserialize;
use talos_api::{ApplyMode, Client, Credentials, Kind, PORT, RebootMode, Stage};
use talos_config::config::MachineConfig;
use tokio::task::JoinSet;

use super::{
    Failure, cluster,
    credentials::{create, loaded, now},
    print,
    running::{administrator, compared},
};
use crate::app::Loaded;

/// Between two looks at the nodes.
const PAUSE: Duration = Duration::from_secs(1);

/// A node that does not answer for so long counts as silent.
const ANSWER: Duration = Duration::from_secs(10);

const NODE_STATUSES: Kind = Kind { namespace: "k8s", name: "NodeStatuses.kubernetes.talos.dev" };

/// Brings a changed site to its nodes, one at a time, and then into the cluster.
///
/// Control planes come before workers and the one that leads etcd comes last of them. Nothing begins before every node
/// answers and etcd is whole; each node has to be as well as it was before the next one is touched, and the first that does
/// not come back within a quarter of an hour ends it. When a change cannot be made in place, nothing is changed anywhere. A command that
/// was killed goes on where it was when it is given again. After the nodes, what ichord owns in the cluster is written and waited for
/// (steps of `owner: ichord`, and the Secrets whose values the site names); nothing is removed there, and what Git owns is left alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 0 when every node has what the site wants, 1 when a person has to look, 2 when the site has faults.

Examples:
  ichord plan profiles/home-ops            what it would do
  ichord apply profiles/home-ops mini03    one node first
  ichord apply profiles/home-ops           and the others")]
pub(crate) struct Apply {
    /// the site's folder
    site: PathBuf,
    /// one node only
    node: Option<String>,
    /// etcd may stand still while one of its one or two members boots again
    #[arg(long)]
    accept_downtime: bool,
    /// where it remembers how far it is [default: ichord/apply-SITE.json in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

impl Apply {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let loaded = loaded(&self.site)?;
        let name = loaded.site.name();
        if let Some(node) = &self.node
            && !loaded.site.plan().nodes.keys().any(|known| known.0 == *node)
        {
            return Err(anyhow!("{node} is not in the site").into());
        }
        let path = match &self.record {
            Some(path) => path.clone(),
            None => place(name)?,
        };
        let book = Book::open(path)?;
        let mut record = book.read()?.unwrap_or_else(|| Record::new(None, false, now_ms()));
        // whoever gives the command again has looked
        record.since = now_ms();
        record.only.clone_from(&self.node);
        record.accepts_downtime = self.accept_downtime;
        let credentials = administrator(&loaded.secrets)?;
        go(&loaded, &credentials, &book, record).await?;
        // one node is one node
        if self.node.is_some() { Ok(()) } else { cluster::write(&loaded).await }
    }
}

/// Until all is done or a person has to look.
async fn go(
    loaded: &Loaded,
    credentials: &Credentials,
    book: &Book,
    mut record: Record,
) -> Result<(), Failure> {
    let mut waiting = String::new();
    loop {
        let looks = look(loaded, credentials).await?;
        match next(&record, &looks, now_ms()) {
            Next::Begin(current) => {
                let line = format!("{}: begins\n", current.node);
                record.begin(current, now_ms());
                book.write(&record)?;
                print(&line)?;
            }
            Next::Apply(node) => {
                record.ask(true, now_ms());
                book.write(&record)?;
                print(&format!("{node}: is given its config\n"))?;
                if let Err(error) = give(loaded, credentials, &node).await {
                    print(&format!("{node}: {error:#}\n"))?;
                }
            }
            Next::Reboot(node) => {
                record.ask(false, now_ms());
                book.write(&record)?;
                print(&format!("{node}: is told to boot again\n"))?;
                if let Err(error) = boot_again(loaded, credentials, &node).await {
                    print(&format!("{node}: {error:#}\n"))?;
                }
            }
            Next::Finished(node) => {
                record.finish(now_ms());
                book.write(&record)?;
                print(&format!("{node}: has what the site wants\n"))?;
            }
            Next::Wait(reason) => {
                if reason != waiting {
                    print(&format!("waiting: {reason}\n"))?;
                    waiting = reason;
                }
                tokio::time::sleep(PAUSE).await;
            }
            Next::Done => {
                book.forget()?;
                return print("every node has what the site wants\n");
            }
            Next::Stop(reason) => {
                // with nobody in the middle of it there is nothing to go on with
                if record.current.is_none() {
                    book.forget()?;
                }
                return Err(anyhow!(reason).into());
            }
        }
    }
}

/// Looks at every node at once.
async fn look(loaded: &Loaded, credentials: &Credentials) -> anyhow::Result<BTreeMap<String, Look>> {
    let mut asked = JoinSet::new();
    for (name, node) in loaded.site.plan().nodes {
        let wanted = loaded.site.machine_config(&name.0, &loaded.secrets)?;
        let (address, credentials) = (SocketAddr::new(node.address, PORT), credentials.clone());
        let control_plane = node.role == Role::ControlPlane;
        asked.spawn(async move {
            let told =
                tokio::time::timeout(ANSWER, tell(address, &credentials, &wanted, control_plane)).await;
            // why it does not answer is no matter: whether it does is looked at again and again
            (name.0, Look { control_plane, told: told.ok().and_then(Result::ok) })
        });
    }
    let mut looks = BTreeMap::new();
    while let Some(ended) = asked.join_next().await {
        let (name, look) = ended?;
        looks.insert(name, look);
    }
    Ok(looks)
}

async fn tell(
    address: SocketAddr,
    credentials: &Credentials,
    wanted: &MachineConfig,
    control_plane: bool,
) -> anyhow::Result<Told> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct NodeStatus {
        #[serde(default)]
        node_ready: bool,
    }
    let client = Client::configured(address, credentials).await?.with_deadline(ANSWER);
    let running = compared(&client, wanted, &[]).await?;
    let status = client.machine_status().await?;
    let nodes = client.list(NODE_STATUSES).await.unwrap_or_default();
    let ready = nodes.first().and_then(|node| node.read::<NodeStatus>().ok()).map(|node| node.node_ready);
    let never = Minor::parse(&running.talos).is_none_or(|talos| talos >= NEVER_REBOOTS);
    Ok(Told {
        boot: client.boot_id().await?,
        class: running.plan.class(),
        reboots_itself: running.plan.class() == Some(Class::Reboot) && !never,
        running: status.stage == Stage::Running,
        settled: status.ready,
        ready,
        etcd: if control_plane { etcd(&client).await.ok() } else { None },
    })
}

async fn etcd(client: &Client) -> anyhow::Result<Etcd> {
    let status = client.etcd_status().await?;
    let members = client.etcd_members(false).await?;
    Ok(Etcd {
        member: status.member_id,
        leader: status.leader,
        voters: members.iter().filter(|member| !member.learner).map(|member| member.id).collect(),
        complains: !status.errors.is_empty(),
    })
}

async fn give(loaded: &Loaded, credentials: &Credentials, node: &str) -> anyhow::Result<()> {
    let config = loaded.site.machine_config(node, &loaded.secrets)?.to_yaml()?;
    let client = connected(loaded, credentials, node).await?;
    for warning in client.apply_configuration(&config, ApplyMode::Auto, false).await?.warnings {
        eprintln!("{node}: {warning}");
    }
    Ok(())
}

async fn boot_again(loaded: &Loaded, credentials: &Credentials, node: &str) -> anyhow::Result<()> {
    Ok(connected(loaded, credentials, node).await?.reboot(RebootMode::Default).await?)
}

async fn connected(loaded: &Loaded, credentials: &Credentials, node: &str) -> anyhow::Result<Client> {
    let plan = loaded.site.plan();
    let planned = plan.nodes.get(&node.into()).with_context(|| format!("{node} is not in the site"))?;
    Ok(Client::configured(SocketAddr::new(planned.address, PORT), credentials).await?)
}

/// The record on the disk, and the right to be the only one who has it.
struct Book {
    path: PathBuf,
    _alone: File,
}

impl Book {
    fn open(path: PathBuf) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        let lock = path.with_extension("lock");
        let alone = File::create(&lock).with_context(|| format!("{} cannot be written", lock.display()))?;
        match alone.try_lock() {
            Ok(()) => Ok(Self { path, _alone: alone }),
            Err(fs::TryLockError::WouldBlock) => {
                Err(anyhow!("another `ichord apply` of this site is running"))
            }
            Err(fs::TryLockError::Error(error)) => {
                Err(anyhow!(error).context(format!("{} cannot be locked", lock.display())))
            }
        }
    }

    fn read(&self) -> anyhow::Result<Option<Record>> {
        match fs::read(&self.path) {
            Ok(text) => {
                let record = serde_json::from_slice(&text);
                Ok(Some(record.with_context(|| format!("{} is no record of an apply", self.path.display()))?))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(anyhow!(error).context(format!("{} cannot be read", self.path.display()))),
        }
    }

    /// The old one or the new one is there at every moment, and the new one before anything is done that it tells of.
    fn write(&self, record: &Record) -> anyhow::Result<()> {
        let failed = || format!("{} cannot be written", self.path.display());
        let new = self.path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(anyhow!(error).context(failed()));
            }
            _ => {}
        }
        create(&new, &serde_json::to_string(record)?).with_context(failed)?;
        fs::rename(&new, &self.path).with_context(failed)?;
        let folder =
            self.path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).with_context(failed)
    }

    fn forget(&self) -> anyhow::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(anyhow!(error).context(format!("{} cannot be removed", self.path.display())))
            }
            _ => Ok(()),
        }
    }
}

/// Where the record is when nobody says otherwise.
fn place(site: &str) -> anyhow::Result<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    let folder = state.or_else(home).context("neither HOME nor XDG_STATE_HOME is set: say --record")?;
    Ok(folder.join("ichord").join(format!("apply-{site}.json")))
}

fn now_ms() -> u64 {
    now() * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_outlives_its_command_and_has_one_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deeper/apply.json");
        let book = Book::open(path.clone()).expect("opens");
        assert_eq!(book.read().expect("reads"), None);
        let mut record = Record::new(Some("mini01".to_owned()), false, 7);
        book.write(&record).expect("writes");
        record.since = 8;
        book.write(&record).expect("writes over it");
        let second = Book::open(path.clone()).err().expect("one owner").to_string();
        assert!(second.contains("another `ichord apply`"), "{second}");
        drop(book);
        let book = Book::open(path.clone()).expect("opens again");
        assert_eq!(book.read().expect("reads"), Some(record));
        fs::write(&path, "{").expect("breaks");
        assert!(book.read().expect_err("broken").to_string().contains("is no record of an apply"));
        book.forget().expect("forgets");
        book.forget().expect("twice");
        assert_eq!(book.read().expect("reads"), None);
    }
}
