//! The private parts of the secrets bundle are in its own file and sealed in the store, and nowhere else.

use std::fs;

use crate::{
    daemon::{Daemon, in_network, run},
    site::{Site, mode},
};

/// Whatever of the bundle nobody else may know: keys in both forms, tokens.
fn private(bundle: &str) -> Vec<String> {
    let names = ["key", "token", "bootstraptoken", "secretboxencryptionsecret", "secret"];
    let lines = bundle.lines().filter_map(|line| line.trim().split_once(": "));
    let values: Vec<String> =
        lines.filter(|(name, _)| names.contains(name)).map(|(_, value)| value.trim().to_owned()).collect();
    // five keys, two tokens, the secret of the cluster and that of secretbox
    assert_eq!(values.len(), 9, "the bundle has another form");
    values
}

fn has(bytes: &[u8], text: &str) -> bool {
    // the beginning is enough; it may have been broken into lines
    let text = &text.as_bytes()[..text.len().min(60)];
    bytes.windows(text.len()).any(|window| window == text)
}

#[test]
fn what_is_private_shows_nowhere() {
    in_network(|network| async move {
        let site = Site::new();
        let private = private(&site.read("talsecret.yaml"));
        let mut serve = site.serve();
        serve.env("RUST_LOG", "trace");
        let mut daemon = Daemon::start_by(&site, serve).await;
        assert_eq!(run(site.command(&["deploy", "--unfilled"])).await.code, Some(0));
        assert_eq!(run(site.command(&["reload"])).await.code, Some(0));
        network.at_machine(|| async { crate::noise::fetch("/boot.ipxe").await }).await;
        daemon.logs("boot request").await;

        let mut shown = Vec::new();
        for words in [&["status"][..], &["status", "--json"], &["events"], &["events", "--json"]] {
            let said = run(site.command(words)).await;
            assert_eq!(said.code, Some(0), "{}", said.text);
            assert!(said.out.contains("cp1"), "{}", said.out);
            shown.push((format!("ichord {words:?}"), said.out.into_bytes()));
        }
        let arguments = fs::read(format!("/proc/{}/cmdline", daemon.id())).unwrap();
        shown.push(("the command line".to_owned(), arguments));
        // with the write-ahead log while it is there, and once more when it was folded in
        let files = || {
            fs::read_dir(site.state()).unwrap().map(|entry| {
                let path = entry.unwrap().path();
                assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
                (path.display().to_string(), fs::read(&path).unwrap())
            })
        };
        shown.extend(files());
        let log = daemon.stop().await;
        assert!(log.contains("TRACE"), "the log is not at its most talkative");
        shown.push(("the log".to_owned(), log.into_bytes()));
        shown.extend(files());
        assert!(shown.iter().any(|(what, bytes)| what.ends_with("state.db") && has(bytes, "site/accepted")));

        assert!(has(site.read("talsecret.yaml").as_bytes(), &private[0]), "what is there is found");
        for (what, bytes) in &shown {
            for (index, value) in private.iter().enumerate() {
                assert!(!has(bytes, value), "value {index} of the bundle is in {what}");
            }
        }
        assert_eq!(mode(&site.state()), 0o700);
    });
}
