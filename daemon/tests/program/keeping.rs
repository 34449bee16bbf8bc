//! The last accepted site: a bad edit never takes a running rack down, not even over a restart.

use crate::{
    daemon::{Daemon, Said, in_network, run},
    noise::{fetch, offered},
    site::{Site, VERSION},
};

async fn reload(site: &Site) -> Said {
    run(site.command(&["reload"])).await
}

async fn status(site: &Site) -> String {
    let said = run(site.command(&["status"])).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    said.out
}

#[test]
fn a_restart_with_a_bad_edit_goes_on_with_the_last_accepted_site() {
    in_network(|_network| async {
        let site = Site::new();
        Daemon::start(&site).await.stop().await;

        site.edit("ichord.yaml", "  cp1: {", "  cp9: {");
        let daemon = Daemon::start(&site).await;
        let fault = daemon.status().await.site_fault.unwrap();
        assert!(fault.contains("ichord.yaml:") && fault.contains("cp9"), "{fault}");
        let shown = status(&site).await;
        assert!(shown.contains("the last accepted site is in force") && shown.contains("cp9"), "{shown}");
        assert!(shown.contains("cp1  "), "{shown}");

        let Said { code, text, .. } = reload(&site).await;
        assert_eq!(code, Some(1));
        assert!(text.contains("the site in force stays") && text.contains("cp9"), "{text}");

        site.edit("ichord.yaml", "  cp9: {", "  cp1: {");
        let Said { code, text, .. } = reload(&site).await;
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(daemon.status().await.site_fault, None);
        assert!(!status(&site).await.contains("last accepted"));
        daemon.stop().await;
    });
}

#[test]
fn every_file_of_the_site_is_kept() {
    in_network(|_network| async {
        let site = Site::new();
        // both ways to write a variable
        site.edit("talconfig.yaml", "clusterName: small", "clusterName: $NAME");
        site.edit("talconfig.yaml", "kubernetesVersion: v1.36.0", "kubernetesVersion: ${KUBERNETES}");
        let mut serve = site.serve();
        serve.env("NAME", "small").env("KUBERNETES", "v1.36.0");
        Daemon::start_by(&site, serve).await.stop().await;

        // all gone, the variables with them; what remains is in the state
        for name in ["ichord.yaml", "talconfig.yaml", "talsecret.yaml", "handover/namespaces.yaml"] {
            std::fs::remove_file(site.path(name)).unwrap();
        }
        let daemon = Daemon::start(&site).await;
        let status = daemon.status().await;
        assert_eq!(status.site, "small");
        assert_eq!(status.view.nodes.len(), 2);
        assert!(status.site_fault.unwrap().contains("ichord.yaml"));
        daemon.stop().await;
    });
}

#[test]
fn a_site_that_could_not_be_started_with_is_not_the_last_accepted_one() {
    in_network(|_network| async {
        let site = Site::new();
        Daemon::start(&site).await.stop().await;
        // no fault of the files, but this host has no such interface
        site.edit("ichord.yaml", "interface: br0", "interface: eno7");
        assert_eq!(run(site.serve()).await.code, Some(1));
        // now they have a fault, too
        site.edit("ichord.yaml", "  cp1: {", "  cp9: {");
        let daemon = Daemon::start(&site).await;
        assert!(daemon.status().await.site_fault.is_some());
        daemon.stop().await;
    });
}

#[test]
fn without_its_key_the_last_accepted_site_is_no_help() {
    in_network(|_network| async {
        let site = Site::new();
        Daemon::start(&site).await.stop().await;
        std::fs::remove_file(site.state().join("vault.key")).unwrap();
        site.edit("ichord.yaml", "  cp1: {", "  cp9: {");
        let Said { code, text, .. } = run(site.serve()).await;
        assert_eq!(code, Some(1));
        // what to mend, and why nothing else helps
        assert!(text.contains("cp9") && text.contains("bring the former key back"), "{text}");
        // mended, it goes on, and keeps the site under the key it has now
        site.edit("ichord.yaml", "  cp9: {", "  cp1: {");
        Daemon::start(&site).await.stop().await;
        site.edit("ichord.yaml", "  cp1: {", "  cp9: {");
        Daemon::start(&site).await.stop().await;
    });
}

