//! What iPXE is told to do, as text.
//!
//! iPXE splits a line at white space and ends a command at a word that is `||`, `&&`, `;` or begins
//! with `#`; only then it expands `${…}`, again and again, and has no way to quote any of them
//! (`src/core/exec.c`, `expand_settings`). So a text from outside is cleaned ([`refused`]), a command
//! line that would be changed is an error ([`deploy`]), and what only the machine knows stays a
//! variable that iPXE expands itself ([`entry`]).

use std::{fmt, net::SocketAddr};

use hardware::LocalBoot;

use crate::{catalogue::Asset, discovery::Token};

/// How long [`entry`] listens for the switch before it asks without: one default LLDP interval
/// (30 s, 802.1AB-2016 §9.2.5.7) and some.
pub const LLDP_WAIT_SECONDS: u32 = 35;
/// The cards that [`entry`] looks at, `net0` and on.
pub(crate) const MOST_CARDS: usize = 8;
/// How long a card that was just opened may take to find its link; without one it is not waited for.
const LINK_MILLISECONDS: u32 = 1500;
/// What a neighbour is asked for, by the numbers of 802.1AB-2016 table 8-1: chassis, port, port description, system
/// name, capabilities, management address. [`crate::ask`] reads them in this order.
const TLVS: [u8; 6] = [1, 2, 4, 5, 7, 8];
/// After a file could not be fetched.
const FETCH_AGAIN_SECONDS: u32 = 10;
/// So long a person can read why the machine is refused.
const REFUSED_SECONDS: u32 = 30;

/// The boot server as the machine reaches it: the address at which its request arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// where
    pub address: SocketAddr,
    /// by HTTPS
    pub secure: bool,
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, own) = if self.secure { ("https", 443) } else { ("http", 80) };
        match self.address {
            SocketAddr::V4(v4) if v4.port() == own => write!(f, "{scheme}://{}", v4.ip()),
            SocketAddr::V6(v6) if v6.port() == own => write!(f, "{scheme}://[{}]", v6.ip()),
            other => write!(f, "{scheme}://{other}"),
        }
    }
}

/// The first script: collects what the machine knows of itself and asks.
///
/// Only UEFI builds of iPXE hear LLDP, each card while it is open. So every card is opened once, and those with a link
/// are listened to until each has heard a frame, once per boot and for at most `lldp_wait` seconds. A card that is
/// opened becomes `netX`, so the one that the machine boots from is noted before, with its address for [`discover`]. Texts of the machine go as
/// hexadecimal: `uristring` of older builds (1.0.0 in QEMU ROMs) leaves `&` as it is.
pub fn entry(base: Base, lldp_wait: u32) -> String {
    format!(
        "#!ipxe\n\
         isset ${{attempt}} || set attempt:int32 0\n\
         isset ${{card}} || set card-address ${{netX/ip}},${{netX/netmask}},${{netX/gateway}}\n\
         isset ${{card}} || set card ${{netX/mac:hexhyp}}\n\
         set waited:int32 0\n\
         :look\n\
         set heard\n\
         set silent:int32 0\n\
         set n:int32 0\n\
         iseq ${{platform}} efi || goto ask\n\
         :card\n\
         isset ${{net${{n}}/mac}} || goto next\n\
         iseq ${{attempt}}${{waited}} 00 && ifopen net${{n}} ||\n\
         isset ${{net${{n}}.lldp/2.0.0.0:hexraw}} && goto hears ||\n\
         iseq ${{attempt}}${{waited}} 00 && iflinkwait --timeout {LINK_MILLISECONDS} net${{n}} && set link${{n}} up ||\n\
         isset ${{link${{n}}}} && inc silent ||\n\
         goto next\n\
         :hears\n\
         set heard ${{heard}}&lldp=${{net${{n}}/mac:hexhyp}}{}\n\
         :next\n\
         inc n\n\
         iseq ${{n}} {MOST_CARDS} || goto card\n\
         iseq ${{attempt}} 0 || goto ask\n\
         iseq ${{silent}} 0 && goto ask ||\n\
         iseq ${{waited}} {lldp_wait} && goto ask ||\n\
         sleep 1\n\
         inc waited\n\
         goto look\n\
         :ask\n\
         chain --replace --autofree {base}/boot/ask?mac=${{card}}&uuid=${{uuid}}&serial=${{serial:hexraw}}&manufacturer=${{manufacturer:hexraw}}&product=${{product:hexraw}}&platform=${{platform}}&arch=${{buildarch}}&attempt=${{attempt}}${{heard}} ||\n\
         echo ichord does not answer, asking again in {FETCH_AGAIN_SECONDS} s\n\
         sleep {FETCH_AGAIN_SECONDS}\n\
         inc attempt\n\
         goto ask\n",
        TLVS.map(|tlv| format!(",${{net${{n}}.lldp/{tlv}.0.0.0:hexraw}}")).concat()
    )
}

/// The command line cannot be handed to a kernel by iPXE.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// iPXE would expand it, and there is no way to stop it
    #[error(
        "the kernel command line has \"${{\" in {0:?}: iPXE would put its own variables there; write the value itself"
    )]
    Variable(String),
    /// iPXE would end the command there
    #[error("the kernel command line has the word {0:?}: to iPXE that ends the command")]
    EndsCommand(String),
    /// not one line of printable ASCII
    #[error("the kernel command line must be one line of printable ASCII")]
    NotOneLine,
    /// `initrd=` names the file that iPXE fetched, and only this script knows how it is called there
    #[error("the kernel command line may not have initrd= ({0:?}): the boot script sets it")]
    Initrd(String),
}

