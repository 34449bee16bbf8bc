//! The part of iPXE that the daemon's scripts use, as a machine without I/O: [`Ipxe::step`] says what to
//! do next, the answer goes back in. What it does not know it refuses, as iPXE does a missing command.
//!
//! As in iPXE (`src/core/exec.c`), a line is split at white space, a word that is `||` or `&&` ends a
//! command, one that begins with `#` ends the line, and only then `${…}` is expanded.

mod settings;

use std::collections::BTreeMap;

pub use settings::{Neighbour, Settings};

/// How often a script may do something before it counts as a loop without end.
const PATIENCE: u32 = 100_000;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// wait so many seconds
    Sleep(u64),
    /// fetch a script and give it to [`Ipxe::script`]
    Script(String),
    /// fetch a file and give its digest to [`Ipxe::image`]
    Image(String),
    /// show a line
    Echo(String),
    /// boot what was fetched
    Boot(Boot),
    /// boot the own disk by BIOS calls; [`Ipxe::failed`] if there is nothing to boot
    SanBoot,
    /// leave; the firmware goes on with its next entry
    Exit,
    /// the script failed
    Failed(String),
}

/// A kernel to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// where it came from
    pub kernel: String,
    /// its arguments
    pub cmdline: String,
    /// where the initial RAM disks came from
    pub initrds: Vec<String>,
    /// whether every fetched file had the digest that the script names for it
    pub intact: bool,
}

/// Why a command failed; iPXE has numbers for it.
type Outcome = Result<(), String>;

/// iPXE with a script.
#[derive(Debug, Clone)]
pub struct Ipxe {
    /// what `${…}` finds
    pub settings: Settings,
    lines: Vec<String>,
    at: usize,
    /// the rest of the line: the end that stands before each command, and its words
    rest: Vec<(End, Vec<String>)>,
    outcome: Outcome,
    digests: BTreeMap<String, String>,
    kernel: Option<(String, String)>,
    initrds: Vec<String>,
    intact: bool,
    waiting: Option<Fetch>,
    steps: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Start,
    OnFailure,
    OnSuccess,
}

#[derive(Debug, Clone)]
enum Fetch {
    Chain,
    Kernel { url: String, cmdline: String },
    Initrd { url: String },
}

