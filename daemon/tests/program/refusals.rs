//! What the daemon cannot start with: one error that names it and says what to do, a failing exit code, and
//! nothing left behind that hinders the next start.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use crate::{
    daemon::{Daemon, Said, in_network, run},
    site::{Site, VERSION},
};

/// Exit codes: a fault of the site's files, and anything else.
const FAULTY: i32 = 2;
const FAILED: i32 = 1;

/// Runs a command that must fail with one error that has all these words; answers the error.
async fn fails(site: &Site, command: Command, code: i32, words: &[&str]) -> String {
    let before = site.socket().exists();
    let Said { code: found, text, .. } = run(command).await;
    assert_eq!(found, Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    let errors: Vec<&str> =
        text.lines().filter(|line| line.starts_with("ichord: ") || line.contains(": error[")).collect();
    assert_eq!(errors.len(), 1, "one error is asked for: {text}");
    // a cause told twice
    for cause in ["os error", "No such file", "already"] {
        assert!(errors[0].matches(cause).count() < 2, "{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
    assert_eq!(site.socket().exists(), before, "a socket file was left behind");
    errors[0].to_owned()
}

/// What was refused left nothing in the way.
async fn works(site: &Site) {
    Daemon::start(site).await.stop().await;
}

#[test]
fn a_site_that_is_not_yaml() {
    in_network(|_network| async {
        let site = Site::new();
        let good = site.read("ichord.yaml");
        site.edit("ichord.yaml", "machines:\n", "machines: [\n");
        let place = site.path("ichord.yaml").display().to_string();
        let mut check = site.command(&["check"]);
        check.arg(site.folder());
        for command in [check, site.serve()] {
            let error = fails(&site, command, FAULTY, &[&place]).await;
            let rest = error.strip_prefix(&place).unwrap();
            let numbers: Vec<u32> =
                rest.split(':').skip(1).take(2).map(|number| number.parse().unwrap()).collect();
            // the bracket opens in line 10; what does not belong inside is found after it
            assert!(numbers[0] >= 10 && numbers[1] >= 1, "{error}");
        }
        assert!(!site.state().join("state.db-journal").exists());
        site.write("ichord.yaml", &good);
        works(&site).await;
    });
}

#[test]
fn a_machine_that_is_no_node() {
    in_network(|_network| async {
        let site = Site::new();
        let good = site.read("ichord.yaml");
        site.edit("ichord.yaml", "machines:\n", "machines:\n  cp9: { mac: \"02:00:00:00:00:09\" }\n");
        let line = site.read("ichord.yaml").lines().position(|line| line.starts_with("  cp9")).unwrap() + 1;
        let place = format!("{}:{line}:3: error[", site.path("ichord.yaml").display());
        let mut check = site.command(&["check"]);
        check.arg(site.folder());
        for command in [check, site.serve()] {
            fails(&site, command, FAULTY, &[&place, "cp9", "fix: "]).await;
        }
        site.write("ichord.yaml", &good);
        works(&site).await;
    });
}

#[test]
fn images_that_are_missing_or_changed() {
    in_network(|_network| async {
        let site = Site::new();
        let kernel = site.kernel();
        let name = kernel.display().to_string();

        fs::write(&kernel, "another kernel").unwrap();
        fails(&site, site.serve(), FAILED, &[&name, "sha256sum.txt says", "fetch the image again"]).await;
        fs::remove_file(&kernel).unwrap();
        fails(&site, site.serve(), FAILED, &[&name, "missing: fetch the image again"]).await;
        fs::write(&kernel, "kernel").unwrap();

        let next = VERSION.replace(".0", ".1");
        site.edit("talconfig.yaml", VERSION, &next);
        fails(&site, site.serve(), FAILED, &[&next, "expected kernel-amd64", "sha256sum.txt"]).await;
        site.edit("talconfig.yaml", &next, VERSION);

        site.edit("ichord.yaml", "images: images", "images: pictures");
        let folder = site.path("pictures").display().to_string();
        fails(&site, site.serve(), FAILED, &["no images folder", &folder, "`images`"]).await;
        site.edit("ichord.yaml", "images: pictures", "images: images");
        works(&site).await;
    });
}

#[test]
fn ports_that_others_listen_on() {
    in_network(|_network| async {
        let site = Site::new();
        let web = TcpListener::bind("10.77.0.1:80").unwrap();
        fails(&site, site.serve(), FAILED, &["10.77.0.1:80", "another web server", "in use"]).await;
        drop(web);
        let dhcp = UdpSocket::bind("0.0.0.0:67").unwrap();
        fails(&site, site.serve(), FAILED, &["br0", "UDP port 67", "another program", "ss -ulnp"]).await;
        drop(dhcp);
        works(&site).await;
    });
}

#[test]
fn what_a_running_daemon_holds() {
    in_network(|_network| async {
        let site = Site::new();
        let daemon = Daemon::start(&site).await;

        let state = site.state().display().to_string();
        let holder = format!("process {}", daemon.id());
        fails(&site, site.serve(), FAILED, &[&state, "another ichord", &holder, "stop that one"]).await;

        let other = Site::new();
        other.edit("ichord.yaml", "dhcp: authoritative\n    pool: 10.77.0.100-10.77.0.199", "dhcp: \"off\"");
        let mut serve = other.serve();
        serve.args(["--http-port", "8080", "--socket"]).arg(site.socket());
        let socket = site.socket().display().to_string();
        fails(&site, serve, FAILED, &[&socket, "in use by a running ichord", "--socket"]).await;

        assert_eq!(daemon.status().await.site, "small");
        daemon.stop().await;
        assert!(!site.socket().exists());
        works(&site).await;
    });
}

#[test]
fn interfaces_that_are_not_what_the_site_says() {
    in_network(|_network| async {
        let site = Site::new();
        for (interface, words) in [
            ("eno7", &["\"eno7\"", "there are: lo", "br0"][..]),
            ("p1", &["p1", "no address in 10.77.0.0/24", "has none", "give it one"]),
            ("lo", &["lo", "no address in 10.77.0.0/24", "127.0.0.1/8"]),
        ] {
            site.edit("ichord.yaml", "interface: br0", &format!("interface: {interface}"));
            fails(&site, site.serve(), FAILED, words).await;
            site.edit("ichord.yaml", &format!("interface: {interface}"), "interface: br0");
        }
        site.edit("ichord.yaml", "bridge: br0", "bridge: br9");
        fails(&site, site.serve(), FAILED, &["\"br9\"", "there are: lo", "br0"]).await;
        site.edit("ichord.yaml", "bridge: br9", "bridge: br0");
        works(&site).await;
    });
}

#[test]
fn too_few_capabilities() {
    in_network(|_network| async {
        let site = Site::new();
        for (without, words) in [
            ("-all", &["CAP_NET_RAW CAP_NET_BIND_SERVICE", "AmbientCapabilities=", "setcap"][..]),
            ("-net_raw", &["the capability CAP_NET_RAW is missing", "setcap cap_net_raw+ep"]),
        ] {
            let words_of_setpriv = ["--bounding-set", without, "--inh-caps", "-all"];
            fails(&site, site.serve_by("setpriv", &words_of_setpriv), FAILED, words).await;
            assert!(!site.state().exists(), "refused before anything was made");
        }
        works(&site).await;
    });
}

#[test]
fn secrets_that_are_missing_or_no_secrets() {
    in_network(|_network| async {
        let site = Site::without_secrets();
        let path = site.path("talsecret.yaml").display().to_string();
        fails(&site, site.serve(), FAULTY, &[&path, "ichord secrets new"]).await;
        site.write("talsecret.yaml", "cluster: {}\n");
        fails(&site, site.serve(), FAULTY, &[&path, "not a secrets bundle"]).await;
        fs::remove_file(site.path("talsecret.yaml")).unwrap();
        assert_eq!(run(new_secrets(&site)).await.code, Some(0));
        works(&site).await;
    });
}

fn new_secrets(site: &Site) -> Command {
    let mut command = site.command(&["secrets", "new"]);
    command.arg(site.folder());
    command
}

#[test]
fn secrets_of_another_cluster_than_the_state() {
    in_network(|_network| async {
        let site = Site::new();
        works(&site).await;
        let ours = site.read("talsecret.yaml");
        let other = Site::of_another_cluster();
        site.write("talsecret.yaml", &other.read("talsecret.yaml"));
        fails(
            &site,
            site.serve(),
            FAILED,
            &["belongs to the cluster", "its own state directory", "bring the right secrets back"],
        )
        .await;
        site.write("talsecret.yaml", &ours);
        works(&site).await;
    });
}

#[test]
fn a_state_directory_that_cannot_be_used() {
    in_network(|_network| async {
        let site = Site::new();
        works(&site).await;
        let key = site.state().join("vault.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let name = key.display().to_string();
        fails(&site, site.serve(), FAILED, &[&name, "0644", "chmod 600"]).await;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        works(&site).await;

        fs::write(site.folder().join("a-file"), "").unwrap();
        let mut serve = site.command(&["serve"]);
        serve.arg(site.folder()).arg("--state").arg(site.folder().join("a-file"));
        fails(&site, serve, FAILED, &["the state directory", "a-file"]).await;
    });
}

#[test]
fn an_admin_socket_that_cannot_be_made() {
    in_network(|_network| async {
        let site = Site::new();
        let file = site.path("precious");
        fs::write(&file, "not a socket").unwrap();
        let deep = site.path("not/there/ichord.sock");
        for (socket, words) in [
            (&file, ["precious is not a socket", "--socket another path"]),
            (&deep, ["not/there cannot be made", "--socket another path"]),
        ] {
            let mut serve = site.serve();
            serve.arg("--socket").arg(socket);
            fails(&site, serve, FAILED, &words).await;
        }
        assert_eq!(fs::read(&file).unwrap(), b"not a socket");
        works(&site).await;
    });
}

#[tokio::test]
async fn a_log_filter_that_is_none() {
    let site = Site::new();
    let mut serve = site.serve();
    serve.env("RUST_LOG", "serve=loudly");
    fails(&site, serve, FAILED, &["RUST_LOG is \"serve=loudly\"", "expected for example"]).await;
    assert!(!site.state().exists());
}
