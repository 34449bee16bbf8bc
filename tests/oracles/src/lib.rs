//! The real tools as judges: finds the pinned `talosctl`, `talhelper` and Kubernetes control plane, and builds them from their Go modules first
//! where that has not happened yet.
//!
//! Each tool has a Go module of its own here, because their dependencies do not agree. What was built lies outside the
//! clone, under the digest of the pins (go.mod and go.sum), so that it is built again only when those change.

mod judge;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub use judge::Judge;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Where built tools are kept, instead of the user's cache directory.
pub const CACHE: &str = "ICHORD_ORACLES";

/// A tool that judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Talos's own command line.
    Talosctl,
    /// What most people render their `talconfig.yaml` with.
    Talhelper,
    /// etcd, the Kubernetes API server, controller manager, scheduler and kubectl in one program.
    ControlPlane,
    /// etcd alone, with its own restore of snapshots.
    Etcd,
    /// The part of Flux that fetches.
    SourceController,
    /// The part of Flux that applies folders.
    KustomizeController,
    /// The part of Flux that upgrades charts.
    HelmController,
    /// What installs Flux, where that is not the hand-over.
    FluxOperator,
    /// Helm as people run it.
    HelmClient,
    /// Nodes and pods that are only said to run.
    Kwok,
    /// Helm's storage and upgrade, asked by lines of JSON.
    Helm,
    /// How helm-controller puts a release's values together, asked by lines of JSON.
    Values,
    /// Talos's decoder, validation and patches, asked by lines of JSON.
    Validate,
    /// The JSON schema of Talos's configs, printed.
    Schema,
    /// Talos's rule of what is taken without a reboot, asked by lines of JSON; read from the source that it is given.
    Immediate,
    /// Which Kubernetes a Talos runs and which Talos may follow which, by Talos 1.13, asked by lines of JSON.
    Compatibility,
    /// The same by the newest Talos whose modules are published.
    NewestCompatibility,
}

