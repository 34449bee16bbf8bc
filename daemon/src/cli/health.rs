//! `ichord health`: whether the cluster is well.

use std::fmt::Write as _;

use clap::Args;
use lifecycle::{Assertion, Verdict};

use super::{Failure, Socket, print};

/// Asks every node and the Kubernetes API whether the cluster is well.
///
/// The assertions of `talosctl health`, judged once and all of them, and three more: the LLDP daemon runs where it is part
/// of the image, one control plane has the virtual address, and the certificates that the hand-over has made are valid for
/// another month. The exit code is 1 when something is not so.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Health {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let assertions = self.socket.client().health().await?;
        if self.json {
            print(&format!("{}\n", serde_json::to_string(&assertions)?))?;
        } else {
            print(&text(&assertions))?;
        }
        let is_well = |assertion: &Assertion| !matches!(assertion.verdict, Verdict::Not(_));
        if assertions.iter().all(is_well) { Ok(()) } else { Err(Failure::Differs) }
    }
}

fn text(assertions: &[Assertion]) -> String {
    let mut text = String::new();
    for Assertion { number, name, verdict } in assertions {
        let (word, reason) = match verdict {
            Verdict::Ok => ("ok", None),
            Verdict::Skipped(reason) => ("skip", Some(reason)),
            Verdict::Not(reason) => ("NOT", Some(reason)),
        };
        // writing to a String cannot fail
        writeln!(text, "{word:<4} {number:>2} {name}").ok();
        if let Some(reason) = reason {
            writeln!(text, "        └ {reason}").ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_so_says_why() {
        let assertion = |number, name: &str, verdict| Assertion { number, name: name.to_owned(), verdict };
        let assertions = [
            assertion(1, "etcd to be healthy", Verdict::Ok),
            assertion(14, "kube-proxy to report ready", Verdict::Skipped("there is none here".to_owned())),
            assertion(
                18,
                "one control plane to have the virtual address",
                Verdict::Not("nobody has it".to_owned()),
            ),
        ];
        let expected = "\
ok    1 etcd to be healthy
skip 14 kube-proxy to report ready
        └ there is none here
NOT  18 one control plane to have the virtual address
        └ nobody has it
";
        assert_eq!(text(&assertions), expected);
    }
}
