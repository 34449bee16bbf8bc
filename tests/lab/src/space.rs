//! The lab's own corner of the kernel: its process leaves the machine's network before anything else happens.
//!
//! Everything the lab builds (bridge, ports, addresses) lives in this network namespace and dies with its last
//! process, so nothing of the lab can be left behind. Without root a user namespace comes first.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid};
use tokio::runtime::{Builder, Runtime};

use crate::folder::Folder;

/// What every process of the lab is cut off from.
const APART: CloneFlags = CloneFlags::CLONE_NEWNET.union(CloneFlags::CLONE_NEWNS);

/// Tells a story in a corner of its own, with a folder that is kept where it does not end well. True when it does.
pub(crate) fn tell(story: impl AsyncFnOnce(&Path) -> Result<bool>) -> Result<bool> {
    leave_the_machine()?;
    runtime()?.block_on(async {
        let mut folder = Folder::make(&env::temp_dir())?;
        let told = story(folder.path()).await;
        if !matches!(told, Ok(true)) {
            if let Err(error) = &told {
                println!("{}", serde_json::json!({ "event": "failed", "reason": format!("{error:#}") }));
                eprintln!("lab: {error:#}");
            }
            eprintln!("logs and state are kept in {}", folder.path().display());
            folder.keep();
        }
        Ok(told.unwrap_or(false))
    })
}

/// One thread: the children's lives hang on the thread that started them (PR_SET_PDEATHSIG).
pub(crate) fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot start a runtime")
}

/// A folder in the story's.
pub(crate) fn place(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// Moves this process into a network (and mount) namespace of its own.
///
/// Call it while the process has one thread: the kernel refuses a user namespace to a process with several.
pub(crate) fn leave_the_machine() -> Result<()> {
    let (user, group) = (geteuid(), getegid());
    let as_root = user.is_root();
    // a container's root may lack CAP_SYS_ADMIN and still be allowed a user namespace
    let refused = as_root && matches!(unshare(APART), Err(Errno::EPERM));
    if !as_root || refused {
        unshare(APART | CloneFlags::CLONE_NEWUSER).context(
            "this system gives unprivileged users no namespaces; allow them (sysctl user.max_user_namespaces, \
             kernel.apparmor_restrict_unprivileged_userns) or run the lab as root",
        )?;
        // the kernel wants setgroups denied before an unprivileged group map
        fs::write("/proc/self/setgroups", "deny").context("cannot write /proc/self/setgroups")?;
        fs::write("/proc/self/uid_map", format!("0 {user} 1")).context("cannot map the user")?;
        fs::write("/proc/self/gid_map", format!("0 {group} 1")).context("cannot map the group")?;
    }
    // nothing mounted from here on is seen outside
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("cannot make the mounts private")?;
    refresh_sysfs();
    Ok(())
}

/// Gives this process, which has one thread, an empty network of its own: that of one machine.
pub(crate) fn new_network() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")
}

/// Joins the network of the process `holder`.
pub(crate) fn join_network(holder: u32) -> Result<()> {
    let path = format!("/proc/{holder}/ns/net");
    let network = fs::File::open(&path).with_context(|| format!("the machine's network {path} is gone"))?;
    setns(network, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot join {path}"))?;
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    refresh_sysfs();
    Ok(())
}

/// `/sys/class/net` shows the network of whoever mounted it. Containers that mask parts of `/sys` do not let it be
/// mounted anew; nothing in the lab depends on it, it only tells the truth to a person looking in.
fn refresh_sysfs() {
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>).ok();
}
