//! Who is measured: ours, and the three that people use.

use std::{net::SocketAddrV4, path::Path, process::Command, sync::Arc};

use anyhow::Context as _;
use boot::Catalogue;
use serve::{
    counters::Counters,
    tftp::{Bootloaders, Limits, Tftp},
    trace::Trace,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{cable, child, packages};

/// How each is called and started, and the port it takes.
pub(crate) fn all(folder: &Path) -> anyhow::Result<Vec<(&'static str, u16, Command)>> {
    let at = |port: u16| SocketAddrV4::new(cable::SERVER, port).to_string();
    let files = folder.join("ipxe");
    let address = cable::SERVER.to_string();

    let mut hpa = packages::Unpacked::of(&["tftpd-hpa", "libwrap0"])?.program("usr/sbin/in.tftpd")?;
    hpa.args(["-L", "-4", "-u", "root", "-a", &at(6902), "-s"]).arg(&files);

    let mut atftpd =
        packages::Unpacked::of(&["atftpd", "libwrap0", "libpcre2-8-0"])?.program("usr/sbin/atftpd")?;
    atftpd.args([
        "--daemon",
        "--no-fork",
        "--user",
        "root",
        "--group",
        "root",
        "--no-multicast",
        "--verbose=1",
    ]);
    atftpd.args([
        "--maxthread",
        "200",
        "--logfile",
        "/dev/null",
        "--bind-address",
        &address,
        "--port",
        "6903",
    ]);
    atftpd.arg(&files);

    let mut dnsmasq = packages::installed("dnsmasq", "dnsmasq-base")?;
    dnsmasq.args([
        "-k",
        "--conf-file=/dev/null",
        "--port=0",
        "--enable-tftp",
        "--bind-interfaces",
        "--user=root",
    ]);
    dnsmasq.args(["--tftp-max=200", "--log-facility=/dev/null", "--pid-file="]);
    dnsmasq.arg(format!("--listen-address={address}")).arg(format!("--tftp-root={}", files.display()));

    let own = std::env::current_exe().context("this program's own path is not known")?;
    let mut ours = Command::new(own);
    ours.args([child::STAND, super::NAME, &at(6901)]).arg(folder);
    Ok(vec![
        ("ichord", 6901, ours),
        ("tftpd-hpa", 6902, hpa),
        ("atftpd", 6903, atftpd),
        ("dnsmasq", 69, dnsmasq),
    ])
}

/// Ours, as the daemon runs it, until the process is ended.
pub(crate) fn stand(address: &str, folder: &Path) -> anyhow::Result<()> {
    let address: SocketAddrV4 = address.parse().context("not an address with a port")?;
    let catalogue = Arc::new(Catalogue::load(folder)?);
    let (_kept, catalogue) = watch::channel(catalogue);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let files = Arc::new(Bootloaders::new(catalogue));
        // all the load comes from one address
        let limits = Limits { per_client: 64, ..Limits::default() };
        let (counters, trace) = (Arc::new(Counters::default()), Arc::new(Trace::default()));
        let server = Tftp::bind(address.into(), files, counters, trace, limits)?;
        server.run(CancellationToken::new()).await;
        Ok(())
    })
}
