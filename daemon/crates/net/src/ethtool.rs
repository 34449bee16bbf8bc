//! LLDP agents in a card's firmware, which eat the frames before Linux sees them: switched off where the driver has a
//! switch for it (ethtool's private flags; Intel's i40e and ice).

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

/// linux/sockios.h
const SIOCETHTOOL: libc::c_ulong = 0x8946;
/// linux/ethtool.h: commands, and the set of strings that names private flags
const GSTRINGS: u32 = 0x1b;
const GPFLAGS: u32 = 0x27;
const SPFLAGS: u32 = 0x28;
const GSSET_INFO: u32 = 0x37;
const PRIVATE_FLAGS: u32 = 2;
/// `ETH_GSTRING_LEN`, in words
const STRING_WORDS: usize = 32 / 4;

/// Switches a card's own LLDP agent off. Says whether the card has one that can be switched; a card without private
/// flags has none.
///
/// # Errors
/// What the kernel says when the switch cannot be set.
pub fn turn_off_lldp_agent(interface: &str) -> io::Result<bool> {
    let Some((names, now)) = private_flags(interface)? else { return Ok(false) };
    let Some(wanted) = without_agent(&names, now) else { return Ok(false) };
    if wanted != now {
        command(interface, &mut [SPFLAGS, wanted])?;
    }
    Ok(true)
}

/// The flags with the agent off; `None` when none of them is about it.
fn without_agent(names: &[String], now: u32) -> Option<u32> {
    let mut wanted = None;
    for (bit, name) in names.iter().enumerate().take(32) {
        let flags: u32 = wanted.unwrap_or(now);
        match name.as_str() {
            // i40e
            "disable-fw-lldp" => wanted = Some(flags | 1 << bit),
            // ice
            "fw-lldp-agent" => wanted = Some(flags & !(1 << bit)),
            _ => {}
        }
    }
    wanted
}

/// Their names, and which of them are set; `None` when the driver has none.
fn private_flags(interface: &str) -> io::Result<Option<(Vec<String>, u32)>> {
    // cmd, reserved, mask of sets (64 bits, in the host's order), and one count a set
    let mask = (1_u64 << PRIVATE_FLAGS).to_ne_bytes();
    let half =
        |at: usize| mask.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_ne_bytes);
    let mut info = [GSSET_INFO, 0, half(0), half(4), 0];
    match command(interface, &mut info) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(None),
        other => other?,
    }
    let [_, _, low, high, count] = info;
    if (low, high) == (0, 0) || count == 0 {
        return Ok(None);
    }
    let count = count.min(32);
    let mut strings = vec![0; 3 + count as usize * STRING_WORDS];
    strings.splice(..3, [GSTRINGS, PRIVATE_FLAGS, count]);
    command(interface, &mut strings)?;
    let words = strings.get(3..).unwrap_or_default();
    let names = words.chunks(STRING_WORDS).map(text).collect();
    let mut value = [GPFLAGS, 0];
    command(interface, &mut value)?;
    Ok(Some((names, value[1])))
}

fn text(words: &[u32]) -> String {
    let bytes: Vec<u8> =
        words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One command with its answer in place.
fn command(interface: &str, words: &mut [u32]) -> io::Result<()> {
    let socket: OwnedFd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut name = [0; libc::IFNAMSIZ];
    let bytes = interface.as_bytes();
    // the kernel wants a zero behind it
    if bytes.len() >= name.len() {
        return Err(Errno::ENODEV.into());
    }
    for (to, from) in name.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: words.as_mut_ptr().cast() },
    };
    #[allow(unsafe_code, reason = "nothing safe asks for SIOCETHTOOL")]
    // SAFETY: the request and the words behind it live until the call is over. The kernel writes what the command's
    // structure holds, and for strings as many as the count in it says: both are as long as the words are.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    Errno::result(result)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn each_drivers_switch_is_turned_its_own_way() {
        let i40e = names(&["MFP", "total-port-shutdown", "disable-fw-lldp"]);
        assert_eq!(without_agent(&i40e, 0b001), Some(0b101));
        assert_eq!(without_agent(&i40e, 0b101), Some(0b101));
        let ice = names(&["link-down-on-close", "fw-lldp-agent", "vf-true-promisc-support"]);
        assert_eq!(without_agent(&ice, 0b110), Some(0b100));
        assert_eq!(without_agent(&names(&["legacy-rx"]), 1), None);
        assert_eq!(without_agent(&[], 0), None);
    }

    #[test]
    fn a_card_without_private_flags_has_no_agent() {
        namespace::test(|| async {
            namespace::cable(["here", "there"], [None, None]).await.unwrap();
            assert!(!turn_off_lldp_agent("here").unwrap());
            assert!(turn_off_lldp_agent("nobody").is_err());
            assert!(turn_off_lldp_agent("a-name-that-no-interface-can-have").is_err());
        })
        .unwrap();
    }
}
