//! Redfish against a service processor of our own, which fails in every way. Other people's: `sushy`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod asked;
mod played;

use power::{Action, Means, Pins, PowerError, Redfish, act};

use crate::{
    asked::{ask, redfish},
    played::{Fault, Processor},
};

struct Stage {
    processor: Processor,
    pins: Pins,
    /// of the pins
    folder: tempfile::TempDir,
}

async fn stage(faults: &[Fault]) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let pins = Pins::at(folder.path().join("certificates"));
    Stage { processor: Processor::begin(faults).await, pins, folder }
}

impl Stage {
    async fn act(&self, action: Action, network_boot: bool) -> Result<String, PowerError> {
        let means = Means::Redfish(redfish(self.processor.port));
        act(&means, &self.pins, &ask(action, network_boot)).await.map(|done| done.summary)
    }

    async fn words(&self, action: Action) -> String {
        self.act(action, true).await.expect_err("it fails").to_string()
    }
}

#[tokio::test]
async fn a_machine_is_switched_on_and_boots_from_the_network_once() {
    let stage = stage(&[]).await;
    let said = stage.act(Action::On, true).await.unwrap();
    let certificate = hex::encode(stage.processor.certificate);
    assert_eq!(
        said,
        format!(
            "it was off, and is on, and boots from the network once; its certificate is seen for the first time and counts from \
             now on: sha256 {certificate}"
        )
    );
    let told = stage.processor.told();
    let patch = told.iter().find(|line| line.starts_with("PATCH")).unwrap();
    assert!(patch.contains(r#""BootSourceOverrideEnabled":"Once""#), "{patch}");
    assert!(
        patch.contains(r#""BootSourceOverrideTarget":"Pxe""#) && patch.contains("if-match=\"1\""),
        "{patch}"
    );
    assert!(told.iter().any(|line| line.contains(r#""ResetType":"On""#)), "{told:?}");
    assert!(told.last().unwrap().starts_with("DELETE"), "the session is ended: {told:?}");
    assert!(told.iter().skip(1).all(|line| line.contains("token")), "the password goes once: {told:?}");

    let said = stage.act(Action::On, true).await.unwrap();
    assert_eq!(said, "it is on already: nothing was changed");
    assert_eq!(stage.act(Action::Status, false).await.unwrap(), "its power is on");
    let said = stage.act(Action::Cycle, false).await.unwrap();
    assert_eq!(said, "it was on, and starts anew");
    assert!(stage.processor.told().iter().any(|line| line.contains("ForceRestart")));
    assert_eq!(stage.act(Action::Off, false).await.unwrap(), "it is off");
    assert_eq!(stage.act(Action::Off, false).await.unwrap(), "it is off already");
}

#[tokio::test]
async fn a_machine_that_runs_is_told_what_it_boots_next_and_keeps_its_power() {
    let stage = stage(&[Fault::On]).await;
    let said = stage.act(Action::NetworkBoot, true).await.unwrap();
    assert!(said.starts_with("its power is on and stays so, and boots from the network once"), "{said}");
    let told = stage.processor.told();
    assert!(
        told.iter().any(|line| line.starts_with("PATCH") && line.contains(r#"Target":"Pxe""#)),
        "{told:?}"
    );
    assert!(told.iter().all(|line| !line.contains("ResetType")), "nothing is switched: {told:?}");
}

#[tokio::test]
async fn who_knows_no_restart_is_switched_off_and_on() {
    let stage = stage(&[Fault::On, Fault::NoRestart]).await;
    assert_eq!(
        stage.act(Action::Cycle, false).await.unwrap_or_default().split(';').next().unwrap(),
        "it was on, and starts anew"
    );
    let told = stage.processor.told();
    let resets: Vec<&String> = told.iter().filter(|line| line.contains("ResetType")).collect();
    assert!(resets[0].contains("ForceOff") && resets[1].contains("\"On\""), "{resets:?}");
}

#[tokio::test]
async fn who_knows_no_sessions_is_given_the_password_with_every_question() {
    let stage = stage(&[Fault::NoSessions]).await;
    assert!(stage.act(Action::Status, false).await.unwrap().starts_with("its power is off"));
    let told = stage.processor.told();
    assert!(told.iter().skip(1).all(|line| line.contains("basic")), "{told:?}");
}

#[tokio::test]
async fn a_busy_processor_is_asked_again_and_not_for_ever() {
    let busy = stage(&[Fault::Busy(2)]).await;
    assert!(busy.act(Action::On, true).await.unwrap().starts_with("it was off, and is on"));
    assert_eq!(busy.processor.told().iter().filter(|line| line.starts_with("PATCH")).count(), 3);
    let busy = stage(&[Fault::Busy(100)]).await;
    let words = busy.words(Action::On).await;
    assert!(words.contains("409") && words.contains("BMC is updating"), "{words}");
    assert_eq!(busy.processor.told().iter().filter(|line| line.starts_with("PATCH")).count(), 4);
    assert!(busy.processor.told().iter().all(|line| !line.contains("ResetType")), "nothing is switched");
}

#[tokio::test]
async fn what_is_wrong_is_said_and_the_password_is_not() {
    for (faults, action, expected) in [
        (&[Fault::WrongPassword][..], Action::Status, "does not let admin in"),
        (&[Fault::WrongPassword, Fault::NoSessions], Action::Status, "does not let admin in"),
        (&[Fault::Systems(2)], Action::Status, "several systems: write `system:` with one of 1, 2"),
        (&[Fault::Systems(0)], Action::Status, "it has no system"),
        (&[Fault::Forgets], Action::On, "says that it boots by None: nothing was switched"),
        (&[Fault::Garbage], Action::Status, "it has no system"),
        (&[Fault::HangsUp], Action::Status, "no answer"),
    ] {
        let stage = stage(faults).await;
        let error = stage.act(action, true).await.expect_err("it fails");
        let words = error.to_string();
        assert!(words.contains(expected), "{faults:?}: {words}");
        assert!(!format!("{words} {error:?}").contains("s3cret"), "{words}");
        assert!(stage.processor.told().iter().all(|line| !line.contains("ResetType")), "{faults:?}");
    }
    assert!(!format!("{:?}", redfish(443)).contains("s3cret"));
}

#[tokio::test]
async fn another_certificate_gets_no_password() {
    let first = stage(&[]).await;
    first.act(Action::Status, false).await.unwrap();
    let Stage { pins, processor, folder: _folder } = first;
    let other = Processor::begin_at(processor.end().await, &[]).await;
    let pins = &pins;
    let means = |certificate| Means::Redfish(Redfish { certificate, ..redfish(other.port) });
    let error = act(&means(None), pins, &ask(Action::Status, false)).await.unwrap_err().to_string();
    assert!(error.contains("another certificate than at first"), "{error}");
    assert!(
        error.contains(&format!("certificate: {}", hex::encode(other.certificate))),
        "the way out: {error}"
    );
    assert_eq!(other.told(), Vec::<String>::new(), "nothing was said to it");
    let named = act(&means(Some(other.certificate)), pins, &ask(Action::Status, false)).await;
    assert!(named.is_ok(), "the site names it: {named:?}");
    let error = act(&means(Some([0; 32])), pins, &ask(Action::Status, false)).await.unwrap_err();
    assert!(error.to_string().contains("than the site names"), "{error}");
}

#[tokio::test]
async fn nobody_there_and_no_tls_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let pins = Pins::at(folder.path().join("certificates"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let means = Means::Redfish(redfish(listener.local_addr().unwrap().port()));
    let plain = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let error = act(&means, &pins, &ask(Action::Status, false)).await.unwrap_err();
    assert!(matches!(error, PowerError::Tls { .. }), "{error}");
    plain.await.unwrap();
    let error = act(&means, &pins, &ask(Action::Status, false)).await.unwrap_err();
    assert!(matches!(error, PowerError::Connect { .. }), "{error}");
}
