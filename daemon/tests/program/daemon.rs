//! A running `ichord serve`, and the network around it.

use std::{
    io,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use api::{Client, Status};
use net::namespace::{self, Namespace};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::UnixDatagram,
    process::Child,
    sync::watch,
    time::timeout,
};

use crate::site::{BRIDGE, Site};

/// Longer than anything here takes on a busy machine; only what is broken waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The bridge `br0` with our address and the port `p1`; a machine's card is at the other end of its cable.
#[derive(Clone)]
pub(crate) struct Network {
    machine: Arc<Namespace>,
}

impl Network {
    async fn lay() -> Self {
        let machine = Namespace::create().unwrap();
        namespace::cable(["p1", "eth0"], [None, None]).await.unwrap();
        namespace::bridge(BRIDGE, &["p1"]).await.unwrap();
        namespace::address(BRIDGE, "10.77.0.1/24".parse().unwrap()).await.unwrap();
        machine.take("eth0").await.unwrap();
        let up = machine.spawn(|| async {
            namespace::up("eth0").await.unwrap();
            namespace::address("eth0", "10.77.0.50/24".parse().unwrap()).await.unwrap();
            namespace::carrier("eth0").await.unwrap();
        });
        tokio::task::spawn_blocking(move || up.unwrap().join()).await.unwrap().unwrap().unwrap();
        namespace::carrier(BRIDGE).await.unwrap();
        Self { machine: Arc::new(machine) }
    }

    /// Runs something where the machine is, while the test goes on reading what the daemon logs.
    pub(crate) async fn at_machine<F, T>(&self, body: impl FnOnce() -> F + Send + 'static) -> T
    where
        F: Future<Output = T>,
        T: Send + 'static,
    {
        let running = self.machine.spawn(body).unwrap();
        let ended = tokio::task::spawn_blocking(move || running.join()).await.unwrap();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)).unwrap()
    }
}

/// Runs a test in a network of its own. In CI a test that cannot is a failure.
pub(crate) fn in_network<F: Future<Output = ()>>(body: impl FnOnce(Network) -> F + Send + 'static) {
    let possible = match Namespace::create() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Command::new("unshare").args(["-rn", "true"]).output().is_ok_and(|output| output.status.success())
        }
        _ => true,
    };
    assert!(
        possible || std::env::var_os("CI").is_none(),
        "neither root nor user namespaces: in CI this is a failure"
    );
    namespace::test(|| async {
        let network = Network::lay().await;
        body(network.clone()).await;
        drop(network);
    })
    .unwrap();
}

/// What a command said and how it ended.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
    pub(crate) out: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            text: String::from_utf8(output.stderr).unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
        }
    }
}

/// Runs a command that ends by itself.
pub(crate) async fn run(command: Command) -> Said {
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    timeout(PATIENCE, command.output()).await.expect("it ends by itself").unwrap().into()
}

/// `ichord serve`, ready. Killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    notify: UnixDatagram,
    log: watch::Receiver<String>,
    client: Client,
}

impl Daemon {
    /// Starts one for a site and waits until it says that it is ready.
    pub(crate) async fn start(site: &Site) -> Self {
        Self::start_by(site, site.serve()).await
    }

    pub(crate) async fn start_by(site: &Site, command: Command) -> Self {
        // left over from an earlier daemon of the same site
        std::fs::remove_file(site.notify()).ok();
        let notify = UnixDatagram::bind(site.notify()).unwrap();
        let mut command = tokio::process::Command::from(command);
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (write, log) = watch::channel(String::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                write.send_modify(|log| {
                    log.push_str(&line);
                    log.push('\n');
                });
            }
        });
        let mut daemon = Self { child, notify, log, client: Client::new(&site.socket()) };
        tokio::select! {
            told = told(&daemon.notify, "READY=1") => {
                told.expect("it is ready in time");
            }
            ended = daemon.child.wait() => {
                while daemon.log.changed().await.is_ok() {}
                panic!("it ended before it was ready ({ended:?}):\n{}", *daemon.log.borrow());
            }
        }
        daemon
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) async fn status(&self) -> Status {
        self.client.status().await.unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Waits until systemd is told something; answers the whole message.
    pub(crate) async fn told(&self, what: &str) -> String {
        let told = told(&self.notify, what).await;
        told.unwrap_or_else(|| panic!("{what} was not told:\n{}", self.log()))
    }

    /// Waits until the log has a text.
    pub(crate) async fn logs(&mut self, text: &str) {
        let found =
            timeout(PATIENCE, self.log.wait_for(|log| log.contains(text))).await.is_ok_and(|log| log.is_ok());
        assert!(found, "{text:?} was not logged:\n{}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        self.log.borrow().clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id().try_into().unwrap()), signal).unwrap();
    }

    /// Ends it without a warning, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for the end, which must be an orderly one; answers the whole log.
    pub(crate) async fn ended(mut self) -> String {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap();
        while self.log.changed().await.is_ok() {}
        assert_eq!((status.code(), status.signal()), (Some(0), None), "{}", self.log());
        self.log()
    }

    pub(crate) async fn stop(self) -> String {
        self.signal(Signal::SIGTERM);
        self.ended().await
    }
}

/// The first message to systemd that has this line; none when it does not come.
async fn told(notify: &UnixDatagram, what: &str) -> Option<String> {
    let mut buffer = [0; 4096];
    let message = async {
        loop {
            let length = notify.recv(&mut buffer).await.unwrap();
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            if text.lines().any(|line| line == what) {
                return text.to_owned();
            }
        }
    };
    timeout(PATIENCE, message).await.ok()
}
