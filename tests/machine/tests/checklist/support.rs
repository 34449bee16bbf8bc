//! Machines and configs for the tests of the model: no keys, no network.

use base64::{Engine, engine::general_purpose::STANDARD};
use hardware::{MacAddr, SystemUuid};
use machine::model::{
    ApplyMode, Caller, Code, Factory, Happening, Hardware, Image, Instruction, Machine, Pace, Rack, Request,
    Response, ServerIdentity, Stage, Status, fingerprint,
};

/// The schematic with both extensions of the reference site.
pub(crate) const SCHEMATIC: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
pub(crate) const CMDLINE: &str = "talos.platform=metal console=tty0 init_on_alloc=1 slab_nomerge pti=on";
/// The virtual address of every config here.
pub(crate) const VIRTUAL: &str = "10.0.0.10";

fn pem(kind: &str, name: &str) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(name))
}

fn ca(name: &str, with_key: bool) -> String {
    let key = if with_key { STANDARD.encode(pem("ED25519 PRIVATE KEY", name)) } else { String::new() };
    format!("{{crt: {}, key: \"{key}\"}}", STANDARD.encode(pem("CERTIFICATE", name)))
}

/// How the CA of [`Config`] is called.
pub(crate) fn our_ca() -> String {
    fingerprint(&pem("CERTIFICATE", "os"))
}

pub(crate) fn admin() -> Caller {
    Caller::admin(&our_ca())
}

/// A config to be changed by a test before it is written.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) kind: &'static str,
    pub(crate) hostname: String,
    pub(crate) os_ca: String,
    pub(crate) token: &'static str,
    pub(crate) install: String,
    pub(crate) cni: &'static str,
    pub(crate) virtual_address: bool,
    pub(crate) lldpd: bool,
    pub(crate) extra: String,
}

impl Config {
    pub(crate) fn control_plane(hostname: &str) -> Self {
        let image = format!("factory.talos.dev/metal-installer/{SCHEMATIC}:v1.13.9");
        Self {
            kind: "controlplane",
            hostname: hostname.to_owned(),
            os_ca: ca("os", true),
            token: "abc123.0123456789abcdef",
            install: format!("{{diskSelector: {{model: APPLE*}}, image: \"{image}\", wipe: false}}"),
            cni: "none",
            virtual_address: true,
            lldpd: true,
            extra: String::new(),
        }
    }

    pub(crate) fn worker(hostname: &str) -> Self {
        Self {
            kind: "worker",
            os_ca: ca("os", false),
            virtual_address: false,
            ..Self::control_plane(hostname)
        }
    }

    pub(crate) fn yaml(&self) -> Vec<u8> {
        let Self { kind, hostname, os_ca, token, install, cni, extra, .. } = self;
        let is_control_plane = *kind == "controlplane";
        let kubernetes_ca = ca("k8s", is_control_plane);
        let mut text = format!(
            r#"version: v1alpha1
machine:
  type: {kind}
  token: {token}
  ca: {os_ca}
  install: {install}
cluster:
  id: aWQ=
  secret: c2VjcmV0
  clusterName: home-ops
  controlPlane: {{endpoint: "https://{VIRTUAL}:6443"}}
  network: {{cni: {{name: {cni}}}}}
  ca: {kubernetes_ca}
"#
        );
        if is_control_plane {
            text += &format!("  etcd: {{ca: {}}}\n", ca("etcd", true));
        }
        text += &format!("---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: {hostname}\n");
        if self.virtual_address {
            text +=
                &format!("---\napiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: {VIRTUAL}\nlink: eth0\n");
        }
        if self.lldpd {
            text += "---
apiVersion: v1alpha1
kind: ExtensionServiceConfig
name: lldpd
configFiles:
  - content: configure lldp portidsubtype ifname
    mountPath: /usr/local/etc/lldpd/lldpd.conf
";
        }
        (text + extra).into_bytes()
    }
}

pub(crate) fn hardware(number: u8) -> Hardware {
    let uuid = SystemUuid([0x10, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, number]);
    Hardware::plain(MacAddr([0x52, 0x54, 0, 0x77, 0, number]), uuid, &format!("S{number}"))
}

pub(crate) fn machine(number: u8) -> Machine {
    let extensions = ["siderolabs/iscsi-tools", "siderolabs/lldpd"].map(str::to_owned).into();
    let mut machine = Machine::new(hardware(number), Pace::fast(), u64::from(number))
        .with_factory(Factory([(SCHEMATIC.to_owned(), extensions)].into()));
    machine.set_lease(Some(format!("10.0.0.{number}/24").parse().unwrap()));
    machine
}

pub(crate) fn talos() -> Instruction {
    let image = Image { schematic: Some(SCHEMATIC.to_owned()), version: "v1.13.9".to_owned() };
    Instruction::Talos { image, cmdline: CMDLINE.to_owned(), intact: true }
}

pub(crate) fn apply(data: Vec<u8>) -> Request {
    Request::ApplyConfiguration { data, mode: ApplyMode::Auto, dry_run: false }
}

pub(crate) fn list(kind: &str) -> Request {
    let namespace = match kind.split('.').nth(1) {
        Some("hardware") => "hardware",
        Some("net") => "network",
        Some("config") => "config",
        Some("etcd") => "etcd",
        Some("cluster") => "cluster",
        Some("kubernetes") => "k8s",
        _ => "runtime",
    };
    Request::List { namespace: namespace.to_owned(), kind: kind.to_owned() }
}

