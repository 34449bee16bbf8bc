//! A rack is switched on: 1,000 machines ask for addresses within the same second, first as firmware, then as iPXE.
//!
//! They are simulated on the other end of one cable, frame by frame, and repeat a question after a second, as the most
//! impatient of them do. The time of an answer is from the first frame of its question to its arrival. The daemon was
//! started ten seconds before, and has looked at addresses meanwhile.

mod machines;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow, ensure};

use crate::{
    cable::Cable,
    ichord::Ichord,
    measure::{Limit, Measure},
    process::pause,
};

pub(crate) const NAME: &str = "rack";
pub(crate) const ABOUT: &str =
    "1,000 machines are switched on in the same second: DHCP's answers, and its memory";

const MACHINES: usize = 1_000;
const WARM: Duration = Duration::from_secs(10);

const NETWORKS: &str = "  - interface: srv
    subnet: 10.88.0.0/16
    dhcp: authoritative
    pool: 10.88.16.0-10.88.31.255
    gateway: 10.88.0.254
    dns: [10.88.0.53]
";

pub(crate) fn run() -> anyhow::Result<Vec<Measure>> {
    let folder = tempfile::tempdir()?;
    let cable = Cable::lay()?;
    let server = Ichord::build(folder.path(), NETWORKS)?.start(&cable)?;
    pause(WARM);
    let idle = server.private_memory()?;
    let before = server.processor()?;
    let done = AtomicBool::new(false);
    let (came, peak) = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0.0_f64;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(server.private_memory().unwrap_or_default());
                pause(Duration::from_millis(10));
            }
            peak
        });
        let came = cable.load(|| {
            // a runtime of its own: the one that runs this is busy with it
            let run = thread::spawn(|| machines::switch_on(MACHINES));
            run.join().map_err(|_| anyhow!("the machines fell over"))?
        });
        done.store(true, Ordering::Relaxed);
        (came, watch.join())
    });
    let came = came?;
    let peak = peak.map_err(|_| anyhow!("the memory was not watched"))?;
    let work = server.processor()? - before;
    let mut times = came.times;
    times.sort();
    ensure!(!times.is_empty(), "nobody was answered");
    let at = |part: f64| {
        let index = ((times.len() - 1) as f64 * part).round() as usize;
        times.get(index).map(|time| time.as_secs_f64() * 1e3).context("no such part")
    };
    let count = |what, value: usize, limit| Measure { what, value: value as f64, unit: "", limit };
    let milliseconds = |what, value, limit| Measure { what, value, unit: "ms", limit };
    let megabytes = |what, value, limit| Measure { what, value, unit: "MB", limit };
    Ok(vec![
        count("machines with iPXE's lease", came.ready, Limit::Above(MACHINES as f64 - 1.0)),
        milliseconds("answer, median", at(0.5)?, Limit::None),
        milliseconds("answer, 99 of 100", at(0.99)?, Limit::Below(50.0)),
        milliseconds("answer, slowest", at(1.0)?, Limit::None),
        count("asked again once", came.again, Limit::None),
        count("asked again twice", came.twice, Limit::Below(1.0)),
        milliseconds("processor, an answer", work * 1e3 / times.len() as f64, Limit::None),
        megabytes("RssAnon, idle", idle, Limit::Below(20.0)),
        megabytes("RssAnon, most", peak, Limit::Below(150.0)),
    ])
}
