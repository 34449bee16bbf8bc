//! Simulated machines on a network of their own, and the configs that make a cluster of them.

use std::{path::PathBuf, time::Duration};

use hardware::{Firmware, MacAddr, SystemUuid};
use machine::{
    model::{Factory, Hardware, Pace},
    wire::{Medium, Options, Start, run},
};
use net::namespace::{self, Namespace};
use talos_config::{
    generate::{Input, MachineType},
    secrets::SecretsBundle,
};
use tokio::sync::oneshot;

/// With lldpd.
pub(crate) const SCHEMATIC: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
/// Where the Kubernetes API is.
pub(crate) const VIRTUAL: &str = "10.77.0.10";
/// For anything to happen; everything takes milliseconds on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A machine with power; dropping it takes the power away.
pub(crate) struct Powered {
    power: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<std::io::Result<()>>>,
}

impl Powered {
    pub(crate) fn on(place: &Namespace, number: u8, firmware: Firmware, disk: PathBuf) -> Self {
        Self::with(place, number, firmware, disk, Pace::fast(), None)
    }

    /// With the real etcd of this program.
    pub(crate) fn with(
        place: &Namespace,
        number: u8,
        firmware: Firmware,
        disk: PathBuf,
        pace: Pace,
        etcd: Option<PathBuf>,
    ) -> Self {
        let (power, off) = oneshot::channel();
        let thread = place.spawn(move || async move {
            let mac = MacAddr([0x52, 0x54, 0, 0x77, 0, number]);
            let uuid = SystemUuid([0x20, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, number]);
            let interface = format!("eth{number}");
            let mut hardware = Hardware { firmware, ..Hardware::plain(mac, uuid, &format!("S{number}")) };
            hardware.links[0].name.clone_from(&interface);
            let extensions = ["siderolabs/lldpd".to_owned()].into();
            let options = Options {
                name: format!("S{number}"),
                interface,
                hardware,
                pace,
                factory: Factory([(SCHEMATIC.to_owned(), extensions)].into()),
                doomed: [].into(),
                disk: Medium::File(disk),
                start: Start::Firmware,
                second: Duration::from_millis(100),
                lldp_every: Duration::from_millis(200),
                api_server: None,
                etcd,
            };
            run(options, async { off.await.unwrap_or_default() }).await.unwrap();
        });
        Self { power: Some(power), thread: Some(thread.unwrap()) }
    }

    pub(crate) fn off(mut self) {
        drop(self.power.take());
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

/// A node's config: static names, lldpd, the virtual address on control planes.
pub(crate) fn config(machine: MachineType, hostname: &str, link: &str, secrets: &SecretsBundle) -> String {
    let mut input = Input::new("lab", &format!("https://{VIRTUAL}:6443"), "v1.13".parse().unwrap()).unwrap();
    input.install_disk = Some("/dev/nvme0n1".to_owned());
    input.install_image = Some(format!("factory.talos.dev/metal-installer/{SCHEMATIC}:v1.13.9"));
    let base = input.generate(machine, secrets).unwrap().to_yaml().unwrap();
    let mut text = base.replace("auto: stable", &format!("hostname: {hostname}"));
    text += "---\napiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: lldpd\nconfigFiles:\n  - content: configure lldp portidsubtype ifname\n    mountPath: /usr/local/etc/lldpd/lldpd.conf\n";
    if machine == MachineType::ControlPlane {
        text += &format!("---\napiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: {VIRTUAL}\nlink: {link}\n");
    }
    text
}

/// Asks until the answer is the one waited for.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Cables from machines `eth1`, `eth2`, … in their places to a switch `br0` here; the names of its ports.
pub(crate) async fn place(places: &[Namespace]) -> Vec<String> {
    let mut ports = Vec::new();
    for (number, place) in (1_u8..).zip(places) {
        let (port, eth) = (format!("p{number}"), format!("eth{number}"));
        let mac = MacAddr([0x52, 0x54, 0, 0x77, 0, number]);
        namespace::cable([&port, &eth], [None, Some(mac)]).await.unwrap();
        place.take(&eth).await.unwrap();
        ports.push(port);
    }
    let names: Vec<&str> = ports.iter().map(String::as_str).collect();
    namespace::bridge("br0", &names).await.unwrap();
    namespace::address("br0", "10.77.0.1/24".parse().unwrap()).await.unwrap();
    namespace::up("br0").await.unwrap();
    ports
}
