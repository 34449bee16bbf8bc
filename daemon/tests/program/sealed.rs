//! Files that the user's own `sops`, `age` and `op` must open: stand-ins for them, on a PATH of their own, that write down what they
//! were told.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    daemon::{Said, run},
    site::{Site, mode},
};

/// What a file of SOPS looks like to us.
const ENCRYPTED: &str = "cluster: ENC[AES256_GCM,data:x,type:str]\nsops:\n    version: 3.11.0\n";

/// A folder of stand-ins; each is a script that is told where it may write.
pub(crate) struct Programs(tempfile::TempDir);

impl Programs {
    pub(crate) fn none() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn with(self, name: &str, script: &str) -> Self {
        let path = self.0.path().join(name);
        let log = self.log(name).display().to_string();
        fs::write(&path, format!("#!/bin/sh\necho \"$# $*\" >>{log}\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn log(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.log"))
    }

    /// What a stand-in was told, a line a start.
    pub(crate) fn told(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.log(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// `ichord WORDS SITE MORE` among these programs; what the scripts themselves need comes after them.
    pub(crate) fn command(&self, site: &Site, words: &[&str], more: &[&str]) -> Command {
        let mut command = site.command(words);
        command
            .arg(site.folder())
            .args(more)
            .env("PATH", format!("{}:/usr/bin:/bin", self.0.path().display()));
        command
    }
}

/// The site's secrets, put aside where only the stand-ins find them.
fn put_aside(site: &Site) -> PathBuf {
    let aside = site.folder().with_file_name("aside.yaml");
    fs::rename(site.path("talsecret.yaml"), &aside).unwrap();
    aside
}

#[tokio::test]
async fn encrypted_files_are_opened_by_sops_and_told_to_nobody() {
    let site = Site::new();
    let aside = put_aside(&site);
    site.write("talsecret.sops.yaml", ENCRYPTED);
    site.write("talenv.sops.yaml", "NAME: ENC[AES256_GCM,data:x,type:str]\nsops:\n    version: 3.11.0\n");
    site.edit("talconfig.yaml", "clusterName: small", "clusterName: ${NAME}");
    let script = format!("case $2 in *talenv*) echo 'NAME: hidden';; *) cat {};; esac", aside.display());
    let programs = Programs::none().with("sops", &script);

    let Said { code, text, out } = run(programs.command(&site, &["kubeconfig"], &[])).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(out.contains("current-context: admin@hidden"), "{out}");
    let mut told = programs.told("sops");
    told.sort();
    told.dedup();
    let file = |name: &str| format!("2 --decrypt {}", site.path(name).display());
    assert_eq!(told, [file("talenv.sops.yaml"), file("talsecret.sops.yaml")]);
    assert_eq!(site.read("talsecret.sops.yaml"), ENCRYPTED, "what is encrypted stays so");
    let names: Vec<_> =
        fs::read_dir(site.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name == "talsecret.yaml"), "nothing plain is left behind: {names:?}");
}

#[tokio::test]
async fn a_sops_that_cannot_is_one_clear_error() {
    let site = Site::new();
    let plain = fs::read_to_string(put_aside(&site)).unwrap();
    let token = plain.lines().find_map(|line| line.trim().strip_prefix("token: ")).unwrap().to_owned();
    site.write("talsecret.sops.yaml", ENCRYPTED);
    let file = site.path("talsecret.sops.yaml").display().to_string();
    for (script, words) in [
        (None, &["there is no program `sops` on the PATH", "install it"][..]),
        (
            Some("echo 'Failed to get the data key: no identity matched' >&2; exit 128".to_owned()),
            &["exit status: 128", "no identity matched"],
        ),
        // whatever it says once it has begun to print is not repeated
        (Some(format!("echo 'token: {token}'; echo 'bad {token}' >&2; exit 1")), &["exit status: 1"]),
        (Some(format!("echo 'AGE-SECRET-KEY-{token} is no key' >&2; exit 1")), &["… is no key"]),
        (Some(format!("cat {file}")), &["still encrypted"]),
        (Some("echo 'a: b'".to_owned()), &["is not a secrets bundle"]),
    ] {
        let programs = match &script {
            Some(script) => Programs::none().with("sops", script),
            None => Programs::none(),
        };
        let mut command = programs.command(&site, &["kubeconfig"], &[]);
        if script.is_none() {
            command.env("PATH", programs.0.path());
        }
        let Said { code, text, out } = run(command).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{script:?}: {text}");
        assert!(text.contains(&file) && words.iter().all(|word| text.contains(word)), "{script:?}: {text}");
        assert!(!text.contains(&token) && text.lines().count() == 1, "{script:?}: {text}");
        assert!(!text.contains("secrets new"), "what is there need not be made: {text}");
    }
}

#[tokio::test]
async fn a_reference_is_read_by_op() {
    let site = Site::new();
    let aside = put_aside(&site);
    let reference = "op://private/home ops/talsecret.yaml";
    site.edit("ichord.yaml", "site: small", &format!("site: small\nsecrets: {reference}"));
    let programs = Programs::none().with("op", &format!("cat {}", aside.display()));
    let Said { code, text, out } = run(programs.command(&site, &["talosconfig"], &[])).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(out.contains("context: small"), "{out}");
    assert_eq!(programs.told("op"), [format!("3 read --no-newline {reference}")]);

    let programs = Programs::none().with("op", "echo '[ERROR] item not found' >&2; exit 1");
    let Said { code, text, .. } = run(programs.command(&site, &["talosconfig"], &[])).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains(reference) && text.contains("item not found") && text.contains("op whoami"),
        "{text}"
    );

