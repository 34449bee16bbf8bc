//! `ichord ports`: who is plugged in where, and who should be; and the site file brought to what is plugged in now.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use hardware::SwitchPort;
use identity::{Attestor, Occupant};
use site::{
    Site,
    edit::{Edited, rename_switch, write_ports},
};

use super::{Failure, Socket, cabling, print};
use crate::app::Disk;

/// Shows every switch port: whose it is, who is seen there, who says so and when.
///
/// Ports that nobody claimed and slots that nobody fills are among them. With --write the site file is brought to
/// what is plugged in now, for machines that hold a slot; comments and order stay. With --rename-switch a switch
/// gets another name in it. Both are then put in force by `ichord reload`; no machine is installed anew by either. With
/// --verify the machines themselves say which switch ports they hear; one in another's port is told, with exit code 1.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ichord ports\n  ichord ports --write profiles/home-ops\n  ichord ports --rename-switch sw1=leaf1 profiles/home-ops\n  ichord ports --verify profiles/home-ops"
)]
pub(crate) struct Ports {
    /// as JSON
    #[arg(long, conflicts_with_all = ["write", "rename_switch"])]
    json: bool,
    /// write where each machine is now into the site's ichord.yaml
    #[arg(long, requires = "site", conflicts_with = "rename_switch")]
    write: bool,
    /// call a switch by another name in the site's ichord.yaml; needs no daemon
    #[arg(long, value_name = "OLD=NEW", requires = "site")]
    rename_switch: Option<String>,
    /// ask the machines of a running cluster which ports their cards hear, and compare; needs no daemon
    #[arg(long, requires = "site", conflicts_with_all = ["write", "rename_switch", "json"])]
    verify: bool,
    /// the site's folder, to be changed or compared
    site: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

impl Ports {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match (&self.rename_switch, &self.site) {
            (None, Some(site)) if self.verify => return cabling::verify(site).await,
            (Some(names), Some(site)) => return rename(names, site),
            (None, Some(_)) if !self.write => {
                return Err(anyhow!(
                    "with a site's folder, say what is to be done: --write, --rename-switch or --verify"
                )
                .into());
            }
            _ => {}
        }
        let client = self.socket.client();
        let ports = client.ports().await?;
        if self.json {
            return print(&format!("{}\n", serde_json::to_string(&ports)?));
        }
        let status = client.status().await?;
        match self.site {
            Some(site) => write(&site, &now(&ports, &status)),
            None => print(&table(&ports, &status)),
        }
    }
}

/// Where the machine of each slot is, when it is in one place, or was seen last, when that is none of its slot's ports.
fn now(ports: &api::Ports, status: &api::Status) -> BTreeMap<String, SwitchPort> {
    let mut found = BTreeMap::new();
    for (name, node) in &status.view.nodes {
        let is_it = |occupant: &Occupant| node.macs.iter().any(|mac| occupant.machine.macs.contains(mac));
        let mut places = ports.ports.iter().filter(|row| row.machines.iter().any(is_it));
        if let (Some(row), None) = (places.next(), places.next()) {
            found.insert(name.0.clone(), row.port.clone());
        }
    }
    for (name, port) in &ports.displaced {
        found.entry(name.clone()).or_insert_with(|| port.clone());
    }
    found
}

fn write(site: &Path, now: &BTreeMap<String, SwitchPort>) -> Result<(), Failure> {
    if now.is_empty() {
        return Err(
            anyhow!("no machine that holds a slot is seen on a port: there is nothing to write").into()
        );
    }
    change(site, |file, text| write_ports(file, text, now))
}

fn rename(names: &str, site: &Path) -> Result<(), Failure> {
    let named = |name: &str| !name.is_empty() && !name.contains('/');
    let (old, new) = names
        .split_once('=')
        .filter(|(old, new)| named(old) && named(new))
        .ok_or_else(|| anyhow!("{names:?} is not OLD=NEW, two names of switches"))?;
    change(site, |file, text| rename_switch(file, text, old, new))
}

