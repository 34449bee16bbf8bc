//! What the kernel knows of a network, for a person who looks for a packet that got lost.
//!
//! Read from `/proc` of a process in that network, so that nothing has to be installed or started.

use std::fs;

/// Who has which address, as the network of this process knows it; which addresses are its own; who listens.
pub(crate) fn of_network(name: &str, process: u32) -> String {
    let read = |file: &str| fs::read_to_string(format!("/proc/{process}/net/{file}")).unwrap_or_default();
    let mut words = format!("{name} knows these neighbours:\n");
    for line in read("arp").lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        // address, type, flags (0x2: answered), hardware address, mask, interface
        if let [address, _, flags, mac, _, interface] = columns.as_slice() {
            words += &format!("  {address} is {mac} on {interface}, flags {flags}\n");
        }
    }
    words += &format!("{name} has the addresses {}\n", own_addresses(&read("fib_trie")).join(", "));
    words += &format!("{name} listens on the TCP ports {}\n", listening(&read("tcp")).join(", "));
    words
}

/// `fib_trie` names each local address in the line before the one that says so.
fn own_addresses(trie: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut last = "";
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address;
        } else if line == "/32 host LOCAL" && !found.iter().any(|known| known == last) {
            found.push(last.to_owned());
        }
    }
    found
}

/// The local ports in state 0A, which are written in hexadecimal.
fn listening(table: &str) -> Vec<String> {
    let mut ports: Vec<u16> = table
        .lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (local, state) = (columns.get(1)?, columns.get(3)?);
            let (_, port) = local.rsplit_once(':').filter(|_| *state == "0A")?;
            u16::from_str_radix(port, 16).ok()
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports.iter().map(u16::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_read_from_proc() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.77.0.0\n        /24 link UNICAST\n     |-- 10.77.0.11\n        \
                    /32 host LOCAL\n     |-- 10.77.0.255\n        /32 link BROADCAST\n     |-- 10.77.0.11\n        \
                    /32 host LOCAL\n";
        assert_eq!(own_addresses(trie), ["10.77.0.11"]);
        let tcp = "  sl  local_address rem_address   st tx_queue\n   0: 00000000:C350 00000000:0000 0A 0\n   \
                   1: 0B004D0A:C350 0100004D:9C40 01 0\n   2: 00000000:01BB 00000000:0000 0A 0\n";
        assert_eq!(listening(tcp), ["443", "50000"]);
    }
}
