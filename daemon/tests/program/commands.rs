//! The commands that call a daemon, and those that need none.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{
    daemon::{Daemon, Said, in_network, run},
    site::{Site, mode},
};

fn secrets(site: &Site, what: &str) -> Command {
    let mut command = site.command(&["secrets", what]);
    command.arg(site.folder());
    command
}

fn credentials(site: &Site, what: &str) -> Command {
    let mut command = site.command(&[what]);
    command.arg(site.folder());
    command
}

#[tokio::test]
async fn without_a_daemon_each_says_where_it_looked() {
    let site = Site::without_secrets();
    let socket = site.socket().display().to_string();
    for words in [&["status"][..], &["deploy", "cp1"], &["deploy", "--unfilled"], &["reload"], &["events"]] {
        let Said { code, text, out } = run(site.command(words)).await;
        assert_eq!((code, out.as_str()), (Some(1), ""), "{text}");
        assert!(text.contains(&socket) && text.contains("is `ichord serve` running"), "{text}");
        assert_eq!(text.matches("No such file").count(), 1, "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[tokio::test]
async fn secrets_are_made_once_and_for_us_only() {
    let site = Site::without_secrets();
    let Said { code, text, .. } = run(secrets(&site, "new")).await;
    assert_eq!(code, Some(0), "{text}");
    let path = site.path("talsecret.yaml");
    assert_eq!(mode(&path), 0o600);
    let before = fs::read(&path).unwrap();

    let Said { code, text, out } = run(secrets(&site, "new")).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(text.contains(&path.display().to_string()) && text.contains("loses the cluster"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert_eq!(fs::read(&path).unwrap(), before);

    site.edit("ichord.yaml", "site: small", "site: small\nsecrets: none/such.yaml");
    let Said { code, text, .. } = run(secrets(&site, "new")).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("cannot make") && text.contains("none/such.yaml: No such file"), "{text}");
}

#[tokio::test]
async fn machine_configs_are_written_for_us_only() {
    let site = Site::new();
    let out = site.folder().join("out");
    let mut render = site.command(&["render"]);
    render.arg(site.folder()).arg("--out").arg(&out);
    let Said { code, text, .. } = run(render).await;
    assert_eq!(code, Some(0), "{text}");
    let names = |folder: &std::path::Path| -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let files = names(&out);
    assert_eq!(files.len(), 4, "{files:?}");
    assert_eq!(files[0], ".gitignore");
    assert_eq!(files[3], "talosconfig");
    assert!(files[1..].iter().all(|file| mode(&out.join(file)) == 0o600));
    let ignored = fs::read_to_string(out.join(".gitignore")).unwrap();
    assert_eq!(ignored.lines().collect::<Vec<_>>(), files[1..]);

    let diff = || {
        let mut render = site.command(&["render"]);
        render.arg(site.folder()).arg("--diff").arg(&out);
        render
    };
    let Said { code, text, out: shown } = run(diff()).await;
    assert_eq!((code, shown.as_str()), (Some(0), ""), "{text}");
    let config = out.join(&files[1]);
    let changed = fs::read_to_string(&config).unwrap().replacen("wipe: false", "wipe: true", 1);
    fs::write(&config, changed.replacen("token: ", "token: x", 1)).unwrap();
    let Said { code, out: shown, .. } = run(diff()).await;
    assert_eq!(code, Some(1));
    assert!(shown.contains("- the v1alpha1 document: machine.install.wipe: true"), "{shown}");
    assert!(shown.contains("machine.token: (not shown)"), "{shown}");

    let mut render = site.command(&["render"]);
    render.arg(site.folder()).arg("--out").arg(site.folder().join("none")).args(["--node", "cp9"]);
    let Said { code, text, .. } = run(render).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("cp9 is not in the site"), "{text}");
    assert!(!site.folder().join("none").exists());
}

#[tokio::test]
async fn what_needs_secrets_says_how_to_make_them() {
    let site = Site::without_secrets();
    let mut render = site.command(&["render"]);
    render.arg(site.folder()).arg("--out").arg(site.path("out"));
    let path = site.path("talsecret.yaml").display().to_string();
    for command in [render, credentials(&site, "kubeconfig"), credentials(&site, "talosconfig")] {
        let Said { code, text, out } = run(command).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{text}");
        assert!(text.contains(&path) && text.contains("`ichord secrets new"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[tokio::test]
async fn placeholders_stand_for_what_is_missing() {
    let site = Site::without_secrets();
    let talconfig = site.path("talconfig.yaml");
    let text = fs::read_to_string(&talconfig).unwrap();
    fs::write(&talconfig, format!("{text}\ndomain: ${{NOT_SET}}.example\n")).unwrap();
    let out = site.folder().join("out");
    let mut render = site.command(&["render"]);
    render.arg(site.folder()).arg("--placeholders").arg("--out").arg(&out);
    let Said { code, text, .. } = run(render).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the variable NOT_SET") && text.contains("talsecret.yaml"), "{text}");
    assert!(!out.join("talosconfig").exists(), "nobody can issue a certificate");
    let mut configs = 0;
    for entry in fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            assert!(fs::read_to_string(&path).unwrap().contains("placeholder-not-set.example"));
            configs += 1;
        }
    }
    assert_eq!(configs, 2);
    assert!(!site.path("talsecret.yaml").exists(), "only `secrets new` makes a bundle");
}

#[tokio::test]
async fn output_that_cannot_be_written_is_no_panic() {
    let site = Site::new();
    let (reader, writer) = std::io::pipe().unwrap();
    // as `| head` does when it has seen enough
    drop(reader);
    let to = |out: Stdio| {
        let mut command = tokio::process::Command::from(credentials(&site, "kubeconfig"));
        command.stdout(out).stderr(Stdio::piped()).spawn().unwrap().wait_with_output()
    };
    let Said { code, text, .. } = to(writer.into()).await.unwrap().into();
    assert_eq!((code, text.as_str()), (Some(0), ""));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let Said { code, text, .. } = to(full.into()).await.unwrap().into();
    assert_eq!(code, Some(1));
    assert!(text.contains("cannot write to standard output: No space left"), "{text}");
}

#[test]
fn a_permit_for_who_is_not_there() {
    in_network(|_network| async {
        let site = Site::new();
        let daemon = Daemon::start(&site).await;
        let Said { code, text, out } = run(site.command(&["deploy", "cp9"])).await;
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(text.contains("cp9") && text.lines().count() == 1, "{text}");

        let Said { code, text, out } = run(site.command(&["deploy", "cp1"])).await;
        assert_eq!(code, Some(0), "{text}");
        assert!(out.starts_with("cp1: may be installed once"), "{out}");
        assert!(daemon.status().await.view.nodes[&"cp1".into()].permit_expires.is_some());
        assert!(daemon.status().await.view.nodes[&"worker1".into()].permit_expires.is_none());
        daemon.stop().await;
    });
}
