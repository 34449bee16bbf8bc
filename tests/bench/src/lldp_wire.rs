//! LLDP frames heard by the daemon's own capture, on packet sockets at the ends of virtual cables.
//!
//! A thread of its own sends at the rate to be measured, spread over the ports as machines are; what the capture makes of
//! them is counted. The sender takes part of the same processors, so the rate is a lower bound. Needs root.

use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};

use ::identity::Sightings;
use ::lldp::Frame;
use anyhow::{Context as _, ensure};
use net::{
    frame::FrameSocket,
    namespace::{self, Namespace},
};
use serve::{
    capture::{Capture, LocalSwitch},
    counters::Counters,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    child,
    lldp::announcement,
    measure::{Limit, Measure},
};

pub(crate) const NAME: &str = "lldp-wire";
pub(crate) const ABOUT: &str =
    "hears 10,000 LLDP frames a second through packet sockets, without loss; needs root";

const PORTS: u32 = 8;
/// As many as the capture keeps.
const MACHINES_A_PORT: u32 = 16;
/// Frames in a second; more than the limit, so that the clock's granularity does not decide.
const RATE: u32 = 11_000;
const LIMIT: f64 = 10_000.0;
const SECONDS: u32 = 5;
const FRAMES: u32 = RATE * SECONDS;
/// Between two bursts of the sender.
const BURST: Duration = Duration::from_millis(10);
/// With nothing heard for so long nothing more will come.
const SILENCE: Duration = Duration::from_secs(2);

pub(crate) fn run() -> anyhow::Result<Vec<Measure>> {
    let space = Namespace::create().context("no network namespace; run this as root")?;
    space.run(|| async { hear().await })?
}

async fn hear() -> anyhow::Result<Vec<Measure>> {
    let mut ports = BTreeMap::new();
    for number in 0..PORTS {
        let (port, machine) = (format!("p{number}"), format!("m{number}"));
        namespace::cable([&port, &machine], [None, None]).await.context("no cable")?;
        ports.insert(format!("Ethernet1/{number}"), port);
    }
    let counters = Arc::new(Counters::default());
    let switch = LocalSwitch { name: "leaf".to_owned(), bridge: None, ports };
    let capture = Capture::open(switch, Arc::clone(&counters)).await?;
    let (sightings, mut heard) = mpsc::channel(1024);
    let stop = CancellationToken::new();
    let capturing = tokio::spawn(capture.run(sightings, stop.clone()));

    let before = child::processor()?;
    let (ended, end) = oneshot::channel();
    // a new thread is in the namespace of the one that starts it
    let sender = thread::spawn(move || {
        let took = send();
        // the receiver may have given up
        ended.send(()).ok();
        took
    });
    let mut table = Sightings::default();
    let (mut count, mut end) = (0_u32, std::pin::pin!(end));
    let mut sending = true;
    while count < FRAMES {
        tokio::select! {
            sighting = timeout(SILENCE, heard.recv()) => match sighting {
                Ok(Some(sighting)) => {
                    table.record(sighting);
                    count += 1;
                }
                Ok(None) => break,
                Err(_) if sending => {}
                Err(_) => break,
            },
            _ = &mut end, if sending => sending = false,
        }
    }
    let took = sender.join().map_err(|_| anyhow::anyhow!("the sender failed"))??;
    let processor = child::processor()? - before;
    stop.cancel();
    capturing.await?;
    let machines = usize::try_from(PORTS * MACHINES_A_PORT)?;
    ensure!(table.len() == machines, "{} machines are in the table, not {machines}", table.len());
    let rate = f64::from(FRAMES) / took.as_secs_f64();
    Ok(vec![
        Measure { what: "frames", value: rate, unit: "/s", limit: Limit::Above(LIMIT) },
        Measure { what: "lost", value: f64::from(FRAMES - count), unit: "", limit: Limit::Below(1.0) },
        Measure { what: "processor", value: processor, unit: "s", limit: Limit::None },
    ])
}

/// Sends all of them at their rate, and says how long that took.
fn send() -> anyhow::Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut sockets = Vec::new();
        for number in 0..PORTS {
            sockets.push(FrameSocket::sender(&format!("m{number}"))?);
        }
        let frames: Vec<Vec<u8>> =
            (0..PORTS * MACHINES_A_PORT).map(announcement).map(|frame: Frame| frame.build()).collect();
        let mut ticks = interval(BURST);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let began = Instant::now();
        let burst = RATE / 100;
        let mut order = frames.iter().zip(sockets.iter().cycle()).cycle();
        for _ in 0..FRAMES / burst {
            ticks.tick().await;
            for (frame, socket) in order.by_ref().take(usize::try_from(burst)?) {
                socket.send(frame).await?;
            }
        }
        Ok(began.elapsed())
    })
}
