//! A way in for somebody else: a client certificate that a control plane signs, with the rights and for the time that
//! are asked for. The daemon's own comes from the site's secrets ([`Credentials`](crate::Credentials)).

use std::{fmt, time::Duration};

use zeroize::Zeroizing;

use crate::{CallError, Client, proto::machine};

/// What opens the machines of a cluster. The key and the talosconfig, which holds it, are secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientConfiguration {
    /// the authority of the machines, PEM
    pub authority: String,
    /// PEM
    pub certificate: String,
    /// PEM
    pub key: Zeroizing<String>,
    /// all of it, as talosctl reads it
    pub talosconfig: Zeroizing<String>,
}

impl fmt::Debug for ClientConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfiguration").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Client {
    /// Has a control plane sign a certificate for `roles` (`os:admin`, `os:reader`, `os:etcd:backup` …; talos.md
    /// §6.10), good for `lifetime`, in whole seconds.
    pub async fn client_configuration(
        &self,
        roles: &[&str],
        lifetime: Duration,
    ) -> Result<ClientConfiguration, CallError> {
        const CALL: &str = "GenerateClientConfiguration";
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let request = machine::GenerateClientConfigurationRequest {
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            crt_ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
        };
        let mut machine = self.machine();
        let reply = self.message(CALL, machine.generate_client_configuration(request)).await?;
        // Every part is taken out of the reply into its own place before one of them is judged, so that none is left
        // behind in memory.
        let key = text(reply.key);
        let talosconfig = text(reply.talosconfig);
        let unusable = |part: &str| self.unusable(CALL, format!("its {part} is no text"));
        Ok(ClientConfiguration {
            authority: String::from_utf8(reply.ca).map_err(|_| unusable("authority"))?,
            certificate: String::from_utf8(reply.crt).map_err(|_| unusable("certificate"))?,
            key: key.ok_or_else(|| unusable("key"))?,
            talosconfig: talosconfig.ok_or_else(|| unusable("talosconfig"))?,
        })
    }
}

/// Bytes that are no text are overwritten, too.
fn text(bytes: Vec<u8>) -> Option<Zeroizing<String>> {
    match String::from_utf8(bytes) {
        Ok(text) => Some(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_out_of_logs() {
        let secret = || Zeroizing::new("SECRET".to_owned());
        let configuration = ClientConfiguration {
            authority: "CA".to_owned(),
            certificate: "CERTIFICATE".to_owned(),
            key: secret(),
            talosconfig: secret(),
        };
        let told = format!("{configuration:?}");
        assert!(told.contains("CERTIFICATE") && !told.contains("SECRET"), "{told}");
    }

    #[test]
    fn bytes_that_are_no_text_are_no_key() {
        assert_eq!(text(vec![0xff]), None);
        assert_eq!(text(b"pem".to_vec()).map(|text| text.to_string()).as_deref(), Some("pem"));
    }
}
