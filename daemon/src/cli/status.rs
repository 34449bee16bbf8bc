//! `ichord status`: machines and the cluster, now.

use std::fmt::Write as _;

use clap::Args;

use super::{Failure, Socket, print};

/// Shows each slot, its machine, and what it waits for.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Status {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let status = self.socket.client().status().await?;
        if self.json {
            print(&format!("{}\n", serde_json::to_string(&status)?))
        } else {
            print(&table(&status))
        }
    }
}

/// A row a slot; what a slot waits for stands under it, because it is a sentence.
fn table(status: &api::Status) -> String {
    let mut text = String::new();
    if let Some(fault) = &status.site_fault {
        text += &format!("the site's files cannot be used; the last accepted site is in force\n{fault}\n\n");
    }
    let header = ["NODE", "ROLE", "STATE", "ADDRESS", "PORT", "MACHINE"].map(str::to_owned);
    let mut rows = vec![(header, Vec::new())];
    for (name, node) in &status.view.nodes {
        let role = match node.role {
            lifecycle::Role::ControlPlane => "control plane",
            lifecycle::Role::Worker => "worker",
        };
        let machine = node.macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let port = node.port.clone().unwrap_or_else(|| "-".to_owned());
        let machine = if machine.is_empty() { "-".to_owned() } else { machine };
        let cells =
            [name.0.clone(), role.to_owned(), node.state.clone(), node.address.to_string(), port, machine];
        let warning = node.warning.iter().chain(&node.displaced).map(|warning| format!("! {warning}"));
        let rival = node.rival.iter().map(|rival| {
            format!("! {rival} is plugged in where {name} is held: `ichord slot approve {name}` gives it the slot, `ichord \
                     explain {name}` says why it has not got it")
        });
        let leaving = node.leaving.iter().map(|leaving| format!("! is taken out: {leaving}"));
        let left = node.left.iter().map(|left| format!("! {left}"));
        let power = node.power.iter().filter(|power| power.failed);
        let power =
            power.map(|power| format!("! its power does not obey: {}", power.said.as_deref().unwrap_or("?")));
        let waiting = node.waiting.iter().map(|waiting| format!("└ {waiting}"));
        let hint = node.hint.iter().map(|hint| format!("└ {hint}"));
        rows.push((
            cells,
            warning.chain(rival).chain(leaving).chain(left).chain(power).chain(waiting).chain(hint).collect(),
        ));
    }
    let width =
        |column: usize| rows.iter().map(|(cells, _)| cells[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    for (cells, notes) in &rows {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text += "\n";
        for note in notes {
            // writing to a String cannot fail
            writeln!(text, "  {note}").ok();
        }
    }
    for fenced in &status.view.fenced {
        let macs = fenced.macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        writeln!(text, "fenced off: {macs}, once {} (taken out by {})", fenced.node, fenced.by).ok();
    }
    text += &format!("\ncluster: {}\n", status.view.cluster.state);
    if !status.view.cluster.done.is_empty() {
        text += &format!("  steps in place: {}\n", status.view.cluster.done.join(", "));
    }
    if let Some(waiting) = &status.view.cluster.waiting {
        text += &format!("  └ {waiting}\n");
    }
    if let Some(fault) = &status.snapshots.fault {
        text += &format!("! snapshots of etcd: {fault}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_sees_slots_reasons_and_the_cluster() {
        let mut view = lifecycle::View::default();
        view.cluster.state = "assembling".into();
        view.cluster.waiting = Some("every control plane must be configured first: mini01 is vacant".into());
        view.nodes.insert(
            "mini01".into(),
            lifecycle::NodeView {
                role: lifecycle::Role::ControlPlane,
                state: "vacant".into(),
                waiting: Some("waits for `ichord deploy mini01`".into()),
                hint: Some("for more than 30 s: no file request".into()),
                address: "172.29.51.11".parse().unwrap(),
                macs: Vec::new(),
                port: None,
                displaced: None,
                warning: Some("wrong cable: mini01 (02:…) is plugged into the port of mini02".into()),
                rival: Some("02:00:00:00:00:09".into()),
                fingerprint: None,
                netboot: false,
                permit_expires: None,
                since: None,
                leaving: Some("it is installed anew (by ann); its pods go elsewhere".into()),
                left: Some("the site no longer names mini01".into()),
                power: Some(lifecycle::PowerView {
                    running: false,
                    said: Some("10.0.0.11:443 does not let admin in".into()),
                    failed: true,
                }),
            },
        );
        let status = api::Status {
            site: "home-ops".into(),
            version: "0".into(),
            site_fault: None,
            snapshots: api::Snapshots { last: None, fault: Some("the copy failed".into()) },
            view,
        };
        let expected = "\
NODE    ROLE           STATE   ADDRESS       PORT  MACHINE
mini01  control plane  vacant  172.29.51.11  -     -
  ! wrong cable: mini01 (02:…) is plugged into the port of mini02
  ! 02:00:00:00:00:09 is plugged in where mini01 is held: `ichord slot approve mini01` gives it the slot, `ichord explain mini01` says why it has not got it
  ! is taken out: it is installed anew (by ann); its pods go elsewhere
  ! the site no longer names mini01
  ! its power does not obey: 10.0.0.11:443 does not let admin in
  └ waits for `ichord deploy mini01`
  └ for more than 30 s: no file request

cluster: assembling
  └ every control plane must be configured first: mini01 is vacant
! snapshots of etcd: the copy failed
";
        assert_eq!(table(&status), expected);
    }
}
