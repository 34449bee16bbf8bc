//! `/boot/discovery`: a machine that was sent to find out its switch port says what it found.
//!
//! It was sent by the boot script, when nothing else had told its port, and the token in that script pays for one
//! report. Who owns the world takes it in and says what the machine boots next.

use std::sync::PoisonError;

use ::boot::{
    AssetName, Catalogue,
    discovery::{File, LONGEST_REPORT, Next, Report, Token},
    script::{self, Base},
};
use axum::{
    Extension, Json,
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use hardware::MacAddr;
use tokio::time::timeout;

use super::{BootServer, Ends, text};
use crate::{
    authority::{BootAuthority, BootReply},
    clock,
    discoveries::{MOST_BOOTS, Unpaid},
    trace::{Layer, Who},
};

/// So many questions are answered with "ask again" first: option 82, a forwarding table and iPXE's own LLDP need no
/// other system, and the table may be a moment behind.
const PATIENCE: u32 = 2;

/// The script that sends a machine whom nobody knows to find out its port; else what it is answered instead.
pub(super) fn send<A: BootAuthority>(
    server: &BootServer<A>,
    catalogue: &Catalogue,
    base: Base,
    mac: MacAddr,
    attempt: u32,
    reply: BootReply,
) -> Result<String, BootReply> {
    let BootReply::Identify { reason, image: Some(image), .. } = &reply else { return Err(reply) };
    if attempt < PATIENCE {
        return Err(reply);
    }
    let (Some(kernel), Some(initramfs)) = (catalogue.get(&image.kernel), catalogue.get(&image.initramfs))
    else {
        return Err(reply);
    };
    let mut random = [0; 16];
    if let Err(error) = getrandom::fill(&mut random) {
        tracing::error!(%error, "the operating system gives no randomness, so nobody is sent to find out a port");
        return Err(reply);
    }
    let now = clock::now();
    let sent = server.discoveries.lock().unwrap_or_else(PoisonError::into_inner).send(mac, random, now);
    let Some(token) = sent else {
        let reason = format!("the discovery image was tried {MOST_BOOTS} times, and still: {reason}");
        server.trace.note(Who::Mac(mac), Layer::Boot, now, format!("goes to its own disk: {reason}"));
        server.counters.add("discovery", "given-up");
        tracing::warn!(%mac, reason, "a machine is no longer sent to find out its switch port");
        return Err(BootReply::LocalDisk { reason });
    };
    server.trace.note(Who::Mac(mac), Layer::Boot, now, "boots the discovery image");
    server.counters.add("discovery", "sent");
    tracing::info!(%mac, image = %image.kernel, "a machine is sent to find out its switch port");
    let listen = (&token, server.limits.lldp_wait);
    match script::discover(base, kernel, initramfs, &image.cmdline, listen, attempt) {
        Ok(script) => Ok(script),
        Err(error) => {
            tracing::error!(%error, "the discovery image cannot be booted with its command line");
            Err(reply)
        }
    }
}

pub(super) async fn report<A: BootAuthority>(
    State(server): State<BootServer<A>>,
    Extension(ends): Extension<Ends>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let now = clock::now();
    let Some(token) = bearer(&headers) else {
        return refused(&server, StatusCode::UNAUTHORIZED, "a report needs the token of its boot script\n");
    };
    let holder = server.discoveries.lock().unwrap_or_else(PoisonError::into_inner).holder(&token, now);
    if let Err(unpaid) = holder {
        return refused_token(&server, ends, unpaid);
    }
    let read = timeout(server.limits.header, to_bytes(body, LONGEST_REPORT)).await;
    let Ok(Ok(octets)) = read else {
        return refused(&server, StatusCode::BAD_REQUEST, "the report is too long, or did not come whole\n");
    };
    let report = match Report::read(&octets) {
        Ok(report) => report,
        Err(error) => return refused(&server, StatusCode::BAD_REQUEST, &format!("{error}\n")),
    };
    // from here on nobody else can use it
    let spent = server.discoveries.lock().unwrap_or_else(PoisonError::into_inner).spend(&token, now);
    let mac = match spent {
        Ok(mac) => mac,
        Err(unpaid) => return refused_token(&server, ends, unpaid),
    };
    let from = ends.peer.ip().to_canonical();
    let heard = format!("reports {} LLDP neighbours by the discovery image", report.neighbours.len());
    server.trace.note(Who::Mac(mac), Layer::Boot, now, heard);
    for note in &report.notes {
        server.trace.note(Who::Mac(mac), Layer::Boot, now, format!("says: {note}"));
    }
    tracing::info!(%mac, %from, neighbours = report.neighbours.len(), "a machine reports what it found out");
    let reply = server.authority.report(mac, from, report).await;
    server.trace.note(Who::Mac(mac), Layer::Boot, now, format!("{}, {}", reply.label(), reply.reason()));
    server.counters.add("discovery", reply.label());
    if let BootReply::Refused { reason } = &reply {
        return refused(&server, StatusCode::FORBIDDEN, &format!("{reason}\n"));
    }
    Json(next(&reply, &server.catalogue.borrow())).into_response()
}

/// As a machine can follow it: a kernel, or its firmware's next question, which gets the same answer as a script.
fn next(reply: &BootReply, catalogue: &Catalogue) -> Next {
    let file = |name: &AssetName| {
        catalogue.get(name).map(|asset| File { path: asset.name.url_path(), sha256: asset.sha256_hex() })
    };
    match reply {
        BootReply::Deploy { kernel, initramfs, cmdline } => match (file(kernel), file(initramfs)) {
            (Some(kernel), Some(initramfs)) => Next::Kexec { kernel, initramfs, cmdline: cmdline.clone() },
            _ => Next::Reboot { reason: format!("{kernel} is not in the images folder") },
        },
        other => Next::Reboot { reason: other.reason().to_owned() },
    }
}

fn bearer(headers: &HeaderMap) -> Option<Token> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?.parse().ok()
}

fn refused_token<A>(server: &BootServer<A>, ends: Ends, unpaid: Unpaid) -> Response {
    tracing::warn!(peer = %ends.peer, %unpaid, "a report is not taken");
    refused(server, StatusCode::FORBIDDEN, &format!("{unpaid}\n"))
}

fn refused<A>(server: &BootServer<A>, status: StatusCode, why: &str) -> Response {
    server.counters.add("discovery", "refused");
    text(status, why)
}
