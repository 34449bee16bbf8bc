//! Starting, reloading and ending, as systemd and an operator see it.

use nix::sys::signal::Signal;

use crate::{
    daemon::{Daemon, in_network},
    site::{Site, mode},
};

#[test]
fn a_signal_ends_it_in_order() {
    in_network(|_network| async {
        let site = Site::new();
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let daemon = Daemon::start(&site).await;
            assert_eq!(mode(&site.socket()), 0o660);
            // right after it said that it is ready
            daemon.signal(signal);
            daemon.told("STOPPING=1").await;
            let log = daemon.ended().await;
            assert!(log.contains("stopped"), "{log}");
            assert!(!site.socket().exists());
        }
        // killed, it cannot tidy up: the next one takes the place over
        Daemon::start(&site).await.kill().await;
        assert!(site.socket().exists());
        Daemon::start(&site).await.stop().await;
    });
}

#[test]
fn the_folder_of_the_admin_socket_is_made_for_us_and_our_group() {
    in_network(|_network| async {
        let site = Site::new();
        let folder = site.path("run");
        let mut serve = site.serve();
        serve.arg("--socket").arg(folder.join("ichord.sock"));
        let daemon = Daemon::start_by(&site, serve).await;
        assert_eq!((mode(&folder), mode(&folder.join("ichord.sock"))), (0o750, 0o660));
        daemon.stop().await;
        assert!(!folder.join("ichord.sock").exists());
    });
}

#[test]
fn an_open_stream_of_events_does_not_hold_the_end_up() {
    in_network(|_network| async {
        let site = Site::new();
        let daemon = Daemon::start(&site).await;
        let mut follower = tokio::process::Command::from(site.command(&["events", "--follow", "--json"]));
        let mut follower = follower.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        // one event has come through, so it is connected
        daemon.client().deploy(&api::Deploy { node: None, by: "a test".to_owned() }).await.unwrap();
        let mut lines =
            tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(follower.stdout.take().unwrap()));
        assert!(lines.next_line().await.unwrap().is_some());
        daemon.stop().await;
        while lines.next_line().await.unwrap().is_some() {}
        follower.wait().await.unwrap();
    });
}

#[test]
fn systemd_is_told_of_a_reload() {
    in_network(|_network| async {
        let site = Site::new();
        let daemon = Daemon::start(&site).await;
        daemon.signal(Signal::SIGHUP);
        let told = daemon.told("RELOADING=1").await;
        assert!(told.contains("MONOTONIC_USEC="), "{told}");
        daemon.told("READY=1").await;
        assert_eq!(daemon.status().await.site_fault, None);

        // a faulty edit: it says so and is ready all the same
        site.edit("ichord.yaml", "  cp1: {", "  cp9: {");
        daemon.signal(Signal::SIGHUP);
        daemon.told("RELOADING=1").await;
        daemon.told("READY=1").await;
        let fault = daemon.status().await.site_fault.unwrap();
        assert!(fault.contains("cp9"), "{fault}");
        let log = daemon.stop().await;
        assert!(log.contains("the site in force stays"), "{log}");
    });
}

#[test]
fn it_holds_two_capabilities() {
    // net_bind_service is bit 10, net_raw bit 13 (linux/capability.h)
    const HELD: u64 = 1 << 10 | 1 << 13;
    in_network(|_network| async {
        let site = Site::new();
        let daemon = Daemon::start(&site).await;
        // a thread each: capabilities belong to threads
        for task in std::fs::read_dir(format!("/proc/{}/task", daemon.id())).unwrap() {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.trim_start_matches(':').trim().to_owned()
            };
            let set = |name| u64::from_str_radix(&field(name), 16).unwrap();
            assert_eq!([set("CapEff"), set("CapPrm"), set("CapBnd")], [HELD; 3], "{status}");
            assert_eq!([set("CapInh"), set("CapAmb")], [0; 2], "{status}");
            assert_eq!(field("NoNewPrivs"), "1");
        }
        daemon.stop().await;
    });
}
