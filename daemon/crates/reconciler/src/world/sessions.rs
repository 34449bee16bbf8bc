//! Every machine under watch, and the looks at machines: over the watch where there is one, from the first handshake on
//! where there is none yet.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use lifecycle::{NodeName, Observation, Watch};
use talos_api::{Fingerprint, LldpNeighbor, Peer};
use tokio::sync::mpsc;

use super::{
    Tiding,
    look::{LookError, first_word, first_words, knock, neighbors, plainly, waiting},
    session::{Session, Whom},
    talos::Cluster,
};

/// More machines than a site has; each costs a connection.
const MOST: usize = 4096;

/// A machine whose streams cannot be opened is asked plainly for so long, and longer each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Machines under watch, by where they answer.
pub(super) struct Sessions {
    open: Mutex<HashMap<IpAddr, Arc<Session>>>,
    /// where no watch could be opened: not before then, and how long the pause was
    refused: Mutex<HashMap<IpAddr, (Instant, Duration)>>,
    tell: mpsc::Sender<Tiding>,
}

impl Sessions {
    pub(super) fn new(tell: mpsc::Sender<Tiding>) -> Self {
        Self { open: Mutex::default(), refused: Mutex::default(), tell }
    }

    /// Looks at the addresses until one tells something; the earlier ones count first.
    pub(super) async fn observe(
        &self,
        cluster: &Cluster,
        node: &NodeName,
        candidates: &[IpAddr],
    ) -> Observation {
        // a watch at a later address does not tell who answers at the first one now
        if let Some(&first) = candidates.first()
            && let Some((_, observation)) = self.look_over_watch(cluster, Some(node), first).await
        {
            return observation;
        }
        let mut silence = Vec::new();
        for (address, word) in first_words(cluster, candidates).await {
            let looked = match word {
                Some(Ok(peer)) => self.look(cluster, Some(node), address, peer).await,
                Some(Err(error)) => Err(error.into()),
                None => match first_word(cluster, address).await {
                    Ok(peer) => self.look(cluster, Some(node), address, peer).await,
                    Err(error) => Err(error.into()),
                },
            };
            match looked {
                Ok((_, observation)) => return observation,
                Err(error) => silence.push(error.to_string()),
            }
        }
        Observation::Silent { detail: silence.join("; ") }
    }

    /// Looks at a machine that holds no slot. `None` unless it waits in maintenance mode.
    pub(super) async fn meet(
        &self,
        cluster: &Cluster,
        address: IpAddr,
    ) -> Option<(Observation, Vec<LldpNeighbor>)> {
        let (session, observation) = match self.look_over_watch(cluster, None, address).await {
            Some((session, observation)) => (Some(session), observation),
            None => {
                let peer = knock(cluster, address).await.ok()?;
                self.look(cluster, None, address, peer).await.ok()?
            }
        };
        let Observation::Maintenance { fingerprint, .. } = &observation else { return None };
        let heard = match session {
            Some(session) => session.neighbors().unwrap_or_default(),
            None => neighbors(address, &fingerprint.parse::<Fingerprint>().ok()?).await,
        };
        Some((observation, heard))
    }

    /// Over the watch that is open there; it is closed when it does not serve.
    async fn look_over_watch(
        &self,
        cluster: &Cluster,
        node: Option<&NodeName>,
        address: IpAddr,
    ) -> Option<(Arc<Session>, Observation)> {
        let session = self.open().get(&address).filter(|session| !session.has_ended()).cloned()?;
        match session.look(cluster).await {
            Ok(observation) => {
                if let Some(node) = node {
                    session.belongs_to(node).await;
                }
                Some((session, observation))
            }
            Err(error) => {
                tracing::debug!(%address, %error, "the machine is looked at anew");
                self.close(&session, address);
                None
            }
        }
    }

    /// Over the watch that is open there, else from the first handshake on. A stranger is watched only while it waits in
    /// maintenance mode.
    async fn look(
        &self,
        cluster: &Cluster,
        node: Option<&NodeName>,
        address: IpAddr,
        peer: Peer,
    ) -> Result<(Option<Arc<Session>>, Observation), LookError> {
        if let Some((session, observation)) = self.look_over_watch(cluster, node, address).await {
            return Ok((Some(session), observation));
        }
        let whom = match peer {
            Peer::Foreign { subject } => return Ok((None, Observation::Foreign { address, subject })),
            Peer::Maintenance { fingerprint } => Whom::Waiting(fingerprint),
            Peer::Ours if node.is_some() => Whom::Configured,
            Peer::Ours => return Err(LookError::NotAsked(address)),
        };
        if self.may_watch(address) {
            match Session::open(cluster, address, whom, self.tell.clone()).await {
                Ok(session) => {
                    let session = Arc::new(session);
                    let observation = session.look(cluster).await?;
                    self.refused().remove(&address);
                    self.open().insert(address, Arc::clone(&session));
                    if let Some(node) = node {
                        session.belongs_to(node).await;
                    }
                    return Ok((Some(session), observation));
                }
                // it answers, and does not let itself be watched
                Err(LookError::Call(error)) => {
                    tracing::debug!(%address, %error, "the machine is asked instead of watched");
                    self.pause(address);
                }
                Err(error) => return Err(error),
            }
        }
        let ended = Tiding { address, node: node.cloned(), watch: Watch::Ended };
        // whoever listens may be gone: the daemon stops
        self.tell.send(ended).await.ok();
        let observation = match whom {
            Whom::Waiting(fingerprint) => waiting(address, &fingerprint).await?,
            Whom::Configured => plainly(cluster, address).await?,
        };
        Ok((None, observation))
    }

    fn may_watch(&self, address: IpAddr) -> bool {
        let mut open = self.open();
        open.retain(|_, session| !session.has_ended());
        let is_refused = self.refused().get(&address).is_some_and(|(until, _)| Instant::now() < *until);
        (open.len() < MOST || open.contains_key(&address)) && !is_refused
    }

    fn pause(&self, address: IpAddr) {
        let mut refused = self.refused();
        let before = refused.get(&address).map(|(_, pause)| *pause);
        let pause = before.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        if refused.len() >= MOST {
            refused.clear();
        }
        refused.insert(address, (Instant::now() + pause, pause));
    }

    fn close(&self, session: &Arc<Session>, address: IpAddr) {
        let mut open = self.open();
        if open.get(&address).is_some_and(|there| Arc::ptr_eq(there, session)) {
            open.remove(&address);
        }
    }

    // each change is one operation: nothing can be half-done in there

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, HashMap<IpAddr, (Instant, Duration)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
