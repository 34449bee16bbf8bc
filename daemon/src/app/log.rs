//! Logs: to the journal with their fields when systemd started us, otherwise to standard error.

use std::{io::IsTerminal as _, str::FromStr};

use anyhow::Context as _;
use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// What a log line looks like on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// for people; structured fields go to the journal instead when systemd reads standard error
    Text,
    /// one JSON object a line
    Json,
}

/// Starts logging. `RUST_LOG` chooses what is logged; the default is every decision (`info`).
pub(crate) fn start(format: Format) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) => EnvFilter::from_str(&directives).with_context(|| {
            format!("RUST_LOG is {directives:?}; expected for example `info,serve=debug`")
        })?,
        // the TLS and HTTP libraries have nothing to say to an operator below a warning
        Err(_) => EnvFilter::new("info,hyper=warn,rustls=warn,h2=warn,tower=warn"),
    };
    let layer = match format {
        Format::Json => tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr).boxed(),
        // systemd sets this where standard error goes to the journal (systemd.exec(5))
        Format::Text if std::env::var_os("JOURNAL_STREAM").is_some() => tracing_journald::layer()?.boxed(),
        Format::Text => {
            let colours = std::io::stderr().is_terminal();
            tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr).boxed()
        }
    };
    tracing_subscriber::registry().with(filter).with(layer).try_init()?;
    Ok(())
}
