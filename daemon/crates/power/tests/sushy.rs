//! sushy-tools, the emulator of OpenStack's Ironic, with its machines that are none ("fake"). `tests/run` brings it and says
//! where it is, which is why `cargo test` alone does not run this.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

#[path = "redfish/asked.rs"]
mod asked;

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use power::{Action, Means, Pins, PowerError, Redfish, act};
use tokio::{net::TcpStream, time::interval};

use crate::asked::{ask, redfish};

/// Where `sushy-emulator` is.
const PROGRAM: &str = "ICHORD_SUSHY";

/// What `htpasswd -nbB admin s3cret` writes.
const ACCOUNTS: &str = "admin:$2b$05$I5e1CDnU6hp/znRawhvCG.TjRqBbYXwGFLR8Kam5E.bt5/npwExEm\n";

struct Emulator {
    child: Child,
    port: u16,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Emulator {
    async fn begin(program: &str, folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let key = rcgen::generate_simple_self_signed(vec!["bmc".to_owned()]).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        std::fs::write(at("crt"), key.cert.pem()).unwrap();
        std::fs::write(at("key"), key.signing_key.serialize_pem()).unwrap();
        std::fs::write(at("accounts"), ACCOUNTS).unwrap();
        let config = format!(
            "SUSHY_EMULATOR_AUTH_FILE = '{}'\nSUSHY_EMULATOR_STATE_DIR = '{}'\n",
            at("accounts"),
            folder.display()
        );
        std::fs::write(at("config"), config).unwrap();
        let log = std::fs::File::create(at("log")).unwrap();
        let child = Command::new(program)
            .args(["--fake", "--interface", "127.0.0.1", "--port", &port.to_string()])
            .args(["--config", &at("config"), "--ssl-certificate", &at("crt"), "--ssl-key", &at("key")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut emulator = Self { child, port };
        let mut look = interval(Duration::from_millis(20));
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let ended = emulator.child.try_wait().unwrap();
            assert_eq!(ended, None, "{}", std::fs::read_to_string(at("log")).unwrap());
            look.tick().await;
        }
        emulator
    }
}

#[tokio::test]
async fn the_emulator_of_others_is_switched_on_off_and_to_the_network() {
    let program = std::env::var(PROGRAM).expect("the path of sushy-emulator is in ICHORD_SUSHY");
    let folder = tempfile::tempdir().unwrap();
    let emulator = Emulator::begin(&program, folder.path()).await;
    let pins = Pins::at(folder.path().join("certificates"));
    let means = Means::Redfish(redfish(emulator.port));
    let done = async |action, network_boot| {
        act(&means, &pins, &ask(action, network_boot)).await.unwrap_or_else(|error| {
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
            panic!("{error}\n{log}")
        })
    };
    assert!(done(Action::Status, false).await.summary.starts_with("its power is off; its certificate"));
    let on = done(Action::On, true).await.summary;
    assert!(on.starts_with("it was off, and is on, and boots from the network"), "{on}");
    assert_eq!(done(Action::Status, false).await.summary, "its power is on");
    let next = done(Action::NetworkBoot, true).await.summary;
    assert!(next.starts_with("its power is on and stays so, and boots from the network"), "{next}");
    assert_eq!(done(Action::Status, false).await.summary, "its power is on");
    assert!(done(Action::Cycle, false).await.summary.starts_with("it was on, and starts anew"));
    assert_eq!(done(Action::Off, false).await.summary, "it is off");

    let wrong = Redfish { password: "wrong".to_owned().into(), ..redfish(emulator.port) };
    let refused = act(&Means::Redfish(wrong), &pins, &ask(Action::Status, false)).await;
    assert!(matches!(refused, Err(PowerError::Refused { .. })), "{refused:?}");
    let other = Redfish { system: Some("another".into()), ..redfish(emulator.port) };
    let unknown =
        act(&Means::Redfish(other), &pins, &ask(Action::Status, false)).await.unwrap_err().to_string();
    assert!(unknown.contains("it has no system another"), "{unknown}");
}
