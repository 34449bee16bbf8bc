//! `ichord doctor`: what is wrong on the network.

use std::fmt::Write as _;

use clap::Args;

use super::{Failure, Socket, print, time_of_day};

/// Shows what is wrong on the provisioning network, as far as the daemon can see, and what to do about it.
///
/// Machines that ask and never fetch, other DHCP servers, relays nobody knows, addresses in use, files that are asked
/// for and not there; machines that hold a slot and are seen where the site names nobody, and switches that have another name
/// or were replaced; and certificates that end soon: those that the hand-over made, and the cluster's own authorities. What did
/// not come again for an hour is left out.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Doctor {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let complaints = self.socket.client().doctor().await?;
        if self.json {
            print(&format!("{}\n", serde_json::to_string(&complaints)?))
        } else {
            print(&text(&complaints))
        }
    }
}

fn text(complaints: &[api::Complaint]) -> String {
    if complaints.is_empty() {
        return "nothing is wrong that can be seen from here\n".to_owned();
    }
    let mut text = String::new();
    for api::Complaint { kind, what, since, last, times } in complaints {
        let (since, last) = (time_of_day(*since), time_of_day(*last));
        // writing to a String cannot fail
        writeln!(text, "{kind}: {what}\n  └ {times} times, from {since} to {last}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_says_what_how_often_and_when() {
        assert_eq!(text(&[]), "nothing is wrong that can be seen from here\n");
        let complaint = api::Complaint {
            kind: "rival".to_owned(),
            what: "another DHCP server answers".to_owned(),
            since: 1_000,
            last: 61_000,
            times: 7,
        };
        let expected =
            "rival: another DHCP server answers\n  └ 7 times, from 00:00:01.000Z to 00:01:01.000Z\n";
        assert_eq!(text(&[complaint]), expected);
    }
}
