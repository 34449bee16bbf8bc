//! What the discovery image and the daemon say to each other.
//!
//! A machine whose port nobody told boots a small Linux that listens for LLDP on every card ([`script`](crate::script)
//! hands it its [`Errand`] on the kernel command line). It sends one [`Report`] and is told what is [`Next`]. Like
//! every word of a machine about itself the report is only brought into form here, never believed.

use std::{collections::BTreeSet, fmt, net::Ipv4Addr, str::FromStr, time::Duration};

use hardware::{Disk, Inventory, MacAddr};
use serde::{Deserialize, Serialize};

use crate::LldpReport;

/// Under which name the boot server takes reports.
pub const PATH: &str = "/boot/discovery";
/// What no machine's report is longer than, in octets.
pub const LONGEST_REPORT: usize = 256 << 10;

/// More cards than any server has, and more disks.
const MOST_LINKS: usize = 64;
const MOST_DISKS: usize = 512;
/// An unmanaged switch lets through what all of its neighbours say.
const MOST_NEIGHBOURS: usize = 256;
const MOST_NOTES: usize = 64;
/// LLDP's texts have at most 255 octets, and no other text here has more.
const LONGEST_TEXT: usize = 255;

/// Permits one report, of one machine. A secret until then: shown nowhere but on that machine's kernel command line.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token([u8; 16]);

impl Token {
    /// From the operating system's randomness.
    pub fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// As it is written where it is handed out and handed in.
    pub fn reveal(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl FromStr for Token {
    type Err = ErrandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut token = [0; 16];
        hex::decode_to_slice(text, &mut token).map_err(|_| ErrandError::Token)?;
        Ok(Self(token))
    }
}

/// What a machine that runs the discovery image is to do: the words `ichord.…=` of its command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// the boot server: `http://10.77.0.1`
    pub daemon: String,
    /// for its one report
    pub token: Token,
    /// how long each card with a link is listened to
    pub listen: Duration,
    /// the card that iPXE had an address on
    pub card: MacAddr,
    /// that address
    pub address: Ipv4Addr,
    /// its network
    pub netmask: Ipv4Addr,
    /// the way to the daemon, where it is behind a router
    pub gateway: Option<Ipv4Addr>,
}

/// The command line is not one that a boot script of ours makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ErrandError {
    /// a word is missing, or is not what it should be
    #[error("the kernel command line has no {0} that can be used")]
    Word(&'static str),
    /// 32 hexadecimal digits
    #[error("the token is not one")]
    Token,
}

impl Errand {
    /// Reads a command line.
    pub fn read(cmdline: &str) -> Result<Self, ErrandError> {
        let word = |name: &'static str| {
            let found = cmdline.split_ascii_whitespace().find_map(|word| word.strip_prefix(name));
            found.ok_or(ErrandError::Word(name))
        };
        let daemon = word("ichord.daemon=")?;
        if !daemon.starts_with("http://") {
            return Err(ErrandError::Word("ichord.daemon="));
        }
        let bad = ErrandError::Word("ichord.card=");
        let card = word("ichord.card=")?;
        let [mac, address, netmask, gateway] = card.split(',').collect::<Vec<_>>()[..] else {
            return Err(bad);
        };
        let seconds = word("ichord.listen=")?.parse().map_err(|_| ErrandError::Word("ichord.listen="))?;
        Ok(Self {
            daemon: daemon.to_owned(),
            token: word("ichord.token=")?.parse()?,
            listen: Duration::from_secs(seconds),
            card: mac.parse().map_err(|_| bad)?,
            address: address.parse().map_err(|_| bad)?,
            netmask: netmask.parse().map_err(|_| bad)?,
            gateway: gateway.parse().ok(),
        })
    }
}

/// What a machine found out about itself and its neighbours.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// what it is made of
    pub inventory: Inventory,
    /// what its cards heard
    pub neighbours: Vec<LldpReport>,
    /// whether it can start another kernel by itself
    pub kexec: bool,
    /// what a person should know: a card that stayed without a driver, a firmware that ate LLDP
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The report cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// too long
    #[error("the report has {0} octets, more than any machine's")]
    Long(usize),
    /// not the JSON that our image writes
    #[error("the report cannot be read: {0}")]
    Form(String),
    /// a machine without a network card has sent nothing
    #[error("the report names no network card")]
    NoCard,
}

