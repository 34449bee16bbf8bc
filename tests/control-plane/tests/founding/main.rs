#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! The whole hand-over in the order in which a cluster is founded, by the `ichord` program, on a real control plane with
//! nodes and pods that come and go by the real controllers, and handed over to the real Flux.

mod gitops;
mod network;
mod operator;
mod road;
mod site;

use std::sync::{Mutex, PoisonError};

use control_plane::{Controllers, Flux, founding::FLUX, program};
use net::namespace;
use oracles::Tool;

use crate::road::Road;

/// One after the other: each has a whole cluster.
static ALONE: Mutex<()> = Mutex::new(());

/// Begins a road and goes it; nothing where something is not built.
fn go<F: Future<Output = ()>>(others: &[Tool], go: impl FnOnce(Road) -> F + Send + 'static) {
    let Some(program) = program().unwrap() else {
        eprintln!("skipped: the control plane is not built; tests/run handover builds it");
        return;
    };
    let built = [&FLUX, others].iter().all(|tools| Flux::is_built(tools).unwrap());
    let Some(helm) =
        Tool::HelmClient.if_built().unwrap().filter(|_| built && Controllers::is_built().unwrap())
    else {
        eprintln!("skipped: Flux, kwok and Helm are not built; tests/run handover builds them");
        return;
    };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // the addresses of the nodes and of the pods are here, and nowhere else
    namespace::test(|| async move {
        for address in ["10.77.0.10/24", "10.77.0.11/24", "10.77.0.12/24", "10.77.0.13/24", "10.244.0.1/16"] {
            namespace::address("lo", address.parse().unwrap()).await.unwrap();
        }
        go(Road::begin(&program, helm).await).await;
    })
    .unwrap();
}

#[test]
fn an_empty_cluster_is_handed_over_and_a_second_run_writes_nothing() {
    go(&[], |mut road| async move {
        road.in_founding_order();
        road.goes_to_its_end().await;
        road.again_and_nothing_is_written().await;
        gitops::every_level_is_told(&mut road).await;
        gitops::a_chart_comes_from_a_registry(&mut road).await;
        gitops::another_flux_in_git_wins(&mut road).await;
        network::a_failed_upgrade_takes_nothing_away(&mut road).await;
    });
}

#[test]
fn an_empty_cluster_is_handed_over_to_a_flux_instance() {
    go(
        &[Tool::FluxOperator],
        |mut road| async move { operator::a_flux_instance_takes_over(&mut road).await },
    );
}