impl Ipxe {
    /// Ready to load its first script, whose address is the DHCP boot file.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            lines: Vec::new(),
            at: 0,
            rest: Vec::new(),
            outcome: Ok(()),
            digests: BTreeMap::new(),
            kernel: None,
            initrds: Vec::new(),
            intact: true,
            waiting: None,
            steps: 0,
        }
    }

    /// Starts a script; what an earlier one fetched is freed (`chain --replace --autofree`).
    pub fn script(&mut self, text: &str) {
        self.waiting = None;
        if !text.starts_with("#!ipxe") {
            self.outcome = Err("not an iPXE script".to_owned());
            return;
        }
        self.outcome = Ok(());
        self.lines = text.lines().map(str::to_owned).collect();
        (self.at, self.rest, self.kernel, self.intact) = (0, Vec::new(), None, true);
        self.initrds.clear();
        let digest = |line: &String| {
            let mut words = line.strip_prefix("# sha256 ")?.split_ascii_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_ascii_lowercase()))
        };
        self.digests = self.lines.iter().filter_map(digest).collect();
    }

    /// A file is here; its SHA-256 in hexadecimal, and the one its server promised, if any.
    pub fn image(&mut self, digest: &str, promised: Option<&str>) {
        let url = match self.waiting.take() {
            Some(Fetch::Kernel { url, cmdline }) => {
                self.kernel = Some((url.clone(), cmdline));
                url
            }
            Some(Fetch::Initrd { url }) => {
                self.initrds.push(url.clone());
                url
            }
            Some(Fetch::Chain) | None => return,
        };
        let name = url.rsplit('/').next().unwrap_or_default();
        let named = self.digests.get(name).map(String::as_str);
        self.intact &=
            named.is_none_or(|wanted| wanted == digest) && promised.is_none_or(|wanted| wanted == digest);
        self.outcome = Ok(());
    }

    /// What was to be done did not succeed.
    pub fn failed(&mut self, why: &str) {
        self.waiting = None;
        self.outcome = Err(why.to_owned());
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        loop {
            self.steps += 1;
            if self.steps > PATIENCE {
                return Step::Failed("the script does not end".to_owned());
            }
            if self.rest.is_empty() {
                if let Err(why) = &self.outcome {
                    return Step::Failed(why.clone());
                }
                let Some(line) = self.lines.get(self.at) else {
                    return Step::Exit;
                };
                self.rest = split(line);
                self.at += 1;
                continue;
            }
            let (end, words) = self.rest.remove(0);
            let go = match end {
                End::Start => true,
                End::OnFailure => self.outcome.is_err(),
                End::OnSuccess => self.outcome.is_ok(),
            };
            if go {
                let words: Vec<String> = words.iter().map(|word| self.settings.expand(word)).collect();
                if let Some(step) = self.command(&words) {
                    return step;
                }
            }
        }
    }

    /// Runs a command; some need the outside.
    fn command(&mut self, words: &[String]) -> Option<Step> {
        self.outcome = Ok(());
        let (name, arguments) = words.split_first()?;
        let argument = |index: usize| arguments.get(index).cloned().unwrap_or_default();
        match name.as_str() {
            "set" => {
                let name = argument(0);
                let name = name.split(':').next().unwrap_or_default().to_owned();
                self.settings.set(name, arguments.get(1..).unwrap_or_default().join(" "));
            }
            "inc" => {
                let by = arguments.get(1).map_or(Ok(1), |text| text.parse::<i64>());
                let value = self.settings.variable(&argument(0)).unwrap_or_default().parse::<i64>();
                match (value, by) {
                    (Ok(value), Ok(by)) => self.settings.set(argument(0), (value + by).to_string()),
                    _ => self.outcome = Err(format!("inc {}: not a number", argument(0))),
                }
            }
            "isset" if argument(0).is_empty() => self.outcome = Err("isset: no".to_owned()),
            "isset" => {}
            "iseq" if argument(0) != argument(1) => self.outcome = Err("iseq: no".to_owned()),
            "iseq" => {}
            // the machine has one card, which is open and has a link while there is power
            "ifopen" | "iflinkwait" => {
                let card = operands(arguments).into_iter().next().unwrap_or_default();
                if card != "net0" {
                    self.outcome = Err(format!("{name} {card}: no such card"));
                }
            }
            "goto" => self.goto(&argument(0)),
            "echo" => return Some(Step::Echo(arguments.join(" "))),
            "imgfree" => {
                self.kernel = None;
                self.initrds.clear();
            }
            "sleep" => match argument(0).parse() {
                Ok(seconds) => return Some(Step::Sleep(seconds)),
                Err(_) => self.outcome = Err(format!("sleep {}: not a number", argument(0))),
            },
            "chain" => {
                self.waiting = Some(Fetch::Chain);
                return Some(Step::Script(operands(arguments).into_iter().next().unwrap_or_default()));
            }
            "kernel" => {
                let mut operands = operands(arguments).into_iter();
                let url = operands.next().unwrap_or_default();
                let cmdline = operands.collect::<Vec<_>>().join(" ");
                self.waiting = Some(Fetch::Kernel { url: url.clone(), cmdline });
                return Some(Step::Image(url));
            }
            "initrd" => {
                let url = operands(arguments).into_iter().next().unwrap_or_default();
                self.waiting = Some(Fetch::Initrd { url: url.clone() });
                return Some(Step::Image(url));
            }
            "boot" => match self.kernel.clone() {
                Some((kernel, cmdline)) => {
                    let (initrds, intact) = (self.initrds.clone(), self.intact);
                    return Some(Step::Boot(Boot { kernel, cmdline, initrds, intact }));
                }
                None => self.outcome = Err("boot: no image".to_owned()),
            },
            "sanboot" => return Some(Step::SanBoot),
            "exit" => return Some(Step::Exit),
            label if label.starts_with(':') => {}
            unknown => self.outcome = Err(format!("{unknown}: command not found")),
        }
        None
    }

    fn goto(&mut self, label: &str) {
        let wanted = format!(":{label}");
        match self.lines.iter().position(|line| line.trim() == wanted) {
            Some(line) => {
                self.at = line + 1;
                self.rest.clear();
            }
            None => self.outcome = Err(format!("goto {label}: no such label")),
        }
    }
}

/// A line's commands with what stands before each.
fn split(line: &str) -> Vec<(End, Vec<String>)> {
    let mut commands = Vec::new();
    let mut current = (End::Start, Vec::new());
    for word in line.split_ascii_whitespace() {
        let end = match word {
            "||" => End::OnFailure,
            "&&" => End::OnSuccess,
            comment if comment.starts_with('#') => break,
            word => {
                current.1.push(word.to_owned());
                continue;
            }
        };
        commands.push(std::mem::replace(&mut current, (end, Vec::new())));
    }
    commands.push(current);
    commands
}

/// The arguments without options; of these only `--name` and `--timeout` have a value. Options end at
/// the first operand, so that a kernel's own arguments stay as they are.
fn operands(arguments: &[String]) -> Vec<String> {
    let mut rest = arguments;
    while let [option, tail @ ..] = rest {
        rest = match option.as_str() {
            "--name" | "-n" | "--timeout" | "-t" => tail.get(1..).unwrap_or_default(),
            flag if flag.starts_with("--") => tail,
            _ => break,
        };
    }
    rest.to_vec()
}

#[cfg(test)]
mod tests;
