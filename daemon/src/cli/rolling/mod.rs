//! A rollout's effects: the nodes and the cluster are looked at, the record is kept, and what `rollout::order` has decided is done.

mod deeds;
mod look;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::anyhow;
use clap::Args;
use kubernetes::DrainError;
use rollout::{
    order::{Next, Record, Task, next},
    upgrade::Image,
};
use talos_api::Credentials;

use super::{
    Failure,
    book::{Book, place},
    credentials::now,
    print,
    running::administrator,
};
use crate::app::Loaded;

/// Between two looks at the nodes.
const PAUSE: Duration = Duration::from_secs(1);

/// What every command understands that goes from node to node.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// etcd may stand still while one of its one or two members is away
    #[arg(long)]
    accept_downtime: bool,
    /// nodes go down with everything that runs on them, and nothing is moved elsewhere before
    #[arg(long)]
    without_drain: bool,
    /// where it remembers how far it is [default: a file of this command, site and node in ichord/ under $XDG_STATE_HOME or
    /// ~/.local/state]
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

impl Options {
    /// The record of this command, which nobody else has meanwhile.
    pub(crate) fn book(&self, name: &str) -> anyhow::Result<Book> {
        Book::open(match &self.record {
            Some(path) => path.clone(),
            None => place(name)?,
        })
    }

    /// What the person who gives the command says this time.
    pub(crate) fn take_up(&self, record: &mut Record) {
        record.take_up(now_ms());
        record.accepts_downtime = self.accept_downtime;
        record.keep_pods(self.without_drain);
    }
}

/// A task under way.
pub(crate) struct Rollout<'a> {
    loaded: &'a Loaded,
    credentials: Credentials,
    /// which command it is, for who wants to give it again
    command: &'static str,
    /// what each node is brought to, where that is another Talos
    installers: BTreeMap<String, Installer>,
}

/// An image of Talos's installer, and what a node is that runs it.
#[derive(Debug, Clone)]
pub(crate) struct Installer {
    pub(crate) reference: String,
    pub(crate) image: Image,
}

impl<'a> Rollout<'a> {
    pub(crate) fn new(loaded: &'a Loaded, command: &'static str) -> anyhow::Result<Self> {
        let credentials = administrator(&loaded.secrets)?;
        Ok(Self { loaded, credentials, command, installers: BTreeMap::new() })
    }

    /// The same, to these images.
    pub(crate) fn to(self, installers: BTreeMap<String, Installer>) -> Self {
        Self { installers, ..self }
    }