/// A rack with its clock, and a boot server that gives every machine the same answer.
pub(crate) struct World {
    pub(crate) rack: Rack,
    pub(crate) now: u64,
    pub(crate) answer: Instruction,
    pub(crate) happened: Vec<(u64, String, Happening)>,
}

impl World {
    /// Machines 1 to `count`, named `m1` …, with power and Talos for everybody who asks.
    pub(crate) fn with(count: u8) -> Self {
        let mut rack = Rack::default();
        for number in 1..=count {
            let mut machine = machine(number);
            machine.power_on(0);
            rack.machines.insert(format!("m{number}"), machine);
        }
        Self { rack, now: 0, answer: talos(), happened: Vec::new() }
    }

    pub(crate) fn machine(&mut self, name: &str) -> &mut Machine {
        self.rack.machines.get_mut(name).unwrap()
    }

    /// Goes on to the next deadline.
    pub(crate) fn tick(&mut self) {
        self.now = self.now.max(self.rack.next_deadline().expect("somebody has something to do"));
        for (name, happening) in self.rack.advance(self.now) {
            if let Happening::AsksTheNetwork { .. } = happening {
                let (answer, now) = (self.answer.clone(), self.now);
                self.machine(&name).boot(answer, now);
            }
            self.happened.push((self.now, name, happening));
        }
    }

    /// Goes on until the condition holds; a day of machine time is the limit.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let limit = self.now + 24 * 3_600_000;
        while !done(self) {
            self.tick();
            assert!(self.now < limit, "never: {what}; the last: {:#?}", self.happened.iter().rev().take(20));
        }
    }

    pub(crate) fn until_stage(&mut self, name: &str, stage: Stage) {
        self.until(&format!("{name} is {stage:?}"), |world| world.machine(name).stage() == stage);
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, duration: u64) {
        let end = self.now + duration;
        while self.rack.next_deadline().is_some_and(|at| at <= end) {
            self.tick();
        }
        self.now = end;
    }

    /// Power off and on again.
    pub(crate) fn power_cycle(&mut self, name: &str) {
        let now = self.now;
        self.machine(name).power_off(now);
        self.machine(name).power_on(now);
    }

    /// Reboots by the API and waits until the machine is gone.
    pub(crate) fn reboot(&mut self, name: &str, power_cycle: bool) {
        self.admin(name, Request::Reboot { power_cycle }).unwrap();
        self.until_stage(name, Stage::Rebooting);
    }

    pub(crate) fn call(&mut self, name: &str, caller: &Caller, request: Request) -> Result<Response, Status> {
        let now = self.now;
        self.machine(name).call(caller, request, now)
    }

    pub(crate) fn admin(&mut self, name: &str, request: Request) -> Result<Response, Status> {
        self.call(name, &admin(), request)
    }

    pub(crate) fn code(&mut self, name: &str, caller: &Caller, request: Request) -> Option<Code> {
        self.call(name, caller, request).err().map(|status| status.code)
    }

    /// Configures a machine in maintenance; on a control plane waits for its API.
    pub(crate) fn configure(&mut self, name: &str, config: &Config) {
        self.until_stage(name, Stage::Maintenance);
        self.call(name, &Caller::Anonymous, apply(config.yaml())).unwrap();
        if config.kind == "controlplane" {
            self.until_api(name);
        }
    }

    pub(crate) fn until_api(&mut self, name: &str) {
        self.until(&format!("the API of {name} with our CA"), |world| {
            world.machine(name).server_identity() == ServerIdentity::Issued { ca: our_ca() }
        });
    }

    pub(crate) fn etcd_state(&mut self, name: &str) -> (String, Option<bool>) {
        match self.admin(name, Request::ServiceList) {
            Ok(Response::Services(services)) => {
                let etcd = services.into_iter().find(|service| service.id == "etcd");
                etcd.map(|etcd| (etcd.state, etcd.healthy)).unwrap_or_default()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn bootstrap(&mut self, name: &str) {
        self.until(&format!("etcd of {name} prepares"), |world| world.etcd_state(name).0 == "Preparing");
        self.admin(name, Request::Bootstrap).unwrap();
    }

    /// Names of the voters and of the learners that this machine knows.
    pub(crate) fn members(&mut self, name: &str) -> (Vec<String>, Vec<String>) {
        match self.admin(name, Request::EtcdMemberList { local: false }) {
            Ok(Response::Members(members)) => {
                let names = |learner| {
                    let some = members.iter().filter(move |(_, member)| member.learner == learner);
                    some.map(|(_, member)| member.name.clone()).collect()
                };
                (names(false), names(true))
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => (Vec::new(), Vec::new()),
        }
    }

    /// A resource's spec.
    pub(crate) fn spec(&mut self, name: &str, caller: &Caller, kind: &str, id: &str) -> serde_json::Value {
        match self.call(name, caller, list(kind)) {
            Ok(Response::Resources(all)) => {
                all.into_iter().find(|one| one.id == id).map(|one| one.spec).unwrap_or_default()
            }
            other => panic!("{kind}: {other:?}"),
        }
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Happening) -> bool) -> usize {
        self.happened.iter().filter(|(_, _, happening)| wanted(happening)).count()
    }
}
