#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! The whole hand-over in the order in which a cluster is founded, by the `ichord` program, on a real control plane with
//! nodes and pods that come and go by the real controllers, and handed over to the real Flux.

mod gitops;
mod road;
mod site;

use control_plane::{Controllers, Flux, founding::FLUX, program};
use net::namespace;
use oracles::Tool;

#[test]
fn an_empty_cluster_is_handed_over_and_a_second_run_writes_nothing() {
    let Some(program) = program().unwrap() else {
        eprintln!("skipped: the control plane is not built; tests/run handover builds it");
        return;
    };
    let built = Flux::is_built(&FLUX).unwrap() && Controllers::is_built().unwrap();
    let Some(helm) = Tool::HelmClient.if_built().unwrap().filter(|_| built) else {
        eprintln!("skipped: Flux, kwok and Helm are not built; tests/run handover builds them");
        return;
    };
    // the addresses of the nodes and of the pods are here, and nowhere else
    namespace::test(|| async move {
        for address in ["10.77.0.10/24", "10.77.0.11/24", "10.77.0.12/24", "10.77.0.13/24", "10.244.0.1/16"] {
            namespace::address("lo", address.parse().unwrap()).await.unwrap();
        }
        let mut road = road::Road::begin(&program, helm).await;
        road.goes_to_its_end().await;
        road.again_and_nothing_is_written().await;
        gitops::every_level_is_told(&mut road).await;
    })
    .unwrap();
}