#[test]
fn a_bad_edit_is_refused_while_it_runs() {
    in_network(|_network| async {
        let site = Site::new();
        let daemon = Daemon::start(&site).await;
        let other = Site::of_another_cluster();
        let (secrets, manifest) = ("talsecret.yaml", "handover/namespaces.yaml");
        let next = VERSION.replace(".0", ".1");
        let edits: [(&str, &str, &str, &[&str]); 5] = [
            ("ichord.yaml", "  cp1: {", "  cp9: {", &["ichord.yaml:", "cp9"]),
            ("ichord.yaml", "name: sw1", "name: sw2", &["sw"]),
            ("ichord.yaml", "dhcp: authoritative", "dhcp: proxy", &["opened at the start", "restart"]),
            ("ichord.yaml", manifest, "handover/none.yaml", &["none.yaml"]),
            ("talconfig.yaml", VERSION, &next, &[&next, "kernel-amd64"]),
        ];
        for (file, from, to, words) in edits {
            site.edit(file, from, to);
            let Said { code, text, .. } = reload(&site).await;
            assert_eq!(code, Some(1), "{to}");
            assert!(text.contains("the site in force stays"), "{text}");
            let fault = daemon.status().await.site_fault.unwrap();
            for word in words {
                assert!(text.contains(word) && fault.contains(word), "{word:?} is not in: {text}");
            }
            site.edit(file, to, from);
        }
        let ours = site.read(secrets);
        site.write(secrets, &other.read(secrets));
        let Said { code, text, .. } = reload(&site).await;
        assert_eq!(code, Some(1));
        assert!(text.contains("another cluster"), "{text}");

        site.write(secrets, &ours);
        assert_eq!(reload(&site).await.code, Some(0));
        let status = daemon.status().await;
        assert_eq!((status.site_fault, status.view.nodes.len()), (None, 2));
        daemon.stop().await;
    });
}

#[test]
fn a_good_edit_is_taken() {
    in_network(|_network| async {
        let site = Site::new();
        let daemon = Daemon::start(&site).await;
        site.edit("ichord.yaml", "site: small", "site: renamed\ntrust: machine\ndeploy: auto");
        site.edit("ichord.yaml", "name: namespaces", "name: spaces");
        let Said { code, text, .. } = reload(&site).await;
        assert_eq!(code, Some(0), "{text}");
        let status = daemon.status().await;
        assert_eq!(status.site, "renamed");
        // `deploy: auto` needs nobody to say `ichord deploy`
        let waiting = status.view.nodes[&"cp1".into()].waiting.clone().unwrap_or_default();
        assert!(!waiting.contains("ichord deploy"), "{waiting}");
        daemon.stop().await;

        // and it is what a later start goes on with
        site.write("ichord.yaml", "");
        let daemon = Daemon::start(&site).await;
        assert_eq!(daemon.status().await.site, "renamed");
        daemon.stop().await;
    });
}

#[test]
fn a_reload_reads_the_images_again() {
    in_network(|network| async move {
        let site = Site::new();
        let daemon = Daemon::start(&site).await;
        let kernel = |version: &str| {
            let (network, path) = (network.clone(), Site::kernel_url(version));
            async move { network.at_machine(move || async move { fetch(&path).await }).await }
        };
        assert!(kernel(VERSION).await.ends_with("\r\n\r\nkernel"));

        // replaced under the running daemon: its digest is not known until the reload
        site.write_image(VERSION, "a longer kernel");
        assert!(kernel(VERSION).await.starts_with("HTTP/1.1 500"));
        assert_eq!(reload(&site).await.code, Some(0));
        assert!(kernel(VERSION).await.ends_with("\r\n\r\na longer kernel"));

        let next = VERSION.replace(".0", ".1");
        site.write_image(&next, "the next kernel");
        site.edit("talconfig.yaml", VERSION, &next);
        assert!(kernel(&next).await.starts_with("HTTP/1.1 404"));
        let Said { code, text, .. } = reload(&site).await;
        assert_eq!(code, Some(0), "{text}");
        assert!(kernel(&next).await.ends_with("\r\n\r\nthe next kernel"));
        daemon.stop().await;
    });
}

#[test]
fn a_reload_reaches_dhcp() {
    in_network(|network| async move {
        let site = Site::new();
        let daemon = Daemon::start(&site).await;
        let last_octet = || network.at_machine(|| async { offered().await.yiaddr.octets()[3] });
        assert!((100..=199).contains(&last_octet().await));
        site.edit("ichord.yaml", "10.77.0.100-10.77.0.199", "10.77.0.200-10.77.0.209");
        let Said { code, text, .. } = reload(&site).await;
        assert_eq!(code, Some(0), "{text}");
        assert!((200..=209).contains(&last_octet().await));
        daemon.stop().await;
    });
}
