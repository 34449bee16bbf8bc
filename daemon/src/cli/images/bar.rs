//! A bar for the file that is being fetched; nothing where nobody looks.

use std::sync::{Mutex, PoisonError};

use images::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// One file at a time.
#[derive(Debug)]
pub(super) struct Bar(Mutex<ProgressBar>);

impl Default for Bar {
    fn default() -> Self {
        Self(Mutex::new(ProgressBar::hidden()))
    }
}

impl Bar {
    fn now(&self) -> ProgressBar {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Progress for Bar {
    fn begins(&self, name: &str, has: u64, whole: Option<u64>) {
        // on standard error, and only if that is a terminal
        let bar = match whole {
            Some(whole) => ProgressBar::new(whole),
            None => ProgressBar::no_length(),
        };
        let form = "{bytes:>10}/{total_bytes} {bar:30} {bytes_per_sec:>12} {eta:>4} {msg}";
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        bar.set_message(short(name));
        bar.set_position(has);
        bar.reset_eta();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bar;
    }

    fn has(&self, octets: u64) {
        self.now().set_position(octets);
    }

    fn again(&self, why: &str) {
        self.now().abandon();
        eprintln!("ichord: {why}; going on");
    }

    fn ends(&self) {
        self.now().finish();
    }
}

/// A schematic's id fills half a terminal, and its first digits tell it from others.
fn short(name: &str) -> String {
    let part = |part: &str| {
        let is_id = part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id { format!("{}…", part.get(..8).unwrap_or_default()) } else { part.to_owned() }
    };
    name.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shortened() {
        let id = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
        assert_eq!(short(&format!("{id}/v1.13.9/kernel-amd64")), "37656798…/v1.13.9/kernel-amd64");
        assert_eq!(short("ipxe/snponly.efi"), "ipxe/snponly.efi");
    }
}
