//! Images and the installer in protobuf: the installer's words come while it works, and who hangs up has killed it.

use std::sync::Arc;

use talos_api::proto::machine::{
    self as pb, image_service_pull_response::Response as Pulled, image_service_server::ImageService,
    lifecycle_service_install_progress::Response as Progress, lifecycle_service_server::LifecycleService,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Request as Grpc, Response as Reply};

use super::{
    machine_api::{Api, refuse},
    world::World,
};
use crate::model::{Machine, Request};

type Upgraded = pb::LifecycleServiceUpgradeResponse;

#[tonic::async_trait]
impl ImageService for Api {
    async fn pull(
        &self,
        request: Grpc<pb::ImageServicePullRequest>,
    ) -> Result<Reply<BoxStream<pb::ImageServicePullResponse>>, tonic::Status> {
        self.0.look(Machine::knows_lifecycle).map_err(refuse)?;
        let reference = request.get_ref().image_ref.clone();
        self.ask(&request, Request::ImagePull { reference: reference.clone() })?;
        let done = pb::ImageServicePullResponse { response: Some(Pulled::Name(reference)) };
        Ok(Reply::new(Box::pin(tokio_stream::iter([Ok(done)]))))
    }
}

#[tonic::async_trait]
impl LifecycleService for Api {
    async fn upgrade(
        &self,
        request: Grpc<pb::LifecycleServiceUpgradeRequest>,
    ) -> Result<Reply<BoxStream<Upgraded>>, tonic::Status> {
        let source = request.get_ref().source.clone().unwrap_or_default();
        self.ask(&request, Request::InstallUpgrade { reference: source.image_name })?;
        let installer = Installer(Arc::clone(&self.0));
        let (words, said) = mpsc::channel(4);
        tokio::spawn(async move {
            let mut turns = installer.0.turns();
            let begins = Progress::Message("running the installer".to_owned());
            if words.send(Ok(progress(begins))).await.is_err() {
                return;
            }
            while installer.0.look(Machine::is_upgrading) {
                tokio::select! {
                    () = words.closed() => return,
                    turned = turns.changed() => if turned.is_err() { return },
                }
            }
            words.send(Ok(progress(Progress::ExitCode(0)))).await.ok();
        });
        Ok(Reply::new(Box::pin(ReceiverStream::new(said))))
    }
}

/// The one that runs; it does not outlive whoever listens to it.
struct Installer(Arc<World>);

impl Drop for Installer {
    fn drop(&mut self) {
        self.0.with(|machine, _| machine.abort_upgrade());
    }
}

fn progress(response: Progress) -> Upgraded {
    let progress = pb::LifecycleServiceInstallProgress { response: Some(response) };
    Upgraded { progress: Some(progress) }
}
