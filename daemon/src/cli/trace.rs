//! `ichord trace`: the whole conversation of one machine.

use std::fmt::Write as _;

use clap::Args;
use hardware::MacAddr;

use super::{Failure, Socket, print, time_of_day};

/// Shows what one machine said and what it was told, on every layer, with the reason of every answer and
/// every silence.
///
/// Kept in memory since the daemon started: the last hundred lines of each of the last thousand machines.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ichord trace 64:4b:f0:00:00:03\n  watch ichord trace 64:4b:f0:00:00:03")]
pub(crate) struct Trace {
    /// the address of the card that boots
    mac: MacAddr,
    /// as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Trace {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let conversation = self.socket.client().trace(self.mac).await?;
        if self.json {
            print(&format!("{}\n", serde_json::to_string(&conversation)?))
        } else {
            print(&text(&conversation))
        }
    }
}

fn text(conversation: &api::Conversation) -> String {
    let mut text = conversation.mac.to_string();
    // writing to a String cannot fail
    if let Some(node) = &conversation.node {
        write!(text, ", {node}").ok();
    }
    if let Some(address) = conversation.address {
        write!(text, ", last seen at {address}").ok();
    }
    text.push('\n');
    for line in &conversation.lines {
        write!(text, "{}  {:<4}  {}", time_of_day(line.at), line.layer, line.what).ok();
        if line.times > 1 {
            write!(text, " ({} times, last at {})", line.times, time_of_day(line.last)).ok();
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_time_a_layer_and_a_sentence() {
        let line = |layer: &str, times, what: &str| api::Said {
            at: 3_661_000,
            last: 3_665_250,
            times,
            layer: layer.to_owned(),
            what: what.to_owned(),
        };
        let conversation = api::Conversation {
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            node: Some("mini01".to_owned()),
            address: Some([10, 77, 0, 100].into()),
            lines: vec![line("dhcp", 1, "DISCOVER by iPXE: OFFER"), line("http", 2, "GET /boot.ipxe: 200")],
        };
        let expected = "\
02:00:00:00:00:01, mini01, last seen at 10.77.0.100
01:01:01.000Z  dhcp  DISCOVER by iPXE: OFFER
01:01:01.000Z  http  GET /boot.ipxe: 200 (2 times, last at 01:01:05.250Z)
";
        assert_eq!(text(&conversation), expected);
    }
}
