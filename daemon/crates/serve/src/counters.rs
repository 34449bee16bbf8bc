//! How often something happened, by name: what a person asks first when a machine does not boot.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Counters by subject (`dhcp`, `http`) and label. The labels come from code, never from packets, so
/// there are only as many as there are lines that count.
#[derive(Debug, Default)]
pub struct Counters(Mutex<BTreeMap<(&'static str, &'static str), u64>>);

impl Counters {
    /// One more.
    pub fn add(&self, subject: &'static str, label: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((subject, label)).or_default() += 1;
    }

    /// So many more.
    pub fn add_many(&self, subject: &'static str, label: &'static str, more: u64) {
        if more > 0 {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *counts.entry((subject, label)).or_default() += more;
        }
    }

    /// All of them as they are now.
    pub fn snapshot(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One of them.
    pub fn get(&self, subject: &'static str, label: &'static str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(subject, label)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_counts_by_itself() {
        let counters = Counters::default();
        counters.add("dhcp", "booting");
        counters.add("dhcp", "booting");
        counters.add("http", "404");
        assert_eq!(counters.get("dhcp", "booting"), 2);
        assert_eq!(counters.get("dhcp", "refused"), 0);
        assert_eq!(counters.snapshot().len(), 2);
    }
}