/// Whether iPXE hands this command line to the kernel as it is. For the site's check, so that a
/// machine never meets it.
pub fn check_cmdline(cmdline: &str) -> Result<(), CmdlineError> {
    if !cmdline.bytes().all(|byte| (0x20..0x7f).contains(&byte)) || cmdline.ends_with('\\') {
        return Err(CmdlineError::NotOneLine);
    }
    for word in cmdline.split(' ') {
        if ends_command(word) {
            return Err(CmdlineError::EndsCommand(word.to_owned()));
        }
        if word.contains("${") {
            return Err(CmdlineError::Variable(word.to_owned()));
        }
        if word.starts_with("initrd=") {
            return Err(CmdlineError::Initrd(word.to_owned()));
        }
    }
    Ok(())
}

fn ends_command(word: &str) -> bool {
    matches!(word, "||" | "&&" | ";") || word.starts_with('#')
}

/// Boots kernel and initramfs. Their digests stand in comments, for a client that can check them.
///
/// `initrd=` names the RAM disk in iPXE's own file system, where the kernel's EFI stub looks for it;
/// on BIOS iPXE hands it over itself and the kernel ignores the word.
pub fn deploy(
    base: Base,
    kernel: &Asset,
    initramfs: &Asset,
    cmdline: &str,
    attempt: u32,
) -> Result<String, CmdlineError> {
    check_cmdline(cmdline)?;
    Ok(boot(base, kernel, initramfs, cmdline, attempt))
}

/// Boots the discovery image: with what it needs to find the daemon again by the address that iPXE has.
pub fn discover(
    base: Base,
    kernel: &Asset,
    initramfs: &Asset,
    cmdline: &str,
    (token, listen): (&Token, u32),
    attempt: u32,
) -> Result<String, CmdlineError> {
    check_cmdline(cmdline)?;
    let errand = format!(
        "{cmdline} ichord.daemon={base} ichord.token={} ichord.listen={listen} ichord.card=${{card}},${{card-address}}",
        token.reveal()
    );
    Ok(boot(base, kernel, initramfs, &errand, attempt))
}

fn boot(base: Base, kernel: &Asset, initramfs: &Asset, cmdline: &str, attempt: u32) -> String {
    let (kernel_file, initrd_file) = (kernel.name.file(), initramfs.name.file());
    let boot = format!(
        "#!ipxe\n\
         # sha256 {kernel_file} {}\n\
         # sha256 {initrd_file} {}\n\
         kernel {base}{} initrd={initrd_file} {cmdline} || goto failed\n\
         initrd --name {initrd_file} {base}{} || goto failed\n\
         boot || goto failed\n\
         :failed\n\
         echo could not boot, asking again in {FETCH_AGAIN_SECONDS} s\n",
        kernel.sha256_hex(),
        initramfs.sha256_hex(),
        kernel.name.url_path(),
        initramfs.name.url_path(),
    );
    boot + &ask_again(base, FETCH_AGAIN_SECONDS, attempt)
}

/// Nothing to boot yet: asks again, with the next attempt.
pub fn retry(base: Base, seconds: u32, attempt: u32) -> String {
    let again = ask_again(base, seconds, attempt);
    format!("#!ipxe\necho ichord: not yet, asking again in {seconds} s\n{again}")
}

/// By way of the entry script, which asks the machine's own variables again: none of them goes
/// through this text, and a neighbour heard meanwhile comes along. If even that fails, the firmware
/// goes on to its next entry.
fn ask_again(base: Base, seconds: u32, attempt: u32) -> String {
    let next = attempt.saturating_add(1).min(i32::MAX.unsigned_abs());
    format!(
        "sleep {seconds}\n\
         set attempt:int32 {next}\n\
         chain --replace --autofree {base}/boot.ipxe || exit 1\n"
    )
}

/// The two ways a machine's firmware goes on to its own disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// iPXE leaves, and the boot manager tries its next entry
    Efi,
    /// iPXE itself boots the first disk
    Bios,
}

impl Platform {
    /// From iPXE's `${platform}`: `efi` or `pcbios`.
    pub fn from_ipxe(name: &str) -> Option<Self> {
        match name {
            "efi" => Some(Self::Efi),
            "pcbios" => Some(Self::Bios),
            _ => None,
        }
    }
}

/// Boots the machine's own disk.
///
/// UEFI must see a failure: after a success the boot manager stops and shows its menu (UEFI 2.10
/// §3.1.1). An unknown platform gets the BIOS way, which ends the same where it does not work. A model
/// may want one of the two whatever its platform.
pub fn local_disk(platform: Option<Platform>, way: Option<LocalBoot>) -> &'static str {
    let leaves = match (way, platform) {
        (Some(LocalBoot::Exit), _) => true,
        (Some(LocalBoot::Sanboot), _) => false,
        (_, platform) => platform == Some(Platform::Efi),
    };
    if leaves {
        "#!ipxe\necho ichord: booting from the local disk\nexit 1\n"
    } else {
        "#!ipxe\necho ichord: booting from the local disk\nsanboot --no-describe --drive 0x80 || exit 1\n"
    }
}

/// Shows why this machine is not booted, then leaves it to its firmware.
pub fn refused(reason: &str) -> String {
    format!("#!ipxe\necho ichord refuses: {}\nsleep {REFUSED_SECONDS}\nexit 1\n", speakable(reason))
}

/// A text that iPXE's `echo` shows as it is: printable ASCII, nothing to expand, nothing that ends
/// the command or joins the next line.
fn speakable(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        let word: String = word
            .chars()
            .map(|c| match c {
                '$' | '\\' => '_',
                c if c.is_ascii_graphic() => c,
                _ => '?',
            })
            .collect();
        if ends_command(&word) || word.starts_with('-') { format!("'{word}") } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
