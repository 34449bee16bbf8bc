//! The program: reads the command line and runs one command. What each command does is in `cli`, one
//! file a command; how the daemon is put together is in `app`.

mod app;
mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // one TLS provider for everything that ever speaks TLS here; the first line, before any thread
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("ichord: a TLS provider was installed twice");
        return ExitCode::FAILURE;
    }
    cli::run(cli::Arguments::parse())
}
