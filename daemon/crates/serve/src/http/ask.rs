//! `/boot/ask`: brings the question into form, asks, and writes the answer as a script.

use std::net::IpAddr;

use ::boot::{
    Ask, Catalogue,
    script::{self, Base, Platform},
};
use axum::{
    Extension,
    extract::{Query, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use hardware::{LocalBoot, MacAddr};
use identity::Marks;

use super::{BootServer, Ends, discovery, text};
use crate::{
    authority::{BootAuthority, BootQuestion, BootReply},
    clock,
    trace::{Layer, Who},
    whereabouts::{Whereabouts, tell},
};

/// After a mistake on our side, which only a person mends.
const MENDED_SECONDS: u32 = 30;

pub(super) async fn ask<A: BootAuthority>(
    State(server): State<BootServer<A>>,
    Extension(ends): Extension<Ends>,
    method: Method,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    // an answer may use a permit up, so only who wants it gets it
    if method != Method::GET {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")]).into_response();
    }
    let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let ask = match Ask::from_pairs(pairs) {
        Ok(ask) => ask,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let from = ends.peer.ip().to_canonical();
    let platform = ask.platform.as_deref().and_then(Platform::from_ipxe);
    let (mac, attempt) = (ask.mac, ask.attempt);
    if let Some(model) = &ask.model {
        server.local_boots.learn(mac, model);
    }
    let question = BootQuestion {
        from,
        machine: Marks { macs: [mac].into(), uuid: ask.uuid, serial: ask.serial },
        attempt,
        firmware: ask.platform,
        architecture: ask.architecture,
        lldp: ask.lldp,
    };
    let reply = server.authority.ask(question).await;
    let what = format!("asks what to boot (attempt {attempt}): {}, {}", reply.label(), reply.reason());
    answered(&server, mac, from, &reply, what);
    tracing::info!(%mac, %from, attempt, reply = reply.label(), "a machine asked what to boot");
    let (base, catalogue) = (ends.base(), server.catalogue.borrow().clone());
    let script = match discovery::send(&server, &catalogue, base, mac, attempt, reply) {
        Ok(script) => script,
        Err(reply) => script_for(&reply, base, &catalogue, (platform, server.local_boots.way(mac)), attempt),
    };
    text(StatusCode::OK, script)
}

fn script_for(
    reply: &BootReply,
    base: Base,
    catalogue: &Catalogue,
    (platform, way): (Option<Platform>, Option<LocalBoot>),
    attempt: u32,
) -> String {
    match reply {
        BootReply::Deploy { kernel, initramfs, cmdline } => {
            let (Some(kernel), Some(initramfs)) = (catalogue.get(kernel), catalogue.get(initramfs)) else {
                tracing::error!(%kernel, %initramfs, "shall be booted and is not in the images folder");
                return script::retry(base, MENDED_SECONDS, attempt);
            };
            script::deploy(base, kernel, initramfs, cmdline, attempt).unwrap_or_else(|error| {
                tracing::error!(%error, "cannot boot with this command line");
                script::retry(base, MENDED_SECONDS, attempt)
            })
        }
        BootReply::Identify { seconds, .. } | BootReply::Retry { seconds, .. } => {
            script::retry(base, *seconds, attempt)
        }
        BootReply::LocalDisk { .. } => script::local_disk(platform, way).to_owned(),
        BootReply::Refused { reason } => script::refused(reason),
    }
}

/// Writes down what a machine was told, and where it is.
pub(super) fn answered<A: BootAuthority>(
    server: &BootServer<A>,
    mac: MacAddr,
    from: IpAddr,
    reply: &BootReply,
    what: String,
) {
    server.trace.note(Who::Mac(mac), Layer::Boot, clock::now(), what);
    server.trace.fetched(Who::Mac(mac));
    // who was refused may have lied about who it is
    if !matches!(reply, BootReply::Refused { .. }) {
        server.trace.place(mac, from);
        tell(&server.whereabouts, Whereabouts { mac, address: from, at: clock::now() }, "whereabouts");
    }
    server.counters.add("boot", reply.label());
}