    // nothing is made for it, and nothing is asked of 1Password to check the rest
    let programs = Programs::none().with("op", "exit 1");
    let Said { code, text, .. } = run(programs.command(&site, &["secrets", "new"], &[])).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("1Password"), "{text}");
    let Said { code, text, .. } = run(programs.command(&site, &["check"], &[])).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("secrets-missing") && programs.told("op").is_empty(), "{text}");
}

#[tokio::test]
async fn both_names_of_the_file_are_read_and_none_is_written_where_one_is() {
    for (name, also) in [("secrets.yaml", "talsecret.yml"), ("talsecret.yml", "secrets.yaml")] {
        let site = Site::new();
        let text = site.read("talsecret.yaml");
        fs::rename(site.path("talsecret.yaml"), site.path(name)).unwrap();
        let programs = Programs::none();
        assert_eq!(run(programs.command(&site, &["kubeconfig"], &[])).await.code, Some(0), "{name}");
        // a second bundle would be a second cluster
        let Said { code, text: said, .. } = run(programs.command(&site, &["secrets", "new"], &[])).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(name) && !site.path("talsecret.yaml").exists(), "{said}");
        assert_eq!(site.read(name), text);
        // the one named is made, under either name
        site.edit("ichord.yaml", "site: small", &format!("site: small\nsecrets: {also}"));
        assert_eq!(run(programs.command(&site, &["secrets", "new"], &[])).await.code, Some(0));
        assert_eq!(mode(&site.path(also)), 0o600);
    }
}

#[tokio::test]
async fn plain_secrets_are_not_put_into_a_file_that_is_called_encrypted() {
    let site = Site::without_secrets();
    site.edit("ichord.yaml", "site: small", "site: small\nsecrets: talsecret.sops.yaml");
    let Said { code, text, .. } = run(Programs::none().command(&site, &["secrets", "new"], &[])).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("sops") && !site.path("talsecret.sops.yaml").exists(), "{text}");
}

/// Until when the certificate in a talosconfig or kubeconfig is valid, as text: it differs between two.
fn certificate(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find(|line| line.contains("crt: ") || line.contains("client-certificate-data: "));
    line.unwrap().trim().to_owned()
}

#[tokio::test]
async fn credentials_go_into_new_files_and_are_renewed_in_old_ones() {
    let site = Site::new();
    let other = Site::of_another_cluster();
    let programs = Programs::none();
    for what in ["talosconfig", "kubeconfig"] {
        let path = site.path(what);
        let name = path.to_str().unwrap();
        let Said { code, text, .. } = run(programs.command(&site, &[what], &["--out", name])).await;
        assert_eq!((code, mode(&path)), (Some(0), 0o600), "{text}");
        let before = (fs::read(&path).unwrap(), certificate(&path));

        let Said { code, text, .. } = run(programs.command(&site, &[what], &["--out", name])).await;
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("--renew"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), before.0);

        let Said { code, text, .. } = run(programs.command(&site, &[what], &["--renew", name])).await;
        assert_eq!((code, mode(&path)), (Some(0), 0o600), "{text}");
        assert_ne!(certificate(&path), before.1);

        // of another cluster: left as it is
        let before = fs::read(&path).unwrap();
        let Said { code, text, .. } = run(programs.command(&other, &[what], &["--renew", name])).await;
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("stays as it is") && text.contains("this cluster"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    let left = fs::read_dir(site.folder()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().contains(".new")));
}

#[tokio::test]
async fn files_of_age_are_opened_with_the_keys_that_sops_uses() {
    let site = Site::new();
    let aside = put_aside(&site);
    site.write(
        "talsecret.yaml",
        "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n",
    );
    let programs = Programs::none().with("age", &format!("cat {}", aside.display()));
    let command = |keys: Option<&str>| {
        let mut command = programs.command(&site, &["kubeconfig"], &[]);
        command.env_remove("SOPS_AGE_KEY_FILE").env("HOME", "/nonexistent").env_remove("XDG_CONFIG_HOME");
        command.envs(keys.map(|keys| ("SOPS_AGE_KEY_FILE", keys)));
        command
    };
    let Said { code, text, out } = run(command(Some("keys.txt"))).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(out.contains("current-context: admin@small"), "{out}");
    let file = site.path("talsecret.yaml").display().to_string();
    let mut told = programs.told("age");
    told.dedup();
    assert_eq!(told, [format!("4 --decrypt --identity keys.txt {file}")]);

    let Said { code, text, .. } = run(command(None)).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no key is known; set SOPS_AGE_KEY_FILE"), "{text}");
}
