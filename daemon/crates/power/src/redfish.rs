//! Redfish (DMTF DSP0266), as far as switching needs it: log in, find the system, say what it boots next, reset it.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::{
    Action, Ask, Done, Pins, PowerError, Redfish,
    http::{Answer, Http, Login, Question},
};

/// For all of it: a service processor is slow, and a machine takes its time to obey.
const LIMIT: Duration = Duration::from_secs(90);
/// How often a processor that is busy (409, 423, 503) is asked, and the pause in between where it names none.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(2);
/// It may name a pause; a longer one is not waited for.
const LONGEST_PAUSE: u64 = 10;
/// Between two looks at a machine that is to obey.
const LOOK: Duration = Duration::from_millis(500);

const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
const SYSTEMS: &str = "/redfish/v1/Systems";

pub(crate) async fn act(redfish: &Redfish, pins: &Pins, ask: &Ask) -> Result<Done, PowerError> {
    let mut controller = Controller { http: Http::new(redfish, pins), redfish, session: None };
    let done = timeout(LIMIT, controller.act(ask)).await;
    // sessions are few, and last long where nobody ends them
    if timeout(PAUSE, controller.log_out()).await.is_err() {
        tracing::debug!(address = controller.http.address, "the session there is not ended");
    }
    let mut done = done.map_err(|_| PowerError::Late {
        what: format!("{} by {}", ask.action.name(), controller.http.address),
        seconds: LIMIT.as_secs(),
    })??;
    if let Some(certificate) = &controller.http.first_seen {
        done.summary += &format!(
            "; its certificate is seen for the first time and counts from now on: sha256 {certificate}"
        );
    }
    Ok(done)
}

struct Controller<'a> {
    http: Http<'a>,
    redfish: &'a Redfish,
    /// where our session is ended
    session: Option<String>,
}

/// A system as it shows itself.
struct System {
    path: String,
    tag: Option<String>,
    body: Value,
}

impl System {
    fn power(&self) -> &str {
        self.body.get("PowerState").and_then(Value::as_str).unwrap_or("unknown")
    }

    fn is_on(&self) -> bool {
        matches!(self.power(), "On" | "PoweringOn")
    }

    fn is_off(&self) -> bool {
        matches!(self.power(), "Off" | "PoweringOff")
    }

    /// What its reset takes; `None` where it does not say.
    fn resets(&self) -> Option<Vec<&str>> {
        let reset = self.body.get("Actions")?.get("#ComputerSystem.Reset")?;
        let list = reset.get("ResetType@Redfish.AllowableValues")?.as_array()?;
        Some(list.iter().filter_map(Value::as_str).collect())
    }

    fn takes(&self, reset: &str) -> bool {
        self.resets().is_none_or(|resets| resets.contains(&reset))
    }

    fn target(&self) -> String {
        let target = self.body.pointer("/Actions/#ComputerSystem.Reset/target").and_then(Value::as_str);
        target.map_or_else(|| format!("{}/Actions/ComputerSystem.Reset", self.path), str::to_owned)
    }
}

