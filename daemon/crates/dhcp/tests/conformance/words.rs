//! The words of the table as values.

use std::net::Ipv4Addr;

use hardware::MacAddr;

pub(crate) type Said<T> = Result<T, String>;

/// `.100` is 10.77.0.100, anything else is written in full.
pub(crate) fn address(word: &str) -> Said<Ipv4Addr> {
    let whole = match word.strip_prefix('.') {
        Some(last) => format!("10.77.0.{last}"),
        None => word.to_owned(),
    };
    whole.parse().map_err(|_| format!("{word} is no address"))
}

/// `m1` to `m9` are Ethernet cards, `pi1` is a Raspberry Pi's.
pub(crate) fn mac(word: &str) -> Said<MacAddr> {
    let number = |text: &str| text.parse::<u8>().map_err(|_| format!("{word} is no machine"));
    match (word.strip_prefix("pi"), word.strip_prefix('m')) {
        (Some(digits), _) => Ok(MacAddr([0xdc, 0xa6, 0x32, 0, 0, number(digits)?])),
        (None, Some(digits)) => Ok(MacAddr([0x52, 0x54, 0, 0x77, 0, number(digits)?])),
        _ => Err(format!("{word} is no machine")),
    }
}

pub(crate) fn machine(mac: MacAddr) -> String {
    let kind = if mac.0[0] == 0xdc { "pi" } else { "m" };
    format!("{kind}{}", mac.0[5])
}

/// `3600s`, `infinite`, an address, `text:…`, or hexadecimal digits.
pub(crate) fn octets(word: &str) -> Said<Vec<u8>> {
    if let Some(text) = word.strip_prefix("text:") {
        return Ok(text.replace('_', " ").into_bytes());
    }
    if word == "infinite" {
        return Ok(vec![0xff; 4]);
    }
    if let Some(seconds) = word.strip_suffix('s') {
        let seconds: u32 = seconds.parse().map_err(|_| format!("{word} are no seconds"))?;
        return Ok(seconds.to_be_bytes().to_vec());
    }
    if word.contains('.') {
        let addresses: Said<Vec<Ipv4Addr>> = word.split(',').map(address).collect();
        return Ok(addresses?.iter().flat_map(Ipv4Addr::octets).collect());
    }
    let pairs = word.as_bytes().chunks(2);
    let octets: Option<Vec<u8>> =
        pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    octets.filter(|_| word.len().is_multiple_of(2)).ok_or_else(|| format!("{word} is no value"))
}
