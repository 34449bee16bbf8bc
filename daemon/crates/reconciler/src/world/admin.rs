//! Our own client certificate of the Talos API: issued from the bundle, and issued anew long before it ends, whenever it
//! is needed next. Whether it is time says a number, not a clock.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use talos_api::Credentials;
use talos_config::{pki::CLIENT_LIFETIME, secrets::SecretsBundle};

use super::talos::CredentialsError;

/// A certificate is renewed when two thirds of its life have passed.
const RENEWED_AFTER: Duration = Duration::from_secs(CLIENT_LIFETIME.as_secs() / 3 * 2);

/// An attempt that failed is not made again with every look.
const AGAIN: Duration = Duration::from_secs(60);

/// The certificate in use.
pub(super) struct Admin(Mutex<Issued>);

struct Issued {
    /// Unix seconds; by a clock that was ahead, possibly
    at: u64,
    /// when the last renewal failed
    failed: Option<u64>,
    credentials: Credentials,
}

impl Admin {
    pub(super) fn issue(secrets: &SecretsBundle, now: u64) -> Result<Self, CredentialsError> {
        Ok(Self(Mutex::new(Issued { at: now, failed: None, credentials: issue(secrets, now)? })))
    }

    /// The credentials that are good now.
    pub(super) fn credentials(&self, secrets: &SecretsBundle, now: u64) -> Credentials {
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_due(issued.at, issued.failed, now) {
            match issue(secrets, now) {
                Ok(credentials) => {
                    tracing::info!("our client certificate for the Talos API was renewed");
                    *issued = Issued { at: now, failed: None, credentials };
                }
                Err(error) => {
                    tracing::error!(%error, "our client certificate for the Talos API cannot be renewed");
                    issued.failed = Some(now);
                }
            }
        }
        issued.credentials.clone()
    }
}

/// Whether a certificate that was issued then needs another one now. One from the future is not good yet for anybody.
fn is_due(issued: u64, failed: Option<u64>, now: u64) -> bool {
    let is_old = now < issued || now - issued >= RENEWED_AFTER.as_secs();
    let may_try = failed.is_none_or(|failed| now < failed || now - failed >= AGAIN.as_secs());
    is_old && may_try
}

fn issue(secrets: &SecretsBundle, now: u64) -> Result<Credentials, CredentialsError> {
    let admin = secrets.talos_admin(now)?;
    Ok(Credentials::from_pem(&secrets.os.certificate, &admin.certificate, admin.key.expose())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 24 * 60 * 60;

    #[test]
    fn a_certificate_is_renewed_in_time_and_not_before() {
        for (now, due) in [
            (NOW, false),
            (NOW + 200 * DAY, false),
            (NOW + 243 * DAY, false),
            (NOW + 244 * DAY, true),
            (NOW + 364 * DAY, true),
            (NOW + 1000 * DAY, true),
            // the clock was ahead when it was issued
            (NOW - 1, true),
        ] {
            assert_eq!(is_due(NOW, None, now), due, "{now}");
        }
        let late = NOW + 300 * DAY;
        assert!(!is_due(NOW, Some(late), late + 59) && is_due(NOW, Some(late), late + 60));
        assert!(is_due(NOW, Some(late), late - 1), "the clock went back");
    }

    #[test]
    fn whoever_asks_for_credentials_gets_good_ones() {
        let secrets = SecretsBundle::generate(NOW).unwrap();
        let admin = Admin::issue(&secrets, NOW).unwrap();
        let issued = |admin: &Admin| admin.0.lock().unwrap().at;
        for (now, expected) in
            [(NOW + DAY, NOW), (NOW + 300 * DAY, NOW + 300 * DAY), (NOW + 500 * DAY, NOW + 300 * DAY)]
        {
            admin.credentials(&secrets, now);
            assert_eq!(issued(&admin), expected);
        }
        let mut broken = SecretsBundle::generate(NOW).unwrap();
        broken.os.certificate.clear();
        admin.credentials(&broken, NOW + 600 * DAY);
        assert_eq!(issued(&admin), NOW + 300 * DAY, "the old one stays until there is another");
    }
}
