//! `/uki/<mac>/<architecture>.efi`: firmware that starts only signed files gets Talos as one such file, and no iPXE
//! before it.
//!
//! DHCP puts the machine's address into the URL, because firmware says nothing about itself when it fetches. Like a
//! script it cannot be taken back, so the one who owns the world is asked; what is not to be booted is not found, and
//! the firmware goes on to its next entry.

use std::time::Duration;

use ::boot::{AssetName, Catalogue};
use axum::{
    Extension,
    extract::{Path, Request, State},
    http::{Method, StatusCode},
    response::Response,
};
use hardware::{Architecture, MacAddr};
use identity::Marks;
use tokio::time::{Instant, sleep_until};

use super::{BootServer, Ends, ask, assets, text};
use crate::authority::{BootAuthority, BootQuestion, BootReply};

/// Firmware does not come again when it hears "not yet", but it waits 5 s for an answer (EDK2,
/// `HTTP_BOOT_RESPONSE_TIMEOUT`).
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two questions meanwhile.
const AGAIN: Duration = Duration::from_millis(500);

pub(super) async fn image<A: BootAuthority>(
    State(server): State<BootServer<A>>,
    Extension(ends): Extension<Ends>,
    Path((mac, file)): Path<(String, String)>,
    request: Request,
) -> Response {
    let (Ok(mac), Some(architecture)) = (mac.parse::<MacAddr>(), file.strip_suffix(".efi")) else {
        return text(StatusCode::NOT_FOUND, "no such boot file\n");
    };
    let wanted = file_name(architecture);
    let catalogue = server.catalogue.borrow().clone();
    // firmware asks for the length first, and that must not use a permit up
    let known = if request.method() == Method::HEAD { only_one(&catalogue, &wanted) } else { None };
    let name = match known {
        Some(name) => Some(name),
        None => decided(&server, ends, mac, &wanted).await,
    };
    match name {
        Some(name) => assets::serve(&server, Ok(name), request).await,
        None => text(StatusCode::NOT_FOUND, "nothing to boot here\n"),
    }
}

/// As the Image Factory names it.
fn file_name(architecture: &str) -> String {
    format!("metal-{architecture}-secureboot-uki.efi")
}

/// The file of this name, where there is one version of it.
fn only_one(catalogue: &Catalogue, file: &str) -> Option<AssetName> {
    let mut found = catalogue.assets().map(|asset| &asset.name).filter(|name| name.file() == file);
    found.next().filter(|_| found.next().is_none()).cloned()
}

/// What this machine shall boot, asked for as long as its firmware waits.
async fn decided<A: BootAuthority>(
    server: &BootServer<A>,
    ends: Ends,
    mac: MacAddr,
    wanted: &str,
) -> Option<AssetName> {
    let from = ends.peer.ip().to_canonical();
    let deadline = Instant::now() + PATIENCE;
    let mut attempt = 0;
    let reply = loop {
        let question = BootQuestion {
            from,
            machine: Marks { macs: [mac].into(), uuid: None, serial: None },
            attempt,
            firmware: Some("efi".to_owned()),
            architecture: if wanted.contains("arm64") { Architecture::Arm64 } else { Architecture::Amd64 },
            lldp: Vec::new(),
        };
        let reply = server.authority.ask(question).await;
        let waits = matches!(reply, BootReply::Retry { .. } | BootReply::Identify { .. });
        if !waits || Instant::now() + AGAIN > deadline {
            break reply;
        }
        sleep_until(Instant::now() + AGAIN).await;
        attempt += 1;
    };
    let what = format!("asks for its signed image: {}, {}", reply.label(), reply.reason());
    ask::answered(server, mac, from, &reply, what);
    tracing::info!(%mac, %from, reply = reply.label(), "a machine asked for its signed image");
    let BootReply::Deploy { kernel, .. } = reply else { return None };
    let kernel = kernel.to_string();
    let (folder, _) = kernel.rsplit_once('/')?;
    format!("{folder}/{wanted}").parse().ok()
}
