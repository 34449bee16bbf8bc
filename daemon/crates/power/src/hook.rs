//! A program of the site's own that switches machines: a power strip, a relay, a chassis.
//!
//! It is told by its environment what to do and for whom, and has no other of ours: no secrets are in it. It and whatever it
//! started end with its time.

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    time::timeout,
};

use crate::{Action, Ask, Done, Hook, PowerError};

/// So much of what it says is kept, from the end. In octets.
const KEPT: usize = 4096;
/// A line for a person.
const LINE: usize = 200;
/// After it has ended, for what somebody it left behind still writes.
const REST: Duration = Duration::from_millis(500);
/// What it keeps of our environment.
const PASSED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

pub(crate) async fn act(hook: &Hook, ask: &Ask) -> Result<Done, PowerError> {
    let Some((program, arguments)) = hook.command.split_first() else {
        return Err(PowerError::Odd { address: "power".to_owned(), reason: "the hook is empty".to_owned() });
    };
    // a program that does not know the word might do anything
    if ask.action == Action::NetworkBoot {
        let reason = "a hook is told what a machine boots only when it switches it".to_owned();
        return Err(PowerError::Odd { address: program.clone(), reason });
    }
    let failed = |source| PowerError::Start { program: program.clone(), source };
    let macs = ask.macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .env("ICHORD_NODE", &ask.node)
        .env("ICHORD_PORT", ask.port.as_deref().unwrap_or_default())
        .env("ICHORD_MAC", macs)
        .env("ICHORD_ACTION", ask.action.name())
        .env("ICHORD_NETWORK_BOOT", if ask.network_boot { "yes" } else { "no" })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (tokio::spawn(tail(out)), tokio::spawn(tail(err)));
    let ended = timeout(hook.limit, child.wait()).await;
    let Ok(ended) = ended else {
        if let Some(group) = group {
            killpg(group, Signal::SIGKILL).ok();
        }
        child.wait().await.map_err(failed)?;
        return Err(PowerError::Late { what: program.clone(), seconds: hook.limit.as_secs() });
    };
    let status = ended.map_err(failed)?;
    let said = timeout(REST, async { (out_of((&mut out).await), out_of((&mut err).await)) }).await;
    out.abort();
    err.abort();
    let (out, err) = said.unwrap_or_default();
    if status.success() {
        let line = last_line(&out).or_else(|| last_line(&err));
        return Ok(Done { summary: line.unwrap_or_else(|| format!("{program} did it")) });
    }
    let said =
        last_line(&err).or_else(|| last_line(&out)).map(|line| format!(": {line}")).unwrap_or_default();
    Err(PowerError::Hook { program: program.clone(), status: words(status), said })
}

fn out_of(read: Result<Vec<u8>, tokio::task::JoinError>) -> Vec<u8> {
    read.unwrap_or_default()
}

/// The end of what is written there.
async fn tail(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; KEPT]);
    let Some(mut stream) = stream else { return kept };
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        kept.drain(..kept.len().saturating_sub(KEPT));
    }
    kept
}

/// The last line that says something, without what would move a terminal's cursor.
fn last_line(said: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(LINE).collect())
}

fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Action;

    async fn run(script: &str, limit: Duration) -> Result<Done, PowerError> {
        let command = ["/bin/sh", "-c", script, "hook", "$ICHORD_NODE"].map(str::to_owned).to_vec();
        let ask = Ask {
            node: "mini03".into(),
            port: Some("sw1/Eth1/3".into()),
            macs: vec!["64:4b:f0:00:00:03".parse().unwrap(), "64:4b:f0:00:00:04".parse().unwrap()],
            action: Action::Cycle,
            network_boot: true,
        };
        act(&Hook { command, limit }, &ask).await
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn it_is_told_what_to_do_and_for_whom_and_nothing_else() {
        let done = run(
            "echo first; echo $ICHORD_ACTION $ICHORD_NODE $ICHORD_PORT $ICHORD_MAC $ICHORD_NETWORK_BOOT \"$1\" $CARGO; echo",
            LONG,
        );
        assert_eq!(
            done.await.unwrap().summary,
            "cycle mini03 sw1/Eth1/3 64:4b:f0:00:00:03 64:4b:f0:00:00:04 yes $ICHORD_NODE",
            "no shell of ours reads its arguments, and our environment is not its"
        );
    }

    #[tokio::test]
    async fn its_exit_code_and_its_last_line_are_shown() {
        let words = run("echo fine; echo no such outlet >&2; exit 3", LONG).await.unwrap_err().to_string();
        assert_eq!(words, "/bin/sh ended with exit code 3: no such outlet");
        let words = run("kill -9 $$", LONG).await.unwrap_err().to_string();
        assert_eq!(words, "/bin/sh ended with signal 9");
        let hook = Hook { command: vec!["/no/such/program".into()], limit: LONG };
        let ask =
            Ask { node: "a".into(), port: None, macs: Vec::new(), action: Action::On, network_boot: false };
        assert!(matches!(act(&hook, &ask).await, Err(PowerError::Start { .. })));
    }

    #[tokio::test]
    async fn who_takes_too_long_ends_with_everything_it_started() {
        use std::{io::Read as _, os::unix::fs::OpenOptionsExt as _};

        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("held");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut held = std::fs::OpenOptions::new();
        let mut held = held.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&fifo).unwrap();
        // a grandchild that holds the pipe open as long as it lives
        let script = format!("(echo up; exec sleep 1000) >{} & wait", fifo.display());
        let ended = run(&script, Duration::from_secs(3)).await;
        assert!(matches!(ended, Err(PowerError::Late { .. })), "{ended:?}");
        fcntl(&held, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        let mut read = String::new();
        held.read_to_string(&mut read).unwrap();
        assert_eq!(read, "up\n", "it was there, and the pipe ends because it is gone");
    }

    #[tokio::test]
    async fn much_that_it_says_is_not_kept() {
        let done = run("yes | head -c 1000000; echo; echo the end", LONG).await.unwrap();
        assert_eq!(done.summary, "the end");
    }
}
