//! Programs of the user's own that know what we do not: started without a shell, with limits on time and output.
//!
//! What they print may be secret. It is wiped, and of what they complain about only that is repeated which cannot be:
//! nothing at all once something was printed, and no word that looks like a key.

use std::{
    io::{self, Read, Write as _},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use zeroize::Zeroizing;

/// More than any file of a site has; a program that prints more is not what we think it is. In bytes.
const MOST: u64 = 16 * 1024 * 1024;

/// How much of a complaint is repeated, in characters.
const COMPLAINT: usize = 400;

/// Words at least this long are not English.
const WORD: usize = 32;

/// Why a program gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("there is no program `{0}` on the PATH")]
    Missing(&'static str),
    #[error("`{program}` cannot be started: {source}")]
    Start { program: &'static str, source: io::Error },
    #[error("`{program}` did not finish within {} s", limit.as_secs_f32())]
    Slow { program: &'static str, limit: Duration },
    #[error("`{0}` printed more than 16 MiB")]
    Much(&'static str),
    #[error("`{0}` printed something that is not text")]
    Text(&'static str),
    #[error("`{program}` failed ({status}){said}")]
    Failed { program: &'static str, status: ExitStatus, said: String },
}

/// Runs a program to its end and gives what it printed.
pub(crate) fn output(
    program: &'static str,
    arguments: &[&str],
    limit: Duration,
) -> Result<Zeroizing<String>, ProgramError> {
    answer(program, arguments, None, limit)
}

/// The same, with something to read on its standard input, which nobody else sees.
pub(crate) fn answer(
    program: &'static str,
    arguments: &[&str],
    input: Option<Zeroizing<String>>,
    limit: Duration,
) -> Result<Zeroizing<String>, ProgramError> {
    let mut command = Command::new(program);
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.args(arguments).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ProgramError::Missing(program),
        _ => ProgramError::Start { program, source },
    })?;
    let id = child.id();
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // a program that does not read it is told so by the end of the pipe
        thread::spawn(move || stdin.write_all(input.as_bytes()).ok());
    }
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (ended, end) = mpsc::channel();
    // not joined: when the program is too slow nobody waits for it any more
    thread::spawn(move || {
        let complaint = thread::spawn(move || read(err));
        let printed = read(out);
        let status =
            if printed.len() as u64 > MOST { child.kill().and_then(|()| child.wait()) } else { child.wait() };
        ended.send((printed, complaint.join().unwrap_or_default(), status)).ok();
    });
    let Ok((mut printed, complaint, status)) = end.recv_timeout(limit) else {
        if let Ok(id) = i32::try_from(id) {
            kill(Pid::from_raw(id), Signal::SIGKILL).ok();
        }
        return Err(ProgramError::Slow { program, limit });
    };
    let status = status.map_err(|source| ProgramError::Start { program, source })?;
    if printed.len() as u64 > MOST {
        return Err(ProgramError::Much(program));
    }
    if !status.success() {
        let said = if printed.is_empty() { repeatable(&complaint) } else { String::new() };
        return Err(ProgramError::Failed { program, status, said });
    }
    match String::from_utf8(std::mem::take(&mut printed)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(ProgramError::Text(program))
        }
    }
}

fn read(stream: Option<impl Read>) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::new());
    if let Some(stream) = stream {
        // what broke off is what there was
        stream.take(MOST + 1).read_to_end(&mut bytes).ok();
    }
    bytes
}

/// A complaint on one line, as far as it is made of words.
fn repeatable(complaint: &[u8]) -> String {
    let text = Zeroizing::new(String::from_utf8_lossy(complaint).into_owned());
    let mut said = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let word = if is_plain(word) { word } else { "…" };
        if said.chars().count() + word.chars().count() > COMPLAINT {
            said.push_str(" …");
            break;
        }
        said.push_str(if said.is_empty() { ": " } else { " " });
        said.push_str(word);
    }
    said
}

/// Words, file names, addresses, and public keys of age; not what keys and tokens are made of.
fn is_plain(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    let is_path = word.contains('/') && word.split('/').all(|part| part.len() < WORD);
    let is_secret = ["SECRET", "PRIVATE", "BEGIN", "ops_"].iter().any(|sign| word.contains(sign));
    !is_secret && (word.len() < WORD || is_path || word.starts_with("age1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than anything here takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Result<Zeroizing<String>, ProgramError> {
        output("sh", &["-c", script], PATIENCE)
    }

    fn error(script: &str) -> String {
        shell(script).expect_err(script).to_string()
    }

    #[test]
    fn what_is_printed_is_given() {
        assert_eq!(shell("echo a; echo complaint >&2").expect("runs").as_str(), "a\n");
        // more than a pipe holds, on both
        let echoed = answer("cat", &[], Some(Zeroizing::new("told".to_owned())), PATIENCE).expect("runs");
        assert_eq!(echoed.as_str(), "told");
        let long =
            shell("head -c 300000 /dev/zero | tr '\\0' a; head -c 300000 /dev/zero >&2").expect("runs");
        assert_eq!(long.len(), 300_000);
    }

    #[test]
    fn what_is_missing_slow_too_much_or_no_text_is_said() {
        let missing = output("no-such-program-here", &[], PATIENCE).expect_err("missing").to_string();
        assert_eq!(missing, "there is no program `no-such-program-here` on the PATH");
        let slow = output("sleep", &["1000"], Duration::from_millis(50)).expect_err("slow").to_string();
        assert_eq!(slow, "`sleep` did not finish within 0.05 s");
        assert_eq!(error("cat /dev/zero"), "`sh` printed more than 16 MiB");
        assert_eq!(error("printf '\\377'"), "`sh` printed something that is not text");
    }

    #[test]
    fn a_complaint_is_repeated_where_it_holds_no_secret() {
        assert_eq!(
            error("echo 'no key'\\\n' found: ./a/key.txt' >&2; exit 3"),
            "`sh` failed (exit status: 3): no key found: ./a/key.txt"
        );
        let public = "age1lzd99uklcjnc0e7d860axevet2cz99ce9pq6tzuzd05l5nr28ams36nvun";
        assert!(error(&format!("echo 'FAILED {public}' >&2; exit 1")).ends_with(public));
        let key = "AGE-SECRET-KEY-1ABC";
        let token = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
        assert!(error(&format!("echo 'bad {key} {token}' >&2; exit 1")).ends_with(": bad … …"));
        assert_eq!(error("echo half; echo 'bad: hunter2' >&2; exit 1"), "`sh` failed (exit status: 1)");
        let long = error("yes word | head -n 1000 >&2; exit 1");
        assert!(long.chars().count() < COMPLAINT + 60 && long.ends_with(" …"), "{long}");
        assert!(error("kill -9 $$").contains("signal: 9"));
    }
}
