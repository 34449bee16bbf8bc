//! How a switch is asked by SNMP: where, and the community, which is a secret and stands in a file or a reference.

use std::{fmt, net::SocketAddr, path::Path};

use document::{Document, Findings};
use zeroize::Zeroizing;

use crate::{load::Files, model::Site};

/// A switch's SNMP agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snmp {
    /// where it answers
    pub address: SocketAddr,
    /// what it wants to hear
    pub community: Community,
}

/// An SNMP community. Not shown by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Community {
    /// what the site file says: a file beside it, or `op://vault/item/field`
    pub(crate) reference: String,
    pub(crate) word: Zeroizing<String>,
}

impl Community {
    /// The word itself.
    pub fn expose(&self) -> &Zeroizing<String> {
        &self.word
    }
}

impl fmt::Debug for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Community({})", self.reference)
    }
}

/// Reads the communities of all switches.
pub(crate) fn communities(
    site: &mut Site,
    document: &Document,
    directory: &Path,
    files: &dyn Files,
    findings: &mut Findings,
) {
    let list = document.place().key("switches");
    for (index, switch) in site.switches.iter_mut().enumerate() {
        let Some(snmp) = &mut switch.snmp else { continue };
        let reference = &snmp.community.reference;
        let path = match reference.starts_with("op://") {
            true => reference.into(),
            false => directory.join(reference),
        };
        let place = list.item(index).key("snmp").key("community");
        let message = match files.read(&path).map(Zeroizing::new) {
            Ok(text) if !text.trim().is_empty() => {
                snmp.community.word = Zeroizing::new(text.trim().to_owned());
                continue;
            }
            Ok(_) => format!("the community in `{reference}` is empty"),
            Err(error) => format!("the community in `{reference}` cannot be read: {error}"),
        };
        let finding = place.error("snmp-community", message);
        findings.push(finding.fix("name a file beside this one that holds it, or `op://VAULT/ITEM/FIELD`"));
    }
}
