//! What is installed, and what the installed system is told.

use document::Findings;
use serde_json::Value;

use super::Look;

/// Talos's own installer, which brings no extensions.
const PLAIN: &str = "ghcr.io/siderolabs/installer";

/// The one file outside /var that Talos lets a config make: part of its container runtime's configuration.
const CRI_PART: &str = "/etc/cri/conf.d/20-customization.part";

pub(super) fn check(look: &Look<'_>, findings: &mut Findings) {
    kernel_args(look, findings);
    image(look, findings);
    if look.is(&["persist"], false) {
        let finding =
            look.error(&["persist"], "patches", "persist", "Talos refuses a config that is not kept");
        findings.push(finding.fix("remove `persist: false`"));
    }
    files(look, findings);
}

/// From 1.10 on a UEFI machine boots an image that has its arguments inside; from 1.12 on Talos refuses others beside it.
fn kernel_args(look: &Look<'_>, findings: &mut Findings) {
    const PATH: [&str; 3] = ["machine", "install", "extraKernelArgs"];
    const FIX: &str = "write them into the image: `schematic: {customization: {extraKernelArgs: […]}}`";
    let args = look.texts(&PATH);
    let inside = look.node.schematic.kernel_args();
    let lost: Vec<&str> = args.iter().copied().filter(|arg| !inside.iter().any(|own| own == arg)).collect();
    if args.is_empty() {
    } else if look.is(&["machine", "install", "grubUseUKICmdline"], true) {
        let message = "Talos refuses `extraKernelArgs` beside `grubUseUKICmdline: true`, which configs have from 1.12 on";
        findings.push(look.error(&PATH, "schematic", "kernel-args", message).fix(FIX));
    } else if look.at_least(10) && !lost.is_empty() {
        let message =
            format!("a machine that boots by UEFI does not see `{}`: its image has its own", lost.join(" "));
        // a machine with a BIOS does see them
        findings.push(look.error(&PATH, "schematic", "kernel-args", message).warning().fix(FIX));
    }
}

/// The installer decides what stays on the disk, whatever the machine was booted with.
fn image(look: &Look<'_>, findings: &mut Findings) {
    const PATH: [&str; 3] = ["machine", "install", "image"];
    let Some(image) = look.text(&PATH) else { return };
    let node = look.node;
    let key = if node.configs.talos_image_url.is_empty() { "schematic" } else { "talosImageURL" };
    let (repository, tag) = tagged(image);
    let Some(tag) = tag else {
        // a digest names a version, too, only not for people
        if !image.contains('@') {
            let finding = look.error(&PATH, key, "image-tag", format!("the installer `{image}` has no tag"));
            findings.push(finding.fix(format!("write {image}:{}", look.config.talos)));
        }
        return;
    };
    let version = look.config.talos.to_string();
    if tag != version {
        let message = format!("the installer is of {tag}, and the machine is booted with {version}");
        let finding = look.error(&PATH, key, "installer-version", message).warning();
        findings.push(finding.fix("let `talosVersion` say it alone"));
    }
    let extensions = node.schematic.extensions();
    if repository == PLAIN && !extensions.is_empty() {
        let message = format!(
            "{PLAIN} brings no extensions: {} would be gone after the installation",
            extensions.join(", ")
        );
        let finding = look.error(&PATH, key, "installer-extensions", message);
        return findings.push(finding.fix("remove it; the installer of the schematic is used then"));
    }
    let id = repository.rsplit('/').next().unwrap_or_default();
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id && node.configs.image_schematic.is_none() && id != node.boot_schematic_id() {
        let message = "the installer is of another schematic than the image that the machine is booted with";
        if let Some(finding) = look.patched(&PATH, "installer-differs", message) {
            findings
                .push(finding.warning().fix("remove it, or write `talosImageURL`, from which both follow"));
        }
    }
}

/// An image without and with its tag. A port is no tag, and what has a digest has none that counts.
pub(super) fn tagged(image: &str) -> (&str, Option<&str>) {
    if image.contains('@') {
        return (image, None);
    }
    let name = image.rfind('/').map_or(0, |slash| slash + 1);
    match image.get(name..).and_then(|last| last.rfind(':')) {
        Some(colon) => (image.get(..name + colon).unwrap_or(image), image.get(name + colon + 1..)),
        None => (image, None),
    }
}

fn files(look: &Look<'_>, findings: &mut Findings) {
    let files = look.main(&["machine", "files"]).and_then(Value::as_array);
    for (index, file) in files.into_iter().flatten().enumerate() {
        let text = |key: &str| file.get(key).and_then(Value::as_str).unwrap_or_default();
        let path = text("path");
        let in_var = path.trim_start_matches('/').split('/').next() == Some("var");
        if text("op") == "create" && !in_var && path != CRI_PART {
            let message = format!("Talos makes no new files outside /var, and stops for {path}");
            let step = format!("[{index}]");
            let finding =
                look.error(&["machine", "files", &step, "path"], "machineFiles", "machine-file", message);
            findings.push(finding.fix("choose a path under /var"));
        }
    }
}