impl Controller<'_> {
    async fn act(&mut self, ask: &Ask) -> Result<Done, PowerError> {
        self.log_in().await?;
        let path = self.find().await?;
        let system = self.look(&path).await?;
        let done = |summary: String| Ok(Done { summary });
        let before = system.power().to_owned();
        match ask.action {
            Action::Status => done(format!("its power is {}", before.to_lowercase())),
            Action::On if system.is_on() => done("it is on already: nothing was changed".to_owned()),
            Action::Off if system.is_off() => done("it is off already".to_owned()),
            Action::Off => {
                self.reset(&system, "ForceOff").await?;
                self.until(&path, System::is_off).await?;
                done("it is off".to_owned())
            }
            Action::NetworkBoot => {
                let boots = self.boot_from_network(&system).await?;
                done(format!("its power is {} and stays so{boots}", before.to_lowercase()))
            }
            Action::On | Action::Cycle => {
                let boots = match ask.network_boot {
                    true => self.boot_from_network(&system).await?,
                    false => "",
                };
                if system.is_off() {
                    self.reset(&system, "On").await?;
                } else if let Some(reset) =
                    ["ForceRestart", "PowerCycle"].into_iter().find(|it| system.takes(it))
                {
                    self.reset(&system, reset).await?;
                } else {
                    self.reset(&system, "ForceOff").await?;
                    let off = self.until(&path, System::is_off).await?;
                    self.reset(&off, "On").await?;
                }
                self.until(&path, System::is_on).await?;
                let was =
                    if system.is_off() { "it was off, and is on" } else { "it was on, and starts anew" };
                done(format!("{was}{boots}"))
            }
        }
    }

    /// With a session where there is one: the password goes over the wire once, and not with every question.
    async fn log_in(&mut self) -> Result<(), PowerError> {
        let Redfish { username, password, .. } = self.redfish;
        let body = json!({ "UserName": username, "Password": password.as_str() });
        let answer = self.ask(Method::POST, SESSIONS, Some(&body), None).await?;
        if let (true, Some(token)) = (answer.is_success(), answer.header("X-Auth-Token")) {
            self.http.login = Login::Token(Zeroizing::new(token.to_owned()));
            self.session = answer.header("Location").map(path_of);
            return Ok(());
        }
        let plain = Zeroizing::new(format!("{username}:{}", password.as_str()));
        let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(plain.as_bytes())));
        self.http.login = Login::Basic(value);
        Ok(())
    }

    async fn log_out(&mut self) {
        let Some(session) = self.session.take() else { return };
        if let Err(error) = self.ask(Method::DELETE, &session, None, None).await {
            tracing::debug!(address = self.http.address, %error, "the session there is not ended");
        }
    }

    /// The path of the one system, or of the one that the site names.
    async fn find(&mut self) -> Result<String, PowerError> {
        let answer = self.get(SYSTEMS).await?;
        let members = answer.body.get("Members").and_then(Value::as_array).cloned().unwrap_or_default();
        let paths: Vec<&str> =
            members.iter().filter_map(|member| member.get("@odata.id")?.as_str()).collect();
        let id = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        let ids = || paths.iter().map(|path| id(path)).collect::<Vec<_>>().join(", ");
        match (&self.redfish.system, paths.as_slice()) {
            (Some(wanted), paths) => match paths.iter().find(|path| id(path) == *wanted) {
                Some(path) => Ok((*path).to_owned()),
                None => Err(self.http.odd(&format!("it has no system {wanted}: it has {}", ids()))),
            },
            (None, [path]) => Ok((*path).to_owned()),
            (None, []) => Err(self.http.odd("it has no system")),
            (None, _) => {
                let reason = format!("it has several systems: write `system:` with one of {}", ids());
                Err(self.http.odd(&reason))
            }
        }
    }

    async fn look(&mut self, path: &str) -> Result<System, PowerError> {
        let answer = self.get(path).await?;
        let tag = answer.header("ETag").map(str::to_owned);
        if answer.body.get("PowerState").is_none() {
            return Err(self.http.odd(&format!("{path} does not tell its PowerState")));
        }
        Ok(System { path: path.to_owned(), tag, body: answer.body })
    }

    /// Its next boot, and only that. What it says afterwards is believed, not what it answered.
    async fn boot_from_network(&mut self, system: &System) -> Result<&'static str, PowerError> {
        let target = self.redfish.network_boot;
        let boot =
            json!({ "Boot": { "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": target } });
        self.tell(Method::PATCH, &system.path, &boot, system.tag.as_deref()).await?;
        let after = self.look(&system.path).await?;
        let told = |key: &str| after.body.get("Boot")?.get(key)?.as_str();
        match (told("BootSourceOverrideTarget"), told("BootSourceOverrideEnabled")) {
            (Some(now), Some("Once")) if now == target => Ok(", and boots from the network once"),
            // some know no other word, and forget it all the same
            (Some(now), Some("Continuous")) if now == target => {
                Ok(", and boots from the network; its processor does not say that this is for once")
            }
            (now, _) => {
                let reason = format!(
                    "it was told to boot by {target} once, and says that it boots by {}: nothing was switched",
                    now.unwrap_or("nothing that it names")
                );
                Err(self.http.odd(&reason))
            }
        }
    }

    async fn reset(&mut self, system: &System, how: &str) -> Result<(), PowerError> {
        if !system.takes(how) {
            let known = system.resets().unwrap_or_default().join(", ");
            return Err(self.http.odd(&format!("its reset knows no {how}: it knows {known}")));
        }
        self.tell(Method::POST, &system.target(), &json!({ "ResetType": how }), None).await
    }

    /// Until the machine obeys; the limit is that of the whole.
    async fn until(&mut self, path: &str, holds: fn(&System) -> bool) -> Result<System, PowerError> {
        loop {
            let system = self.look(path).await?;
            if holds(&system) {
                return Ok(system);
            }
            sleep(LOOK).await;
        }
    }

    async fn get(&mut self, path: &str) -> Result<Answer, PowerError> {
        let mut path = path.to_owned();
        for _ in 0..TRIES {
            let answer = self.ask(Method::GET, &path, None, None).await?;
            match answer.header("Location") {
                Some(other) if matches!(answer.status, 301 | 302 | 307 | 308) => path = path_of(other),
                _ => return self.good(answer, &format!("GET {path}")),
            }
        }
        Err(self.http.odd(&format!("{path} leads nowhere")))
    }

    /// Something that changes it. Who is busy has not done it and is asked again; a connection that breaks is not.
    async fn tell(
        &mut self,
        method: Method,
        path: &str,
        body: &Value,
        tag: Option<&str>,
    ) -> Result<(), PowerError> {
        let what = format!("{method} {path}");
        let mut tries = 0;
        loop {
            let answer = self.ask(method.clone(), path, Some(body), tag).await?;
            tries += 1;
            if !matches!(answer.status, 409 | 423 | 503) || tries == TRIES {
                return self.good(answer, &what).map(drop);
            }
            let named = answer.header("Retry-After").and_then(|text| text.parse().ok());
            let pause = named.map(|seconds: u64| Duration::from_secs(seconds.min(LONGEST_PAUSE)));
            sleep(pause.unwrap_or(PAUSE)).await;
        }
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Answer, PowerError> {
        self.http.ask(&Question { method, path, body, if_match }).await
    }

    fn good(&self, answer: Answer, what: &str) -> Result<Answer, PowerError> {
        if answer.is_success() {
            return Ok(answer);
        }
        let address = self.http.address.clone();
        if matches!(answer.status, 401 | 403) {
            return Err(PowerError::Refused { address, username: self.redfish.username.clone() });
        }
        let said = words(&answer.body).map(|words| format!(": {words}")).unwrap_or_default();
        Err(PowerError::Answer { address, what: what.to_owned(), status: answer.status, said })
    }
}

/// The path of a reference, which some write with their own address before it.
fn path_of(reference: &str) -> String {
    match reference.split_once("://").and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..))) {
        Some(path) => path.to_owned(),
        None => reference.to_owned(),
    }
}

/// An error's words: the first of its extended ones says more.
fn words(body: &Value) -> Option<&str> {
    let error = body.get("error")?;
    let extended = error.pointer("/@Message.ExtendedInfo/0/Message").and_then(Value::as_str);
    extended.or_else(|| error.get("message").and_then(Value::as_str))
}
