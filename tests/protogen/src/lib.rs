//! Turns the protocol files of `talos-api` into its checked-in code, in pure Rust: nobody needs protoc, and
//! `cargo build` of the daemon never runs a generator. Maintainers run this after touching a `.proto` file;
//! the tests run it to see that nobody forgot.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use prost_types::FileDescriptorSet;

/// The protocol files, by the paths under which they import each other.
const FILES: &[&str] = &[
    "common/common.proto",
    "machine/machine.proto",
    "machine/lifecycle.proto",
    "machine/image.proto",
    "storage/storage.proto",
    "time/time.proto",
    "cluster/cluster.proto",
    "securityapi/security.proto",
    "cosi/resource/resource.proto",
    "cosi/resource/state.proto",
];

/// The name of the file that nests the generated modules.
const MODULES: &str = "modules.rs";

/// The crate that owns the protocol files and the generated code.
pub fn talos_api() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../daemon/crates/talos-api")
}

/// Compiles our protocol files, imports included.
pub fn descriptors() -> anyhow::Result<FileDescriptorSet> {
    protox::compile(FILES, [talos_api().join("proto")]).context("compiling the protocol files")
}

/// The generated code: file name to text. Client and server; a server answers `Unimplemented` to every call
/// that its author left out, as a machine does in maintenance mode.
pub fn generate() -> anyhow::Result<BTreeMap<String, String>> {
    let directory = tempfile::tempdir()?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .build_transport(false)
        .generate_default_stubs(true)
        .emit_rerun_if_changed(false)
        .include_file(MODULES)
        .out_dir(directory.path())
        .compile_fds(descriptors()?)
        .context("generating the code")?;
    let mut files = read(directory.path())?;
    let modules = files.get_mut(MODULES).context("the generator wrote no module file")?;
    // The generator expects a build script's output directory; checked-in files lie beside each other.
    *modules =
        modules.replace("include!(concat!(env!(\"OUT_DIR\"), \"/", "include!(\"").replace("\"));", "\");");
    Ok(files)
}

/// What is checked in.
pub fn checked_in() -> anyhow::Result<BTreeMap<String, String>> {
    read(&talos_api().join("src/gen"))
}

/// Writes the generated code and removes what is no longer generated.
pub fn write() -> anyhow::Result<()> {
    let directory = talos_api().join("src/gen");
    fs::create_dir_all(&directory)?;
    let generated = generate()?;
    for name in read(&directory)?.keys().filter(|&name| !generated.contains_key(name)) {
        fs::remove_file(directory.join(name))?;
    }
    for (name, text) in generated {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}

/// The names of files that are missing, left over or different; empty when everything is fresh.
pub fn stale() -> anyhow::Result<Vec<String>> {
    let (generated, present) = (generate()?, checked_in()?);
    let names: BTreeSet<&String> = generated.keys().chain(present.keys()).collect();
    Ok(names.into_iter().filter(|&name| generated.get(name) != present.get(name)).cloned().collect())
}

fn read(directory: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    fs::read_dir(directory)
        .with_context(|| format!("reading {}", directory.display()))?
        .map(|entry| {
            let entry = entry?;
            Ok((entry.file_name().to_string_lossy().into_owned(), fs::read_to_string(entry.path())?))
        })
        .collect()
}
