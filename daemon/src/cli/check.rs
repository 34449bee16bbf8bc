//! `ichord check`: every fault of a site, before anything boots.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use site::Site;

use super::{Failure, print};
use crate::app::{self, Disk};

/// Reads a site's files and shows every fault with its place and what would be right.
///
/// Needs no privileges and touches nothing. Exit code 2 when there are errors; warnings alone pass.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ichord check profiles/home-ops")]
pub(crate) struct Check {
    /// the site's folder
    site: PathBuf,
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let environment: BTreeMap<String, String> = std::env::vars().collect();
        let checked = Site::load(&self.site, &Disk, &environment).and_then(|(site, mut findings)| {
            let (_, warnings) = app::steps(&site, &Disk)?;
            findings.extend(warnings.iter().cloned());
            Ok((site, findings))
        });
        match checked {
            Ok((site, findings)) => {
                for finding in findings.iter() {
                    eprintln!("{finding}\n");
                }
                let plan = site.plan();
                let control_planes = plan.control_planes().count();
                print(&format!(
                    "{}: {} control planes, {} workers, {} warnings\n",
                    site.name(),
                    control_planes,
                    plan.nodes.len() - control_planes,
                    findings.warnings()
                ))
            }
            Err(findings) => {
                for finding in findings.iter() {
                    eprintln!("{finding}\n");
                }
                eprintln!("{} errors, {} warnings", findings.errors(), findings.warnings());
                Err(Failure::Faults)
            }
        }
    }
}
