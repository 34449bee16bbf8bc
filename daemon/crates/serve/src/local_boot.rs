//! How a machine is sent to its own disk: the site's rules, and the models that machines told of themselves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use ::boot::{BootView, LocalBootRules};
use hardware::{LocalBoot, MacAddr};
use tokio::sync::watch;

/// More models are not remembered; a machine whose model is unknown takes the way of its firmware.
const MOST_MODELS: usize = 4096;

/// Shared by DHCP, which knows a machine before it can say its model, and HTTP, where it says so.
#[derive(Debug, Clone)]
pub struct LocalBoots {
    /// the rules of the site in force
    pub rules: watch::Receiver<Arc<LocalBootRules>>,
    /// who holds which slot
    pub view: watch::Receiver<Arc<BootView>>,
    models: Arc<Mutex<BTreeMap<MacAddr, String>>>,
}

impl LocalBoots {
    /// No model is known yet.
    pub fn new(rules: watch::Receiver<Arc<LocalBootRules>>, view: watch::Receiver<Arc<BootView>>) -> Self {
        Self { rules, view, models: Arc::default() }
    }

    /// A machine told its model.
    pub fn learn(&self, mac: MacAddr, model: &str) {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if models.len() < MOST_MODELS || models.contains_key(&mac) {
            models.insert(mac, model.to_owned());
        }
    }

    /// The machine's way; `None` is what its firmware does best.
    pub fn way(&self, mac: MacAddr) -> Option<LocalBoot> {
        let rules = Arc::clone(&self.rules.borrow());
        let view = Arc::clone(&self.view.borrow());
        let node = view.known.get(&mac).map(|machine| machine.node.as_str());
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        rules.way(node, models.get(&mac).map(String::as_str))
    }
}