impl Report {
    /// Reads what a machine sent.
    pub fn read(octets: &[u8]) -> Result<Self, ReportError> {
        if octets.len() > LONGEST_REPORT {
            return Err(ReportError::Long(octets.len()));
        }
        let report: Self =
            serde_json::from_slice(octets).map_err(|error| ReportError::Form(error.to_string()))?;
        report.tidied()
    }

    /// Brings a report into form: what is no address of a card, no name or no number of things a machine can have is
    /// left out, and so is what a card heard that the machine does not have.
    fn tidied(self) -> Result<Self, ReportError> {
        let Self { inventory: Inventory { uuid, serial, links, disks }, neighbours, kexec, notes } = self;
        let is_card = |mac: MacAddr| !mac.is_multicast() && mac != MacAddr([0; 6]);
        let mut links: Vec<_> = links.into_iter().filter(|link| is_card(link.mac)).take(MOST_LINKS).collect();
        for link in &mut links {
            link.name = text(&link.name).unwrap_or_default();
        }
        if links.is_empty() {
            return Err(ReportError::NoCard);
        }
        let own: BTreeSet<MacAddr> = links.iter().map(|link| link.mac).collect();
        let neighbours =
            neighbours.into_iter().filter(|heard| own.contains(&heard.nic)).filter_map(neighbour);
        Ok(Self {
            inventory: Inventory {
                uuid: uuid.filter(|uuid| uuid.is_distinctive()),
                serial: serial.and_then(|serial| text(&serial)),
                links,
                disks: disks.into_iter().take(MOST_DISKS).map(disk).collect(),
            },
            neighbours: neighbours.take(MOST_NEIGHBOURS).collect(),
            kexec,
            notes: notes.iter().filter_map(|note| text(note)).take(MOST_NOTES).collect(),
        })
    }
}

fn neighbour(heard: LldpReport) -> Option<LldpReport> {
    let fits = |id: &[u8]| (1..=255).contains(&id.len());
    let chassis = heard.chassis.filter(|chassis| fits(&chassis.id));
    let port = heard.port.filter(|port| fits(&port.id))?;
    Some(LldpReport {
        chassis,
        port: Some(port),
        system_name: heard.system_name.and_then(|name| text(&name)),
        port_description: heard.port_description.and_then(|text_of| text(&text_of)),
        ..heard
    })
}

fn disk(disk: Disk) -> Disk {
    let tidy = |value: &String| text(value).unwrap_or_default();
    Disk {
        dev_path: tidy(&disk.dev_path),
        size: disk.size,
        model: tidy(&disk.model),
        serial: tidy(&disk.serial),
        wwid: tidy(&disk.wwid),
        transport: tidy(&disk.transport),
        rotational: disk.rotational,
        readonly: disk.readonly,
        cdrom: disk.cdrom,
        ..Disk::default()
    }
}

/// A text as a person may read it: trimmed, not empty, without control characters.
fn text(value: &str) -> Option<String> {
    let value = value.trim();
    let fits = !value.is_empty() && value.len() <= LONGEST_TEXT && !value.chars().any(char::is_control);
    fits.then(|| value.to_owned())
}

/// A file of the boot server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// its path there
    pub path: String,
    /// of the whole file, in hexadecimal
    pub sha256: String,
}

