//! Work that takes its time: images, the installer, events. What an elder or a failing
//! machine answers; what a well one does is upstream's to say.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures_util::{Stream, StreamExt as _, stream};
use prost::Message as _;
use talos_api::{
    BlockDevice, CallError, Client, Happening, ImageNamespace, Tail, WipeMethod,
    proto::{
        common,
        machine::{
            self,
            lifecycle_service_install_progress::Response as Progress,
            lifecycle_service_server::{LifecycleService, LifecycleServiceServer},
            machine_service_server::{MachineService, MachineServiceServer},
        },
    },
};
use tonic::{Code, Request, Response, Status, service::Routes};

use crate::peer::{Ca, MAINTENANCE, Server, Tls};

type Answer<T> = Result<Response<T>, Status>;
type Pieces<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A machine from before 1.13: it has no image service and no lifecycle service.
#[derive(Default)]
struct Elder {
    asked: Mutex<Vec<String>>,
}

struct Api(Arc<Elder>);

#[tonic::async_trait]
impl MachineService for Api {
    async fn image_list(
        &self,
        request: Request<machine::ImageListRequest>,
    ) -> Answer<Pieces<machine::ImageListResponse>> {
        self.0.asked.lock().unwrap().push(format!("list {:?}", request.into_inner().namespace()));
        let good = machine::ImageListResponse { name: "pause:3".to_owned(), size: 9, ..Default::default() };
        let metadata =
            Some(common::Metadata { error: "containerd is not running".to_owned(), ..Default::default() });
        let mut images = vec![Ok(good)];
        if self.0.asked.lock().unwrap().len() > 1 {
            images.push(Ok(machine::ImageListResponse { metadata, ..Default::default() }));
        }
        Ok(Response::new(stream::iter(images).boxed()))
    }

    async fn image_pull(
        &self,
        request: Request<machine::ImagePullRequest>,
    ) -> Answer<machine::ImagePullResponse> {
        let request = request.into_inner();
        self.0.asked.lock().unwrap().push(format!("pull {:?} {}", request.namespace(), request.reference));
        Ok(Response::new(machine::ImagePullResponse { messages: vec![machine::ImagePull::default()] }))
    }

    async fn events(&self, _: Request<machine::EventsRequest>) -> Answer<Pieces<machine::Event>> {
        let phase = machine::PhaseEvent { phase: "mountState".to_owned(), action: 0 };
        let data = prost_types::Any {
            type_url: "type.googleapis.com/machine.PhaseEvent".to_owned(),
            value: phase.encode_to_vec(),
        };
        let broken = prost_types::Any { value: vec![0xff], ..data.clone() };
        let event = |data| Ok(machine::Event { data, id: "1".to_owned(), ..Default::default() });
        Ok(Response::new(
            stream::iter([event(Some(data.clone())), event(Some(broken)), event(Some(data))]).boxed(),
        ))
    }
}

/// Tells progress and hangs up before it says how it ended.
struct HangsUp;

#[tonic::async_trait]
impl LifecycleService for HangsUp {
    async fn install(
        &self,
        _: Request<machine::LifecycleServiceInstallRequest>,
    ) -> Answer<Pieces<machine::LifecycleServiceInstallResponse>> {
        let progress = machine::LifecycleServiceInstallProgress {
            response: Some(Progress::Message("partitioning".to_owned())),
        };
        let piece = Ok(machine::LifecycleServiceInstallResponse { progress: Some(progress) });
        Ok(Response::new(stream::iter([piece]).boxed()))
    }
}

async fn dialled(routes: Routes) -> (Server, Client) {
    let leaf = Ca::new().server(MAINTENANCE, |_| {});
    let server = Server::start(Tls::open(&leaf), routes).await;
    let client = Client::maintenance(server.address, &leaf.fingerprint()).await.unwrap();
    (server, client)
}

async fn elder() -> (Server, Client, Arc<Elder>) {
    let elder = Arc::<Elder>::default();
    let (server, client) = dialled(Routes::new(MachineServiceServer::new(Api(Arc::clone(&elder))))).await;
    (server, client, elder)
}

#[tokio::test]
async fn an_elder_machine_is_asked_for_images_in_its_own_words() {
    let (_server, client, elder) = elder().await;
    let images = client.images(ImageNamespace::Kubernetes).await.unwrap();
    assert_eq!((images.len(), images[0].name.as_str(), images[0].size), (1, "pause:3", 9));
    let pulled = client.pull_image(ImageNamespace::System, "installer:v1", |_| {}).await.unwrap();
    assert_eq!(pulled, "installer:v1");
    let failed = client.images(ImageNamespace::System).await.unwrap_err();
    assert!(matches!(failed, CallError::Node { .. }), "{failed:?}");
    assert_eq!(*elder.asked.lock().unwrap(), ["list NsCri", "pull NsSystem installer:v1", "list NsSystem"]);
}

#[tokio::test]
async fn an_installer_that_never_said_how_it_ended_has_not_ended_well() {
    let (_server, client) = dialled(Routes::new(LifecycleServiceServer::new(HangsUp))).await;
    let error = client.install("installer:v1", "/dev/sda", |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("partitioning"), "{error}");
    let error = client.install_upgrade("installer:v1", |_| {}).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
}

#[tokio::test]
async fn what_names_nothing_is_not_sent() {
    let (server, client, _) = elder().await;
    let nameless =
        BlockDevice { device: "/dev/".to_owned(), method: WipeMethod::Signatures, drop_partition: false };
    for error in [
        client.install("", "/dev/sda", |_| {}).await.unwrap_err(),
        client.install("installer:v1", "", |_| {}).await.unwrap_err(),
        client.install_upgrade("", |_| {}).await.unwrap_err(),
        client.wipe_block_devices(&[nameless]).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("not sent"), "{error}");
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn events_end_with_the_first_one_that_cannot_be_read() {
    let (_server, client, _) = elder().await;
    let mut events = client.events(Tail::None).await.unwrap();
    let first = events.next().await.unwrap().unwrap();
    assert!(matches!(first.happening, Happening::Phase { .. }) && first.actor.is_none(), "{first:?}");
    let error = events.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("PhaseEvent"), "{error}");
    assert!(events.next().await.is_none());
}
