//! The permission to install one machine, once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Time;

/// How many boots one permit pays for: an interrupted installation is tried again, a machine that
/// never arrives does not netboot for ever.
const BOOTS: u8 = 5;

/// How often one permit pays for switching the machine's power: once, and once more where that came to nothing.
const SWITCHES: u8 = 2;

/// Permission to install the machine of one slot. It is used up when a new boot answers with the
/// cluster's own CA; until then a repeated netboot goes on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    /// tells one permit from the next in the journal
    pub id: String,
    /// who granted it: a user, or `site` for `deploy: auto`
    pub by: String,
    /// when it ends by itself
    pub expires: Time,
    /// boots it still pays for
    pub boots_left: u8,
    /// how often its machine may be switched by the daemon itself; permits of older programs pay for none
    #[serde(default)]
    pub switches_left: u8,
}

impl Permit {
    pub(crate) fn new(id: String, by: String, now: Time, lasting: Duration) -> Self {
        Self { id, by, expires: now + lasting, boots_left: BOOTS, switches_left: SWITCHES }
    }

    /// It permits nothing any more.
    pub(crate) fn revoke(&mut self) {
        self.expires = Time::default();
    }

    /// Why it permits nothing any more; `None` while it does.
    pub(crate) fn refusal(&self, now: Time) -> Option<&'static str> {
        (now >= self.expires).then_some("its install permit has expired")
    }

    /// Pays for one boot.
    pub(crate) fn pay(&mut self) -> Result<(), &'static str> {
        self.boots_left =
            self.boots_left.checked_sub(1).ok_or("its install permit has paid for all its boots")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_pays_for_five_boots_and_not_after_its_end() {
        let hour = Duration::from_secs(3600);
        let mut permit = Permit::new("p".into(), "ann".into(), Time(0), hour);
        for _ in 0..5 {
            assert_eq!(permit.pay(), Ok(()));
        }
        assert!(permit.pay().is_err());
        assert_eq!(permit.refusal(Time(1)), None);
        assert!(permit.refusal(Time(0) + hour).is_some());
    }
}
