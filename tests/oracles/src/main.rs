//! `oracles [TOOL…]`: builds the tools that are missing and prints where each one is.

use std::process::ExitCode;
use std::time::Instant;

use oracles::Tool;

/// There is no Go here, as against a build that went wrong.
const NO_GO: u8 = 3;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| !Tool::ALL.iter().any(|tool| tool.name() == *name)) {
        eprintln!("there is no tool {unknown}; the tools are: {}", Tool::ALL.map(Tool::name).join(", "));
        return ExitCode::from(2);
    }
    for tool in Tool::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == tool.name()) {
            continue;
        }
        let began = Instant::now();
        match tool.path() {
            Ok(program) => {
                println!("{}", program.display());
                eprintln!("{}: {:.1} s", tool.name(), began.elapsed().as_secs_f64());
            }
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(if matches!(error, oracles::Error::NoGo(..)) { NO_GO } else { 1 });
            }
        }
    }
    ExitCode::SUCCESS
}
