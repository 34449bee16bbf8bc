//! Who is plugged in where, and who holds what: the commands for people, by way of the real program.

use hardware::MacAddr;
use net::interface::Interface;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    daemon::{Daemon, Network, PATIENCE, Said, in_network, run},
    site::Site,
};

/// The machine asks what to boot; answers the script.
async fn ask(network: &Network) -> (MacAddr, String) {
    network
        .at_machine(|| async {
            let mac = Interface::named("eth0").unwrap().mac.unwrap();
            let mut stream = TcpStream::connect("10.77.0.1:80").await.unwrap();
            let path = format!("/boot/ask?mac={}&platform=pcbios&attempt=0", mac.hyphenated());
            let request = format!("GET {path} HTTP/1.1\r\nHost: ichord\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            (mac, answer)
        })
        .await
}

/// Runs a command again until its output has a text.
async fn until(site: &Site, words: &[&str], wanted: &str) -> String {
    let found = async {
        loop {
            let Said { text, out, .. } = run(site.command(words)).await;
            if out.contains(wanted) {
                return out;
            }
            assert!(text.is_empty(), "{text}");
        }
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{words:?} never said {wanted:?}"))
}

async fn refused(site: &Site, words: &[&str], wanted: &str) {
    let Said { code, text, out } = run(site.command(words)).await;
    assert_eq!((code, out.as_str()), (Some(1), ""), "{words:?}: {text}");
    assert!(text.contains(wanted) && text.lines().count() == 1, "{words:?}: {text}");
}

#[test]
fn ports_machines_and_slots() {
    in_network(|network| async move {
        let site = Site::new();
        let daemon = Daemon::start(&site).await;
        let none = until(&site, &["ports"], "slots that nobody fills: ").await;
        assert!(none.contains("sw1/Eth1/1  cp1") && none.contains("worker1\n"), "{none}");
        refused(&site, &["slot", "release", "cp1"], "nobody holds cp1").await;
        refused(&site, &["slot", "approve", "cp1"], "`ichord deploy cp1`").await;
        refused(&site, &["slot", "move", "cp1", "worker1"], "nobody holds cp1").await;
        refused(&site, &["slot", "readmit", "02:00:00:00:00:09"], "no machine that was fenced off").await;
        refused(&site, &["slot", "release", "cp9"], "cp9 is not in the site").await;
        refused(&site, &["approve", "cp1"], "does not wait in maintenance mode").await;
        refused(&site, &["explain", "no-such-thing"], "`ichord ports` shows who is where").await;

        let (mac, script) = ask(&network).await;
        assert!(script.contains("asking again"), "no permit yet: {script}");
        let mac = mac.to_string();
        let seen = until(&site, &["ports"], "forwarding table").await;
        let row = seen.lines().find(|line| line.starts_with("sw1/Eth1/1")).unwrap();
        assert!(row.contains("cp1") && row.contains(&mac) && row.ends_with(" s"), "{seen}");
        let explained = until(&site, &["explain", &mac], "it is cp1").await;
        assert!(
            explained.contains("holds no slot") && explained.contains("the daemon saw it"),
            "{explained}"
        );
        assert_eq!(until(&site, &["explain", "cp1"], &mac).await.matches("holds no slot").count(), 1);
        let json = until(&site, &["ports", "--json"], &mac).await;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["ports"][0]["slot"], "cp1");

        assert_eq!(run(site.command(&["deploy", "cp1"])).await.code, Some(0));
        let (_, script) = ask(&network).await;
        assert!(script.contains("kernel-amd64"), "{script}");
        until(&site, &["explain", &mac], "holds cp1").await;
        // the simulated card answers no machine API
        let released = async {
            loop {
                let Said { code, text, out } = run(site.command(&["slot", "release", "cp1"])).await;
                if code == Some(0) {
                    return out;
                }
                assert!(text.contains("shows in a moment") || text.contains("which answers"), "{text}");
            }
        };
        assert_eq!(timeout(PATIENCE, released).await.unwrap(), "cp1 is vacant\n");
        until(&site, &["events"], "released").await;
        daemon.stop().await;
    });
}

#[test]
fn the_site_file_is_brought_to_what_is_plugged_in() {
    in_network(|network| async move {
        let site = Site::new();
        let mac = network.at_machine(|| async { Interface::named("eth0").unwrap().mac.unwrap() }).await;
        site.edit(
            "ichord.yaml",
            "  cp1: { port: sw1/Eth1/1 }",
            &format!("  cp1: {{ mac: '{mac}' }}   # the old one"),
        );
        site.edit("ichord.yaml", "images: images", "images: images # here");
        let before = site.read("ichord.yaml");
        let folder = site.folder().display().to_string();
        let daemon = Daemon::start(&site).await;
        refused(&site, &["ports", "--write", &folder], "there is nothing to write").await;
        refused(&site, &["ports", &folder], "--write, --rename-switch or --verify").await;

        assert_eq!(run(site.command(&["deploy", "cp1"])).await.code, Some(0));
        ask(&network).await;
        until(&site, &["ports"], "forwarding table").await;
        until(&site, &["explain", "cp1"], "holds cp1").await;
        let Said { code, text, out } = run(site.command(&["ports", "--write", &folder])).await;
        assert_eq!(code, Some(0), "{text}");
        assert!(out.contains("cp1: sw1/Eth1/1") && out.contains("`ichord reload`"), "{out}");
        let port = format!("  cp1: {{ port: sw1/Eth1/1, mac: '{mac}' }}   # the old one");
        let expected = before.replace(&format!("  cp1: {{ mac: '{mac}' }}   # the old one"), &port);
        assert_eq!(site.read("ichord.yaml"), expected);
        assert_eq!(run(site.command(&["reload"])).await.code, Some(0));
        let again = run(site.command(&["ports", "--write", &folder])).await;
        assert!(again.out.contains("nothing to change"), "{}", again.out);
        daemon.stop().await;

        // without a daemon
        let Said { code, text, out } =
            run(site.command(&["ports", "--rename-switch", "sw1=leaf1", &folder])).await;
        assert_eq!(code, Some(0), "{text}");
        assert!(out.contains("sw1/Eth1/1 → leaf1/Eth1/1") && out.contains("switch sw1 → leaf1"), "{out}");
        assert_eq!(site.read("ichord.yaml"), expected.replace("sw1", "leaf1"));
        refused(&site, &["ports", "--rename-switch", "leaf1", &folder], "OLD=NEW").await;
    });
}

#[tokio::test]
async fn each_command_has_an_example() {
    let site = Site::without_secrets();
    for words in [
        &["approve"][..],
        &["ports"],
        &["explain"],
        &["slot", "approve"],
        &["slot", "release"],
        &["slot", "move"],
        &["slot", "readmit"],
    ] {
        let Said { code, out, .. } = run(site.command(&[words, &["--help"]].concat())).await;
        assert_eq!(code, Some(0));
        assert!(out.contains(&format!("  ichord {}", words.join(" "))), "{out}");
    }
}
