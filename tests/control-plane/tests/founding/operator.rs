//! The other way to Flux: the hand-over brings the flux-operator and a FluxInstance, and the real operator installs the
//! Flux that its own module has.

use control_plane::{Flux, founding::FLUX};

use crate::{road::Road, site::Said};

impl Road {
    /// Runs all of it; the operator and the controllers begin as soon as their pods are said to run.
    async fn run_with_operator(&mut self) -> Said {
        let Road { site, plane, controllers, hands, flux, operator, .. } = self;
        let folder = site.path("");
        let words = ["--bundle", folder.to_str().unwrap()];
        let run = site.ask(&["handover", "run"], &words);
        let available = async |name: &str| {
            let path = format!("/apis/apps/v1/namespaces/flux-system/deployments/{name}");
            let pods = hands.get(&path).await.ok()?;
            (pods["status"]["availableReplicas"] == 1).then_some(())
        };
        let start = async {
            controllers
                .until("the operator's pods", async || available("flux-operator").await)
                .await
                .unwrap();
            *operator = Some(Flux::start_operator(plane).unwrap());
            controllers.until("the pods of Flux", async || available("helm-controller").await).await.unwrap();
            *flux = Some(Flux::start_defined(plane, &FLUX).unwrap());
        };
        tokio::pin!(run);
        tokio::select! {
            // a step stopped before there was anything to start
            said = &mut run => said,
            () = start => run.await,
        }
    }
}

pub(crate) async fn a_flux_instance_takes_over(road: &mut Road) {
    road.by_operator();
    let said = road.run_with_operator().await;
    if said.code != Some(0) {
        eprintln!("{}\n{}", road.operator.as_ref().map(Flux::last_words).unwrap_or_default(), road.words());
    }
    let out = said.well();
    assert!(out.contains("healthy: everything that Git brings is ready"), "{out}");
    println!("{out}");

    let hands = &road.hands;
    let root = "/apis/fluxcd.controlplane.io/v1/namespaces/flux-system/fluxinstances/flux";
    let instance = hands.get(root).await.unwrap();
    let applied = instance["status"]["lastAppliedRevision"].as_str().unwrap_or_default();
    assert!(applied.starts_with("v2."), "{instance:#}");
    // of the same names as the other way's, so that one can follow the other
    for (group, kind) in [("source", "gitrepositories"), ("kustomize", "kustomizations")] {
        let path = format!("/apis/{group}.toolkit.fluxcd.io/v1/namespaces/flux-system/{kind}/flux-system");
        let object = hands.get(&path).await.unwrap();
        assert_eq!(object["metadata"]["labels"]["fluxcd.controlplane.io/name"], "flux", "{object:#}");
    }

    let again = road.site.ask(&["handover", "run"], &[]).await.well();
    for step in again.lines().filter(|line| !line.starts_with(' ')) {
        assert!(step.ends_with(" 0 of them written"), "{again}");
    }
    let verified = road.site.ask(&["handover", "verify"], &[]).await.well();
    assert!(!verified.contains("would"), "{verified}");
    let (code, told) = road.told("healthy: everything that Git brings is ready").await;
    assert_eq!(code, Some(0), "{told}");
}
