//! Certificates that end soon: the cluster's own authorities, of which every other certificate is, and those that the hand-over made.
//!
//! What Talos and Kubernetes issue by these authorities they renew by themselves, so only the authorities are looked at here.

use lifecycle::{MadeCertificate, ending};
use talos_config::{pki::valid_until, secrets::SecretsBundle};

use super::{
    health::kubernetes_facts,
    talos::{Cluster, unix_seconds},
};

/// How long before its end an authority is told of: to exchange one is nothing for a weekend.
const HALF_A_YEAR: i64 = 180;

impl Cluster {
    /// The certificates that end soon, a sentence each. A cluster that does not answer has told of none of its own.
    pub async fn ending_certificates(&self) -> Vec<String> {
        let mut told = authorities(&self.secrets, unix_seconds());
        if let Ok(facts) = kubernetes_facts(self).await {
            told.extend(ending(&facts.certificates));
        }
        told
    }
}

/// How long a certificate is valid from now on; `None` where it cannot be read.
pub(super) fn days(certificate: &str, now: u64) -> Option<i64> {
    let until = valid_until(certificate).ok()?;
    Some((i64::try_from(until).ok()? - i64::try_from(now).ok()?).div_euclid(24 * 3_600))
}

fn authorities(secrets: &SecretsBundle, now: u64) -> Vec<String> {
    let SecretsBundle { os, kubernetes, etcd, aggregator, .. } = secrets;
    let of = [
        (
            os,
            "Talos's authority",
            "`talosctl rotate-ca --kubernetes=false` exchanges it while the cluster runs",
        ),
        (
            kubernetes,
            "Kubernetes's authority",
            "`talosctl rotate-ca --talos=false` exchanges it while the cluster runs",
        ),
        (etcd, "etcd's authority", "plan its exchange, or a new cluster"),
        (
            aggregator,
            "the authority of Kubernetes's aggregation layer",
            "plan its exchange, or a new cluster",
        ),
    ];
    let told = of.into_iter().filter_map(|(pair, what, remedy)| {
        let how = match days(&pair.certificate, now) {
            None => "cannot be read".to_owned(),
            Some(days) if days < 0 => format!("has not been valid for {} days", -days),
            Some(days) if days < HALF_A_YEAR => {
                format!("is valid for {days} more days, and nothing of it longer")
            }
            Some(_) => return None,
        };
        Some(format!("{what} in the site's secrets {how}: {remedy}"))
    });
    told.collect()
}

/// The days of a certificate in a Secret's data.
pub(super) fn made(secret: String, certificate: Option<&str>) -> MadeCertificate {
    MadeCertificate { secret, days: certificate.and_then(|text| days(text, unix_seconds())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000;
    const DAY: u64 = 24 * 3_600;

    #[test]
    fn authorities_are_told_of_half_a_year_before_their_end() {
        let bundle = SecretsBundle::generate(NOW).unwrap();
        let days = 87_600 / 24;
        assert_eq!(authorities(&bundle, NOW + (days - 181) * DAY), Vec::<String>::new());
        let told = authorities(&bundle, NOW + (days - 100) * DAY);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(
            told[0].starts_with("Talos's authority in the site's secrets is valid for 100 more days"),
            "{told:?}"
        );
        let told = authorities(&bundle, NOW + (days + 3) * DAY);
        assert!(
            told[1].contains("has not been valid for 3 days: `talosctl rotate-ca --talos=false`"),
            "{told:?}"
        );
    }
}