/// Why there is no tool.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody can build Go modules here; tests are skipped then, except under `CI=true`.
    #[error("`go` does not run here ({0}), so the real {1} cannot be built; install Go 1.21 or newer")]
    NoGo(io::Error, &'static str),
    /// The build went wrong.
    #[error("building the real {name} failed:\n{said}")]
    Build {
        /// Which one.
        name: &'static str,
        /// What Go printed.
        said: String,
    },
    /// The cache cannot be used.
    #[error("{}: {}", .0.display(), .1)]
    Cache(PathBuf, #[source] io::Error),
    /// Neither of the three variables that could say where to keep things is set.
    #[error("nowhere to keep what is built: set HOME, XDG_CACHE_HOME or {CACHE}")]
    NoCache,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Talosctl,
        Self::Talhelper,
        Self::ControlPlane,
        Self::Etcd,
        Self::Helm,
        Self::SourceController,
        Self::KustomizeController,
        Self::HelmController,
        Self::FluxOperator,
        Self::HelmClient,
        Self::Kwok,
        Self::Values,
        Self::Validate,
        Self::Schema,
        Self::Immediate,
        Self::Compatibility,
        Self::NewestCompatibility,
    ];

    /// The name of the program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Talosctl => "talosctl",
            Self::Talhelper => "talhelper",
            Self::ControlPlane => "control-plane",
            Self::Etcd => "etcd",
            Self::Helm => "helm",
            Self::SourceController => "source-controller",
            Self::KustomizeController => "kustomize-controller",
            Self::HelmController => "helm-controller",
            Self::FluxOperator => "flux-operator",
            Self::HelmClient => "helm-client",
            Self::Kwok => "kwok",
            Self::Values => "values",
            Self::Validate => "validate",
            Self::Schema => "schema",
            Self::Immediate => "immediate",
            Self::Compatibility => "compatibility",
            Self::NewestCompatibility => "newest-compatibility",
        }
    }

    /// The folder of its module. What depends on the same things shares one, so that they are compiled once.
    pub fn module(self) -> PathBuf {
        let folder = match self {
            Self::SourceController
            | Self::KustomizeController
            | Self::HelmController
            | Self::HelmClient
            | Self::Kwok
            | Self::Values => "flux",
            Self::Validate | Self::Schema | Self::Immediate | Self::Compatibility => ".",
            // what it depends on pins the newest one
            Self::NewestCompatibility => "talhelper",
            own => own.name(),
        };
        Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
    }

    fn package(self) -> &'static str {
        match self {
            Self::Talosctl => "github.com/siderolabs/talos/cmd/talosctl",
            Self::Talhelper => "github.com/budimanjojo/talhelper/v3",
            Self::ControlPlane | Self::Etcd | Self::Helm => ".",
            Self::SourceController => "github.com/fluxcd/source-controller",
            Self::KustomizeController => "github.com/fluxcd/kustomize-controller",
            Self::HelmController => "github.com/fluxcd/helm-controller",
            Self::FluxOperator => "github.com/controlplaneio-fluxcd/flux-operator/cmd/operator",
            Self::HelmClient => "helm.sh/helm/v4/cmd/helm",
            Self::Kwok => "sigs.k8s.io/kwok/cmd/kwok",
            Self::Values => "./values",
            Self::Validate => "./validate",
            Self::Schema => "./schema",
            Self::Immediate => "./immediate",
            Self::Compatibility => "./compatibility",
            Self::NewestCompatibility => "../compatibility/main.go",
        }
    }

    /// How the linker is told to leave out what only debuggers need. Kubernetes gets its version from the linker, too.
    fn linked(self) -> &'static str {
        match self {
            Self::ControlPlane => "-ldflags=-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3",
            _ => "-ldflags=-s -w",
        }
    }

    /// What a build is made from, of the module's own files.
    fn sources(self) -> &'static [&'static str] {
        match self {
            Self::ControlPlane | Self::Etcd | Self::Helm => &["go.mod", "go.sum", "main.go"],
            Self::Values => &["go.mod", "go.sum", "values/main.go"],
            Self::Validate => &["go.mod", "go.sum", "validate/main.go"],
            Self::Schema => &["go.mod", "go.sum", "schema/main.go"],
            Self::Immediate => &["go.mod", "go.sum", "immediate/main.go"],
            Self::Compatibility => &["go.mod", "go.sum", "compatibility/main.go"],
            Self::NewestCompatibility => &["go.mod", "go.sum", "../compatibility/main.go"],
            _ => &["go.mod", "go.sum"],
        }
    }

    /// The program if it is built already.
    pub fn built(self) -> Result<Option<PathBuf>, Error> {
        let (_, program) = self.place()?;
        Ok(program.exists().then_some(program))
    }

    /// The program if it is built already; nothing where it is not, because that takes many minutes, except under `CI=true`.
    pub fn if_built(self) -> Result<Option<PathBuf>, Error> {
        match self.built()? {
            None if std::env::var("CI").as_deref() == Ok("true") => self.path().map(Some),
            program => Ok(program),
        }
    }

    /// The cache, and where in it the program is or will be.
    fn place(self) -> Result<(PathBuf, PathBuf), Error> {
        let module = self.module();
        let cache = cache()?;
        let mut digest = Sha256::new();
        for source in self.sources() {
            let source = module.join(source);
            digest.update(fs::read(&source).map_err(|error| Error::Cache(source, error))?);
        }
        let digest = hex::encode(digest.finalize());
        let program = cache.join(format!("{}-{}", self.name(), digest.get(..16).unwrap_or(&digest)));
        Ok((cache, program))
    }

    /// Where the program is; built when the pins have not been built yet. Several callers at once wait for one build.
    pub fn path(self) -> Result<PathBuf, Error> {
        let module = self.module();
        let (cache, program) = self.place()?;
        fs::create_dir_all(&cache).map_err(|error| Error::Cache(cache.clone(), error))?;
        // whoever has the lock builds; it goes with the process, however that ends
        let guard = cache.join(format!("{}.lock", self.name()));
        let failed = |error| Error::Cache(guard.clone(), error);
        let lock = File::create(&guard).map_err(failed)?;
        lock.lock().map_err(failed)?;
        if !program.exists() {
            let unfinished = program.with_extension("unfinished");
            self.build(&module, &unfinished)?;
            fs::rename(&unfinished, &program).map_err(|error| Error::Cache(program.clone(), error))?;
        }
        Ok(program)
    }

    /// The unpacked module of a tool, for the files that it reads and those that only its source has.
    pub fn unpacked(self) -> Result<PathBuf, Error> {
        let package = self.package();
        let output = Command::new("go")
            .args(["mod", "download", "-json", package.split("/cmd/").next().unwrap_or(package)])
            .current_dir(self.module())
            .envs([("GOTOOLCHAIN", "auto"), ("GOWORK", "off")])
            .output()
            .map_err(|error| Error::NoGo(error, self.name()))?;
        let module: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        match module.get("Dir").and_then(Value::as_str) {
            Some(folder) => Ok(PathBuf::from(folder)),
            None => {
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said).trim().to_owned();
                Err(Error::Build { name: self.name(), said })
            }
        }
    }

    /// The CustomResourceDefinitions that a controller works with, as its own module has them, in one text.
    pub fn definitions(self) -> Result<String, Error> {
        let unreadable = |path: &Path, error| Error::Cache(path.to_owned(), error);
        let folder = self.unpacked()?.join("config/crd/bases");
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|error| unreadable(&folder, error))? {
            files.push(entry.map_err(|error| unreadable(&folder, error))?.path());
        }
        files.sort();
        let texts =
            files.iter().map(|file| fs::read_to_string(file).map_err(|error| unreadable(file, error)));
        Ok(texts.collect::<Result<Vec<String>, Error>>()?.join("\n---\n"))
    }

    fn build(self, module: &Path, program: &Path) -> Result<(), Error> {
        let copy = program.with_extension("source");
        let own_modules = copy.with_extension("mod");
        let mut modules = Vec::new();
        if self == Self::FluxOperator {
            self.with_page(module, &copy, &own_modules)?;
            modules.extend(["-mod=mod".to_owned(), format!("-modfile={}", own_modules.display())]);
        }
        let output = Command::new("go")
            .args(["build", self.linked(), "-o"])
            .arg(program)
            .args(&modules)
            .arg(self.package())
            .current_dir(module)
            // no C compiler is needed, and an older Go fetches the one that the pins ask for
            .envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "auto"), ("GOWORK", "off")])
            .output()
            .map_err(|error| Error::NoGo(error, self.name()))?;
        if !modules.is_empty() {
            // in the way of nobody
            fs::remove_dir_all(&copy).ok();
            fs::remove_file(&own_modules).ok();
            fs::remove_file(copy.with_extension("sum")).ok();
        }
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::Build { name: self.name(), said })
    }

    /// A copy of a module that does not build as it is: its web page is made by other tools, and only its releases have it.
    /// Ours says nothing, and nobody asks for it. Go takes the copy where its list of modules says so.
    fn with_page(self, module: &Path, copy: &Path, modules: &Path) -> Result<(), Error> {
        let failed = |error| Error::Cache(copy.to_owned(), error);
        let path = self.package().split("/cmd/").next().unwrap_or_default();
        copy_folder(&self.unpacked()?, copy).map_err(failed)?;
        let page = copy.join("web/dist");
        fs::create_dir_all(&page).and_then(|()| fs::write(page.join("index.html"), "")).map_err(failed)?;
        let pins = fs::read_to_string(module.join("go.mod")).map_err(failed)?;
        fs::write(modules, format!("{pins}\nreplace {path} => {}\n", copy.display())).map_err(failed)?;
        fs::copy(module.join("go.sum"), copy.with_extension("sum")).map_err(failed)?;
        Ok(())
    }

    /// The program for a test: nothing where there is no Go, and the test returns then. Under `CI=true`, and where the
    /// build goes wrong, this panics.
    #[allow(clippy::panic)] // that is how a test fails
    pub fn for_test(self) -> Option<PathBuf> {
        match self.path() {
            Ok(program) => Some(program),
            Err(reason @ Error::NoGo(..)) if std::env::var("CI").as_deref() != Ok("true") => {
                eprintln!("skipped: {reason}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// What a finished program printed on standard output, or all that it said when it failed.
pub fn printed(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr))),
    }
}

/// Go's own copies may not be written to; these may.
fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => fs::write(&target, fs::read(entry.path())?)?,
        }
    }
    Ok(())
}

fn cache() -> Result<PathBuf, Error> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = set(CACHE) {
        return Ok(cache);
    }
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("ichord").join("oracles")).ok_or(Error::NoCache)
}
