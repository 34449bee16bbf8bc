//! `ichord check`: every fault of a site, before anything boots.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use document::Findings;
use serde_json::json;
use site::Site;

use super::{Failure, print};
use crate::app::{self, Disk};

/// Reads a site's files and shows every fault with its place and what would be right.
///
/// Needs no privileges and touches nothing. Exit code 2 when there are errors; warnings alone pass.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ichord check profiles/home-ops
  ichord check profiles/home-ops --json | jq '.findings[] | select(.severity == \"error\")'
  ichord check --rules                    every rule, one a line")]
pub(crate) struct Check {
    /// the site's folder
    #[arg(required_unless_present = "rules")]
    site: Option<PathBuf>,
    /// print one JSON object: the findings with file, line, column, rule and fix, and how many there are
    #[arg(long)]
    json: bool,
    /// list every rule with what it asks for, and check nothing
    #[arg(long, conflicts_with = "site")]
    rules: bool,
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Some(directory) = &self.site else { return rules(self.json) };
        let environment: BTreeMap<String, String> = std::env::vars().collect();
        let checked = Site::load(directory, &Disk, &environment).and_then(|(site, mut findings)| {
            let (_, warnings) = app::steps(&site, &Disk)?;
            findings.extend(warnings.iter().cloned());
            Ok((site, findings))
        });
        let (site, findings) = match checked {
            Ok((site, findings)) => (Some(site), findings),
            Err(findings) => (None, findings),
        };
        if self.json {
            print(&report(site.as_ref(), &findings)?)?;
        } else {
            for finding in findings.iter() {
                eprintln!("{finding}\n");
            }
            match &site {
                Some(site) => print(&summary(site, &findings))?,
                None => eprintln!("{} errors, {} warnings", findings.errors(), findings.warnings()),
            }
        }
        if site.is_some() { Ok(()) } else { Err(Failure::Faults) }
    }
}

fn rules(as_json: bool) -> Result<(), Failure> {
    let mut rules = site::rules();
    rules.extend(handover::RULES);
    rules.sort_unstable();
    if as_json {
        return print(&(serde_json::to_string_pretty(&rules).context("the rules cannot be written")? + "\n"));
    }
    let widest = rules.iter().map(|rule| rule.id.len()).max().unwrap_or_default();
    let lines: String = rules.iter().map(|rule| format!("{:<widest$}  {}\n", rule.id, rule.about)).collect();
    print(&lines)
}

fn summary(site: &Site, findings: &Findings) -> String {
    let plan = site.plan();
    let control_planes = plan.control_planes().count();
    let workers = plan.nodes.len() - control_planes;
    format!(
        "{}: {control_planes} control planes, {workers} workers, {} warnings\n",
        site.name(),
        findings.warnings()
    )
}

fn report(site: Option<&Site>, findings: &Findings) -> anyhow::Result<String> {
    let report = json!({
        "site": site.map(Site::name),
        "errors": findings.errors(),
        "warnings": findings.warnings(),
        "findings": findings,
    });
    Ok(serde_json::to_string_pretty(&report).context("the findings cannot be written")? + "\n")
}
