//! A machine's power, by a program of the site's own; and the word that takes a node out for good.

use nix::{sys::stat::Mode, unistd::mkfifo};
use tokio::time::timeout;

use crate::{
    daemon::{Daemon, PATIENCE, Said, in_network, run},
    site::Site,
};

#[test]
fn a_hook_is_told_which_machine_and_what() {
    in_network(|_network| async move {
        let site = Site::new();
        let told = site.path("told");
        mkfifo(&told, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        site.write("switch.sh", "env | grep ^ICHORD_ | sort > \"$1\"\necho it is on, says the power strip\n");
        let hook = format!(
            "power: {{ hook: [/bin/sh, \"{}\", \"{}\"], within: 30s }}",
            site.path("switch.sh").display(),
            told.display()
        );
        site.edit("ichord.yaml", "{ port: sw1/Eth1/1 }", &format!("{{ port: sw1/Eth1/1, {hook} }}"));
        let mut daemon = Daemon::start(&site).await;

        let read = timeout(PATIENCE, tokio::fs::read_to_string(told));
        let (said, told) =
            tokio::join!(run(site.command(&["power", "cp1", "cycle", "--network-boot"])), read);
        let Said { code, text, out } = said;
        assert_eq!(code, Some(0), "{text}");
        assert!(out.contains("it is on, says the power strip"), "{out}");
        let told = told.expect("it is started").unwrap();
        let told: Vec<&str> = told.lines().collect();
        assert_eq!(
            told,
            [
                "ICHORD_ACTION=cycle",
                "ICHORD_MAC=",
                "ICHORD_NETWORK_BOOT=yes",
                "ICHORD_NODE=cp1",
                "ICHORD_PORT=sw1/Eth1/1",
            ]
        );
        daemon.logs("it is on, says the power strip").await;

        let Said { code, text, .. } = run(site.command(&["power", "worker1", "on"])).await;
        assert_eq!(code, Some(1));
        assert!(text.contains("do it by hand") && text.contains("02:00:00:00:00:02"), "{text}");
        let Said { code, text, .. } = run(site.command(&["power", "cp1", "off", "--network-boot"])).await;
        assert_eq!(code, Some(1));
        assert!(text.contains("`on` and `cycle`"), "{text}");
        daemon.stop().await;
    });
}

#[test]
fn only_what_the_site_no_longer_names_is_removed() {
    in_network(|_network| async move {
        let site = Site::new();
        let daemon = Daemon::start(&site).await;
        for (node, reason) in [("worker1", "talconfig"), ("worker9", "worker9")] {
            let Said { code, text, .. } = run(site.command(&["remove", node])).await;
            assert_eq!(code, Some(1), "{text}");
            assert!(text.contains(reason), "{text}");
        }
        daemon.stop().await;
    });
}
