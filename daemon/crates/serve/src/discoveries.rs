//! Which machines were sent to find out their switch port, and the tokens that pay for their reports.
//!
//! In memory only: after a restart a machine that is under way reports in vain, starts anew and is sent again. Pure:
//! time and randomness are passed in.

use std::collections::HashMap;

use boot::discovery::Token;
use hardware::MacAddr;

/// A machine that heard nothing twice hears nothing the third time: then its own disk is better than a loop.
pub const MOST_BOOTS: usize = 2;
/// After this time it may be in another port, or LLDP be switched on: it is sent again.
const FORGET: u64 = 60 * 60 * 1000;
/// From the boot script to the report: firmware, a slow spanning tree, a long LLDP interval.
const TOKEN_LIFE: u64 = 10 * 60 * 1000;
/// Who makes up addresses shall not fill the memory; the oldest go first.
const CAPACITY: usize = 4096;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Discoveries {
    machines: HashMap<MacAddr, Machine>,
    tokens: HashMap<Token, MacAddr>,
}

#[derive(Debug, Default)]
struct Machine {
    /// when it was sent, the last time last
    sent: Vec<u64>,
    token: Option<Token>,
}

/// The report is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unpaid {
    /// made up, used, or replaced by a newer one
    #[error("this token was not given out, or was used already")]
    Unknown,
    /// too old
    #[error("this token has expired")]
    Expired,
}

impl Discoveries {
    /// Sends a machine, unless it was sent often enough. The token is good for one report, until it expires or the
    /// machine is sent anew.
    pub fn send(&mut self, mac: MacAddr, random: [u8; 16], now: u64) -> Option<Token> {
        self.forget(now);
        let machine = self.machines.entry(mac).or_default();
        if machine.sent.len() >= MOST_BOOTS {
            return None;
        }
        machine.sent.push(now);
        let token = Token::new(random);
        if let Some(old) = machine.token.replace(token.clone()) {
            self.tokens.remove(&old);
        }
        self.tokens.insert(token.clone(), mac);
        Some(token)
    }

    /// Whether a report with this token would be taken, and of which machine.
    pub fn holder(&self, token: &Token, now: u64) -> Result<MacAddr, Unpaid> {
        let mac = *self.tokens.get(token).ok_or(Unpaid::Unknown)?;
        let sent = self.machines.get(&mac).and_then(|machine| machine.sent.last());
        match sent {
            Some(sent) if now.saturating_sub(*sent) < TOKEN_LIFE => Ok(mac),
            _ => Err(Unpaid::Expired),
        }
    }

    /// Takes the token in: from now on it is worth nothing.
    pub fn spend(&mut self, token: &Token, now: u64) -> Result<MacAddr, Unpaid> {
        let holder = self.holder(token, now);
        if let Some(machine) = self.tokens.remove(token).and_then(|mac| self.machines.get_mut(&mac)) {
            machine.token = None;
        }
        holder
    }

    fn forget(&mut self, now: u64) {
        for machine in self.machines.values_mut() {
            machine.sent.retain(|sent| now.saturating_sub(*sent) < FORGET);
        }
        self.machines.retain(|_, machine| !machine.sent.is_empty());
        while self.machines.len() >= CAPACITY {
            let oldest = self.machines.iter().min_by_key(|(_, machine)| machine.sent.last().copied());
            let Some(mac) = oldest.map(|(mac, _)| *mac) else { break };
            self.machines.remove(&mac);
        }
        let machines = &self.machines;
        self.tokens.retain(|token, mac| {
            machines.get(mac).is_some_and(|machine| machine.token.as_ref() == Some(token))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60 * 1000;

    fn mac(number: u16) -> MacAddr {
        let [high, low] = number.to_be_bytes();
        MacAddr([2, 0, 0, 0, high, low])
    }

    #[test]
    fn a_token_pays_once_for_its_machine() {
        let mut discoveries = Discoveries::default();
        let token = discoveries.send(mac(1), [1; 16], 0).unwrap();
        assert_eq!(discoveries.holder(&token, MINUTE), Ok(mac(1)));
        assert_eq!(discoveries.spend(&token, MINUTE), Ok(mac(1)));
        assert_eq!(discoveries.spend(&token, MINUTE), Err(Unpaid::Unknown));
        assert_eq!(discoveries.spend(&Token::new([9; 16]), MINUTE), Err(Unpaid::Unknown));
    }

    #[test]
    fn a_token_ends_with_its_time_and_with_the_next_one() {
        let mut discoveries = Discoveries::default();
        let first = discoveries.send(mac(1), [1; 16], 0).unwrap();
        assert_eq!(discoveries.spend(&first, 10 * MINUTE), Err(Unpaid::Expired));
        let second = discoveries.send(mac(2), [2; 16], 0).unwrap();
        let third = discoveries.send(mac(2), [3; 16], MINUTE).unwrap();
        assert_eq!(discoveries.spend(&second, MINUTE), Err(Unpaid::Unknown), "a newer one was given out");
        assert_eq!(discoveries.spend(&third, MINUTE), Ok(mac(2)));
    }

    #[test]
    fn no_machine_is_sent_for_ever() {
        let mut discoveries = Discoveries::default();
        assert!(discoveries.send(mac(1), [1; 16], 0).is_some());
        assert!(discoveries.send(mac(1), [2; 16], MINUTE).is_some());
        assert!(discoveries.send(mac(1), [3; 16], 2 * MINUTE).is_none());
        assert!(discoveries.send(mac(2), [4; 16], 2 * MINUTE).is_some(), "another machine");
        assert!(discoveries.send(mac(1), [5; 16], 60 * MINUTE).is_some(), "an hour after the first time");
        assert!(discoveries.send(mac(1), [6; 16], 60 * MINUTE).is_none(), "the second time counts still");
    }

    #[test]
    fn made_up_addresses_do_not_fill_the_memory() {
        let mut discoveries = Discoveries::default();
        for number in 0..5000_u16 {
            let mut random = [0; 16];
            random[..2].copy_from_slice(&number.to_be_bytes());
            assert!(discoveries.send(mac(number), random, u64::from(number)).is_some());
        }
        assert_eq!(discoveries.machines.len(), CAPACITY);
        assert!(discoveries.tokens.len() <= CAPACITY);
    }
}