    /// Until all is done or a person has to look.
    pub(crate) async fn go(&self, book: &Book, mut record: Record) -> Result<(), Failure> {
        let mut waiting = String::new();
        loop {
            let (looks, work) = tokio::join!(look::at_nodes(self, record.task), look::at_work(self.loaded));
            match next(&record, &looks?, &work, now_ms()) {
                Next::Begin(current) => {
                    let line = format!("{}: begins\n", current.node);
                    record.begin(current, now_ms());
                    book.write(&record)?;
                    print(&line)?;
                }
                Next::Snapshot(node) => {
                    let path = book.beside(&format!("etcd-{}.db", now()));
                    match self.snapshot(&node, &path).await {
                        Ok(size) => {
                            record.snapshot = Some(path.display().to_string());
                            book.write(&record)?;
                            let kept = path.display();
                            print(&format!("{node}: {size} bytes of its etcd are kept in {kept}\n"))?;
                        }
                        Err(error) => self.failed(&node, &error).await?,
                    }
                }
                Next::Apply(node) => {
                    self.tell(book, &mut record, true, &format!("{node}: is given its config"))?;
                    self.seen(&node, self.give(&node).await).await?;
                }
                Next::Reboot(node) => {
                    self.tell(book, &mut record, false, &format!("{node}: is told to boot again"))?;
                    self.seen(&node, self.boot_again(&node).await).await?;
                }
                Next::Shutdown(node) => {
                    self.tell(book, &mut record, false, &format!("{node}: is told to go down"))?;
                    self.seen(&node, self.go_down(&node).await).await?;
                }
                Next::Install(node) => {
                    self.tell(book, &mut record, true, &format!("{node}: its installer runs"))?;
                    match self.install(&node).await {
                        Ok(boot) => {
                            record.installed(boot, now_ms());
                            book.write(&record)?;
                            print(&format!("{node}: the new image is on its disk\n"))?;
                        }
                        Err(error) => self.failed(&node, &error).await?,
                    }
                }
                Next::Upgrade(node) => {
                    self.tell(book, &mut record, true, &format!("{node}: is told to upgrade itself"))?;
                    match self.upgrade(&node).await {
                        Ok(boot) => {
                            record.installed(boot, now_ms());
                            record.ask(false, now_ms());
                            book.write(&record)?;
                            print(&format!("{node}: upgrades itself\n"))?;
                        }
                        Err(error) => self.failed(&node, &error).await?,
                    }
                }
                Next::Drain(node) => {
                    print(&format!("{node}: its pods are moved elsewhere\n"))?;
                    match self.empty(&node).await {
                        Ok(count) => {
                            record.emptied(now_ms());
                            book.write(&record)?;
                            print(&format!("{node}: {count} pods have gone\n"))?;
                        }
                        Err(error) if transient(&error) => self.failed(&node, &error.into()).await?,
                        Err(error) => return Err(undecided(&node, &error, self.command)),
                    }
                }
                Next::Uncordon(node) => match self.open(&node).await {
                    Ok(()) => {
                        print(&format!("{node}: pods may come to it again\n"))?;
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(error) => self.failed(&node, &error).await?,
                },
                Next::Finished(node) => {
                    record.finish(now_ms());
                    book.write(&record)?;
                    print(&format!("{node}: {}\n", self.done(&node, record.task)))?;
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
                    return match record.task {
                        Task::Apply => print("every node has what the site wants\n"),
                        Task::Upgrade => print("every node runs the Talos that it should\n"),
                        Task::Reboot | Task::Shutdown => Ok(()),
                    };
                }
                Next::GiveUp(reason) => {
                    book.forget()?;
                    return Err(anyhow!(reason).into());
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

    /// What a node is about to be told is stored, and said, before it is.
    fn tell(&self, book: &Book, record: &mut Record, counts: bool, line: &str) -> Result<(), Failure> {
        record.ask(counts, now_ms());
        book.write(record)?;
        print(&format!("{line}\n"))
    }

    async fn seen(&self, node: &str, told: anyhow::Result<()>) -> Result<(), Failure> {
        match told {
            Ok(()) => Ok(()),
            Err(error) => self.failed(node, &error).await,
        }
    }

    /// What did not work is tried again, which is decided anew each time.
    async fn failed(&self, node: &str, error: &anyhow::Error) -> Result<(), Failure> {
        print(&format!("{node}: {error:#}\n"))?;
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    /// What a node that is finished has gone through.
    fn done(&self, node: &str, task: Task) -> String {
        match (task, self.installers.get(node)) {
            (Task::Apply, _) => "has what the site wants".to_owned(),
            (Task::Upgrade, Some(installer)) => format!("runs {}", installer.image),
            _ => "is back".to_owned(),
        }
    }
}

fn transient(error: &DrainError) -> bool {
    matches!(error, DrainError::Ask(error) if error.transient())
}

/// A drain that does not end is a person's to decide.
fn undecided(node: &str, error: &DrainError, command: &str) -> Failure {
    anyhow!(
        "{node} is not emptied: {error}\n  it keeps new pods off, and has not been told to boot or go down; see to these pods and give \
         `ichord {command}` again, or give it with --without-drain, or let pods on it again with `kubectl uncordon {node}`"
    )
    .into()
}

pub(crate) fn now_ms() -> u64 {
    now() * 1000
}

/// Every node that is named is in the site.
pub(crate) fn known(loaded: &Loaded, nodes: &[String]) -> anyhow::Result<()> {
    let planned = loaded.site.plan().nodes;
    match nodes.iter().find(|node| !planned.contains_key(&node.as_str().into())) {
        Some(node) => Err(anyhow!("{node} is not in the site")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_that_does_not_end_says_what_a_person_can_do() {
        let error =
            DrainError::Unmanaged { node: "mini03".to_owned(), pods: vec![("a".to_owned(), "b".to_owned())] };
        assert!(!transient(&error));
        let Failure::Other(told) = undecided("mini03", &error, "maintain") else { panic!("it is a failure") };
        let told = told.to_string();
        for said in ["a/b", "`ichord maintain` again", "--without-drain", "kubectl uncordon mini03"] {
            assert!(told.contains(said), "{told}");
        }
    }
}
