//! `cargo run -p protogen` writes the API code of `talos-api`; with `--check` it writes nothing and fails when
//! the checked-in code is not what the protocol files say.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => protogen::write()?,
        ["--check"] => {
            let stale = protogen::stale()?;
            if !stale.is_empty() {
                eprintln!(
                    "stale in daemon/crates/talos-api/src/gen: {}; run `cargo run -p protogen`",
                    stale.join(", ")
                );
                return Ok(ExitCode::FAILURE);
            }
        }
        _ => {
            eprintln!("usage: protogen [--check]");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}
