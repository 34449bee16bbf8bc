//! Files to [`Site`]: read, convert, check. Everything wrong is reported together.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use document::{Document, Finding, Findings, Keys, Position};
use talos_config::talconfig::{self, Sources, TalConfig};

use crate::{check, convert, https, model::Site, power, secrets, snmp, wire};

/// The site file's name.
const SITE_FILE: &str = "ichord.yaml";

/// Where talhelper looks for variables, in its order.
const ENVIRONMENT_FILES: [&str; 4] = ["talenv.yaml", "talenv.sops.yaml", "talenv.yml", "talenv.sops.yml"];

/// What a reference to a value that is in no file of the site begins with.
pub(crate) const ELSEWHERE: [&str; 3] = ["op://", "env:", "credential:"];

/// How files are read. The edge reads the disk; tests read a map.
pub trait Files {
    /// The text of a file, decrypted where it is encrypted; or what a reference such as `op://vault/item/field` refers to.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// Whether there is such a file; for those whose content is nobody's business here.
    fn exists(&self, path: &Path) -> bool;
}

impl Site {
    /// Reads the site in a directory. With an error among the findings there is no site.
    ///
    /// `environment` is for `${VAR}` in talconfig.yaml; talenv.yaml beside it is read, too.
    pub fn load(
        directory: &Path,
        files: &dyn Files,
        environment: &BTreeMap<String, String>,
    ) -> Result<(Self, Findings), Findings> {
        let mut findings = Findings::new();
        let site = load(directory, files, environment, &mut findings);
        findings.sort();
        match site {
            Some(site) if !findings.has_errors() => Ok((site, findings)),
            _ => Err(findings),
        }
    }
}

fn load(
    directory: &Path,
    files: &dyn Files,
    environment: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Option<Site> {
    let path = directory.join(SITE_FILE);
    let text = read(&path, files, findings)?;
    let document = match Document::parse(&path.display().to_string(), &text) {
        Ok(document) => document,
        Err(finding) => {
            findings.push(finding);
            return None;
        }
    };
    let (file, faults) = document.decode::<wire::File>(Keys::Strict);
    findings.extend(faults);
    let mut file = file?;
    let https = https::read(file.https.0.take(), &document, directory, files, findings);
    let talconfig = directory.join(file.talconfig.0.as_deref().unwrap_or("talconfig.yaml"));
    let cluster = talconfig_at(&talconfig, files, environment, findings);
    let folders = [directory, talconfig.parent().unwrap_or(directory)];
    let secrets = secrets::path(file.secrets.0.as_deref(), folders, files, document.place(), findings);
    let mut site = convert::site(file, &document, directory, cluster, secrets, findings)?;
    site.https = https;
    power::passwords(&mut site, &document, directory, files, findings);
    snmp::communities(&mut site, &document, directory, files, findings);
    check::site(&site, &document, files, findings);
    Some(site)
}

fn talconfig_at(
    path: &Path,
    files: &dyn Files,
    environment: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Option<TalConfig> {
    let directory: PathBuf = path.parent().map(Path::to_owned).unwrap_or_default();
    let mut environment = environment.clone();
    for name in ENVIRONMENT_FILES {
        let path = directory.join(name);
        if files.exists(&path) {
            environment.extend(variables(&path, files, findings));
        }
    }
    let text = read(path, files, findings)?;
    let read = |path: &Path| files.read(path);
    let sources = Sources { directory: &directory, read: &read, environment: &environment };
    let (cluster, faults) = talconfig::load(&path.display().to_string(), &text, &sources);
    findings.extend(faults);
    cluster
}

fn read(path: &Path, files: &dyn Files, findings: &mut Findings) -> Option<String> {
    match files.read(path) {
        Ok(text) => Some(text),
        Err(error) => {
            let file = path.display().to_string();
            let finding = Finding::about_file(file, "file", format!("the file cannot be read: {error}"));
            findings.push(match error.kind() {
                io::ErrorKind::NotFound => finding.fix("create it, or name the directory of a site"),
                _ => finding,
            });
            None
        }
    }
}

/// The variables of a talenv file.
fn variables(path: &Path, files: &dyn Files, findings: &mut Findings) -> BTreeMap<String, String> {
    let Some(text) = read(path, files, findings) else { return BTreeMap::new() };
    let name = path.display().to_string();
    if let Some(line) =
        (1..).zip(text.lines()).find_map(|(line, text)| text.starts_with("sops:").then_some(line))
    {
        let message = "the file is encrypted with SOPS, and was not decrypted";
        let finding = Finding::error(&name, Position { line, column: 1 }, "sops", message);
        findings.push(finding.fix("decrypt it with `sops decrypt`, or set the variables in the environment"));
        return BTreeMap::new();
    }
    match talconfig::environment(&text) {
        Ok(variables) => variables,
        Err(error) => {
            let at = Position { line: error.line, column: 1 };
            findings.push(Finding::error(&name, at, "talenv", error.to_string()));
            BTreeMap::new()
        }
    }
}