/// What the machine does after its report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "next", rename_all = "kebab-case")]
pub enum Next {
    /// goes on with this kernel, without its firmware
    Kexec {
        /// Linux
        kernel: File,
        /// its initial RAM disk
        initramfs: File,
        /// the whole command line
        cmdline: String,
    },
    /// starts anew, and asks as every machine does
    Reboot {
        /// why
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use hardware::{Link, PortId};
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = "quiet ichord.daemon=http://10.77.0.1:8080 ichord.token=00112233445566778899aabbccddeeff \
                        ichord.listen=35 ichord.card=52-54-00-77-00-01,10.77.0.100,255.255.255.0,";

    fn link(last: u8) -> Link {
        Link { name: "eth0".to_owned(), mac: MacAddr([2, 0, 0, 0, 0, last]), up: true }
    }

    fn heard(last: u8) -> LldpReport {
        LldpReport {
            nic: MacAddr([2, 0, 0, 0, 0, last]),
            chassis: None,
            port: Some(PortId { subtype: 5, id: b"Eth1/1".to_vec() }),
            system_name: Some("sw1".to_owned()),
            port_description: None,
            forwards: Some(true),
            management: None,
        }
    }

    #[test]
    fn the_errand_is_on_the_command_line() {
        let errand = Errand::read(LINE).unwrap();
        assert_eq!(errand.daemon, "http://10.77.0.1:8080");
        assert_eq!((errand.listen, errand.gateway), (Duration::from_secs(35), None));
        assert_eq!(errand.token.reveal(), "00112233445566778899aabbccddeeff");
        let routed = Errand::read(&format!("{LINE}10.77.0.254")).unwrap();
        assert_eq!(routed.gateway, Some(Ipv4Addr::new(10, 77, 0, 254)));
        assert_eq!(Errand::read("quiet"), Err(ErrandError::Word("ichord.daemon=")));
        assert_eq!(Errand::read(&LINE.replace("eeff", "")), Err(ErrandError::Token));
        assert!(Errand::read(&LINE.replace("10.77.0.100", "")).is_err());
        assert_eq!(format!("{:?}", errand.token), "Token(…)");
    }

    #[test]
    fn only_what_a_machine_can_have_is_kept() {
        let report = Report {
            inventory: Inventory {
                uuid: Some("00000000-0000-0000-0000-000000000000".parse().unwrap()),
                serial: Some(" S1\u{1b}[2J".to_owned()),
                links: vec![link(1), Link { mac: MacAddr([0; 6]), ..link(2) }],
                disks: vec![Disk {
                    dev_path: "/dev/sda".to_owned(),
                    model: "a\nb".to_owned(),
                    ..Disk::default()
                }],
            },
            neighbours: vec![heard(1), heard(9), LldpReport { port: None, ..heard(1) }],
            kexec: true,
            notes: vec!["eth0: firmware LLDP off".to_owned(), String::new()],
        };
        let tidy = report.tidied().unwrap();
        assert_eq!(tidy.inventory.uuid, None, "shared by many boards");
        assert_eq!((tidy.inventory.serial, tidy.inventory.links), (None, vec![link(1)]));
        assert_eq!(
            (tidy.inventory.disks[0].dev_path.as_str(), tidy.inventory.disks[0].model.as_str()),
            ("/dev/sda", "")
        );
        assert_eq!(tidy.neighbours, [heard(1)], "the other card is none of the machine's");
        assert_eq!(tidy.notes.len(), 1);
        assert!(matches!(Report::default().tidied(), Err(ReportError::NoCard)));
    }

    #[test]
    fn a_report_arrives_as_it_was_sent() {
        let inventory = Inventory { links: vec![link(1)], ..Inventory::default() };
        let report = Report { inventory, neighbours: vec![heard(1)], kexec: true, notes: Vec::new() };
        assert_eq!(Report::read(&serde_json::to_vec(&report).unwrap()).unwrap(), report);
        assert!(matches!(Report::read(b"{"), Err(ReportError::Form(_))));
        assert!(matches!(Report::read(&[b' '; LONGEST_REPORT + 1]), Err(ReportError::Long(_))));
    }

    #[test]
    fn a_flood_is_cut() {
        let links = (0..=255).map(link).collect();
        let inventory = Inventory { links, disks: vec![Disk::default(); 5000], ..Inventory::default() };
        let report = Report {
            inventory,
            neighbours: vec![heard(1); 5000],
            kexec: false,
            notes: vec!["x".to_owned(); 5000],
        };
        let tidy = report.tidied().unwrap();
        assert_eq!((tidy.inventory.links.len(), tidy.inventory.disks.len()), (MOST_LINKS, MOST_DISKS));
        assert_eq!((tidy.neighbours.len(), tidy.notes.len()), (MOST_NEIGHBOURS, MOST_NOTES));
    }

    proptest! {
        #[test]
        fn any_command_line_is_read_without_a_panic(line in ".{0,80}", token in "[0-9a-f]{0,40}", card in ".{0,40}") {
            Errand::read(&line).ok();
            let line = format!("ichord.daemon=http://x ichord.listen=1 ichord.token={token} ichord.card={card}");
            Errand::read(&line).ok();
        }
    }
}