/// Changes the site file, if what comes out is a site without new faults.
fn change(
    site: &Path,
    edit: impl Fn(&str, &str) -> Result<Edited, document::Finding>,
) -> Result<(), Failure> {
    let path = site.join("ichord.yaml");
    let name = path.display().to_string();
    let text = fs::read_to_string(&path).with_context(|| format!("{name} cannot be read"))?;
    let edited = edit(&name, &text).map_err(|finding| anyhow!("{finding}"))?;
    for left in &edited.left {
        eprintln!("left as it is: {left}");
    }
    if edited.changes.is_empty() {
        return print(&format!("{name}: nothing to change\n"));
    }
    let files = With { path: &path, text: &edited.text };
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    if let Err(findings) = Site::load(site, &files, &environment) {
        eprintln!("{findings}");
        return Err(anyhow!("{name} stays as it is: with the changes it would have the faults above").into());
    }
    replace(&path, &edited.text).with_context(|| format!("{name} cannot be written"))?;
    let changes: String = edited.changes.iter().map(|change| format!("  {change}\n")).collect();
    print(&format!("{name}:\n{changes}`ichord reload` puts it in force\n"))
}

/// Whole or not at all, with the mode it had.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("yaml.new");
    let mut file = fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(fs::metadata(path)?.permissions())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// The disk with one file as it would be.
struct With<'a> {
    path: &'a Path,
    text: &'a str,
}

impl site::Files for With<'_> {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        if path == self.path { Ok(self.text.to_owned()) } else { Disk.read(path) }
    }

    fn exists(&self, path: &Path) -> bool {
        Disk.exists(path)
    }
}

/// A row a machine on a port, or a port without one; below, what is wrong.
fn table(ports: &api::Ports, status: &api::Status) -> String {
    let mut rows = vec![["PORT", "SLOT", "MACHINE", "EVIDENCE", "AGE"].map(str::to_owned)];
    for row in &ports.ports {
        let slot = row.slot.clone().unwrap_or_else(|| "nobody's".to_owned());
        if row.machines.is_empty() {
            rows.push([row.port.to_string(), slot.clone(), "-".to_owned(), "-".to_owned(), String::new()]);
        }
        for occupant in &row.machines {
            let machine = occupant.machine.macs.first().map(ToString::to_string).unwrap_or_default();
            let newest = occupant.words.iter().map(|word| word.at).max().unwrap_or(ports.at);
            let (port, slot) = (row.port.to_string(), slot.clone());
            rows.push([port, slot, machine, evidence(occupant), age(ports.at.saturating_sub(newest))]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text += "\n";
    }
    let nodes = &status.view.nodes;
    for warning in nodes.values().filter_map(|node| node.warning.as_ref()) {
        text += &format!("! {warning}\n");
    }
    for told in &ports.told {
        text += &format!("! {told}\n");
    }
    for (name, node) in nodes {
        if let Some(rival) = &node.rival {
            text += &format!("! {rival} is plugged in where {name} is held: `ichord explain {name}`\n");
        }
    }
    let empty = |name: &&String| nodes.iter().any(|(node, view)| node.0 == **name && view.macs.is_empty());
    let unfilled: Vec<&str> = ports.unseen.iter().filter(empty).map(String::as_str).collect();
    if !unfilled.is_empty() {
        text += &format!("slots that nobody fills: {}\n", unfilled.join(", "));
    }
    text
}

fn evidence(occupant: &Occupant) -> String {
    let sources: Vec<String> = occupant.words.iter().map(|word| word.source.to_string()).collect();
    let alone = occupant.words.iter().all(|word| word.attestor == Attestor::Machine);
    let sources = sources.join(", ");
    if alone { format!("{sources} (only its own word)") } else { sources }
}

fn age(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
