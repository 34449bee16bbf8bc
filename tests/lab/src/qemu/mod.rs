//! Real firmware under QEMU.
mod archive;
mod disk;
mod guest;
mod packages;
