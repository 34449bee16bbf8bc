//! Both ways of rendering a site.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use document::Findings;
use oracles::Tool;
use talos_config::secrets::SecretsBundle;
use talos_config::talconfig::{Sources, TalConfig, environment, load};

/// Where talhelper looks for variables, in its order.
const ENVIRONMENTS: [&str; 4] = ["talenv.yaml", "talenv.sops.yaml", "talenv.yml", "talenv.sops.yml"];

/// 2026-11-23T00:00:00Z.
const NOW: u64 = 1_795_392_000;

pub(crate) static SECRETS: LazyLock<SecretsBundle> = LazyLock::new(|| {
    let mut secrets = SecretsBundle::generate(NOW).expect("a bundle");
    // as in clusters that are older than Talos 1.3
    secrets.aescbc_encryption_secret = secrets.secretbox_encryption_secret.clone();
    secrets
});

/// Configs by the name of their file.
pub(crate) type Rendered = BTreeMap<String, String>;

/// The folders under `sites`.
pub(crate) fn sites() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sites");
    let mut sites: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the sites").map(|entry| entry.expect("an entry").path()).collect();
    sites.sort();
    sites
}

pub(crate) fn name(site: &Path) -> &str {
    site.file_name().and_then(|name| name.to_str()).expect("a name")
}

/// A site with all that is said about it.
pub(crate) fn loaded(site: &Path) -> (TalConfig, Findings) {
    let mut variables = BTreeMap::new();
    for file in ENVIRONMENTS.map(|name| site.join(name)).iter().filter(|file| file.exists()) {
        variables.extend(environment(&std::fs::read_to_string(file).expect("reads")).expect("variables"));
    }
    let text = std::fs::read_to_string(site.join("talconfig.yaml")).expect("reads");
    let read = |path: &Path| std::fs::read_to_string(path);
    let sources = Sources { directory: site, read: &read, environment: &variables };
    let (config, findings) = load("talconfig.yaml", &text, &sources);
    (config.unwrap_or_else(|| panic!("{}: {findings}", name(site))), findings)
}

/// What this crate makes of a site.
pub(crate) fn ours(site: &Path) -> Rendered {
    let (config, _) = loaded(site);
    let rendered = config.nodes.iter().map(|node| {
        let rendered =
            config.machine_config(node, &SECRETS).unwrap_or_else(|error| panic!("{}: {error}", name(site)));
        let text = rendered.to_yaml().expect("writes");
        (config.file_name(node).expect("a name"), text.to_string())
    });
    rendered.collect()
}

/// What talhelper makes of it; nothing where it cannot be built.
pub(crate) fn theirs(site: &Path) -> Option<Rendered> {
    let program = Tool::Talhelper.for_test()?;
    let scratch = tempfile::tempdir().expect("a folder");
    let secrets = scratch.path().join("talsecret.yaml");
    std::fs::write(&secrets, SECRETS.to_yaml().expect("writes").as_bytes()).expect("writes");
    let out = scratch.path().join("out");
    let output = Command::new(program)
        .args(["genconfig", "--offline-mode", "--config-file"])
        .arg(site.join("talconfig.yaml"))
        .arg("--env-file")
        .arg(ENVIRONMENTS.map(|name| site.join(name).display().to_string()).join(","))
        .arg("--secret-file")
        .arg(&secrets)
        .arg("--out-dir")
        .arg(&out)
        .current_dir(scratch.path())
        .env_clear()
        .output()
        .expect("talhelper starts");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: talhelper: {said}", name(site));
    let mut rendered = Rendered::new();
    for entry in std::fs::read_dir(&out).expect("files") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).expect("reads");
            rendered.insert(name(&path).to_owned(), text);
        }
    }
    Some(rendered)
}
