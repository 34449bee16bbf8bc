//! Starting another kernel without the firmware in between (kexec_file_load(2)).

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::fd::AsRawFd,
};

use nix::errno::Errno;

/// Whether this kernel lets another one be loaded: it can, nobody has switched it off, and it is not locked down to
/// kernels that its vendor signed.
pub fn is_allowed() -> bool {
    let reads = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let unlocked = !reads("/sys/kernel/security/lockdown").contains('[')
        || reads("/sys/kernel/security/lockdown").contains("[none]");
    fs::exists("/sys/kernel/kexec_loaded").unwrap_or_default()
        && reads("/proc/sys/kernel/kexec_load_disabled").trim() == "0"
        && unlocked
}

/// Loads a kernel with its initial RAM disk; a reboot of the kind `kexec` starts it.
///
/// # Errors
/// What the kernel says: no kernel that it knows, no memory, a command line that is too long, no permission.
pub fn load(kernel: &File, initramfs: &File, cmdline: &str) -> io::Result<()> {
    let line = CString::new(cmdline)?;
    let bytes = line.as_bytes_with_nul();
    #[allow(unsafe_code, reason = "nothing safe asks for kexec_file_load")]
    // SAFETY: both files are open, and the line lives until the call is over; the kernel reads as many octets of it
    // as are given, the last of which is a zero.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initramfs.as_raw_fd(),
            bytes.len(),
            bytes.as_ptr(),
            0_usize,
        )
    };
    Errno::result(result)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_kernel_is_not_loaded() {
        let file = tempfile::tempfile().unwrap();
        assert!(load(&file, &file, "console=tty0").is_err());
        assert!(load(&file, &file, "a\0b").is_err());
    }
}
