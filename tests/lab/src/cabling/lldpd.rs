//! A switch whose voice is a real lldpd, instead of the lab's own frames: Debian's, unpacked and never installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::others::shell;
use crate::plan::{Machine, SWITCH};
use crate::process::{Launcher, Process, Start};
use crate::wires::BRIDGE;

/// Starts it on the ports of these machines. `package` is the folder that Debian's package was unpacked into.
///
/// It wants a user and a folder of its own, which it gets in a mount namespace.
pub(super) fn speak(
    launcher: &Launcher,
    package: &Path,
    folder: &Path,
    machines: &[Machine],
) -> Result<Process> {
    let program = package.join("usr/sbin/lldpd");
    if !program.is_file() {
        bail!("there is no {}: unpack Debian's package lldpd into {}", program.display(), package.display());
    }
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display())).map(|()| path)
    };
    let users = read("/etc/passwd")? + "_lldpd:x:64242:64242::/run/lldpd:/usr/sbin/nologin\n";
    let groups = read("/etc/group")? + "_lldpd:x:64242:\n";
    let (users, groups) = (write("passwd", users)?, write("group", groups)?);
    let settings = write("lldpd.conf", settings(machines))?;
    let ports: Vec<&str> = machines.iter().map(|machine| machine.interface.as_str()).collect();
    let script = format!(
        "mount --bind {users} /etc/passwd && mount --bind {groups} /etc/group && mount -t tmpfs none /run && \
         mkdir /run/lldpd && exec {program} -d -u {socket} -L {client} -C {BRIDGE} -I {ports} -O {settings}",
        users = users.display(),
        groups = groups.display(),
        program = program.display(),
        client = package.join("usr/sbin/lldpcli").display(),
        socket = folder.join("lldpd.sock").display(),
        ports = ports.join(","),
        settings = settings.display(),
    );
    let Start { command, .. } = shell("lldpd", 0, script);
    launcher.start(
        Start {
            name: "lldpd".to_owned(),
            network: None,
            card: None,
            command: ["unshare".to_owned(), "--mount".to_owned()].into_iter().chain(command).collect(),
            environment: vec![("LD_LIBRARY_PATH".to_owned(), libraries(package)?.display().to_string())],
        },
        None,
    )
}

/// What an operator would tell a switch: its name, and those of its ports.
fn settings(machines: &[Machine]) -> String {
    let mut text = format!("configure system hostname {SWITCH}\nconfigure lldp tx-interval 1\n");
    for Machine { interface, port, .. } in machines {
        text += &format!("configure ports {interface} lldp portidsubtype local {port} description lab\n");
    }
    text
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// The package's own library, below the folder that is named after the machine's architecture.
fn libraries(package: &Path) -> Result<PathBuf> {
    let all = package.join("usr/lib");
    let entries = fs::read_dir(&all).with_context(|| format!("cannot read {}", all.display()))?;
    let named = |path: &PathBuf| path.to_string_lossy().ends_with("-linux-gnu");
    let found = entries.flatten().map(|entry| entry.path()).find(named);
    found.with_context(|| format!("there is no library below {}", all.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::machines;

    #[test]
    fn every_port_has_the_name_that_the_site_knows() {
        let text = settings(&machines(1, 1));
        assert!(text.contains("configure ports p2 lldp portidsubtype local Eth1/2 "), "{text}");
        assert!(text.contains("hostname sw1\n"), "{text}");
    }
}
