//! The container images of a machine: what is there, and what is fetched ahead of the time it is needed, so that an
//! upgrade or the first pods do not wait for the internet. Talos has two calls for each, the younger from 1.13 on;
//! the younger is asked first.

use std::time::SystemTime;

use futures_util::StreamExt as _;
use tonic::Code;

use crate::{
    CallError, Client,
    proto::{
        common::{ContainerDriver, ContainerdInstance, ContainerdNamespace},
        machine::{self, image_service_pull_response::Response},
    },
};

/// Whose images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageNamespace {
    /// of Talos itself: installer, etcd, kubelet
    System,
    /// of Kubernetes
    Kubernetes,
}

impl ImageNamespace {
    fn wire(self) -> ContainerdNamespace {
        match self {
            Self::System => ContainerdNamespace::NsSystem,
            Self::Kubernetes => ContainerdNamespace::NsCri,
        }
    }

    pub(crate) fn instance(self) -> ContainerdInstance {
        let driver = match self {
            Self::System => ContainerDriver::Containerd,
            Self::Kubernetes => ContainerDriver::Cri,
        };
        ContainerdInstance { driver: driver.into(), namespace: self.wire().into() }
    }
}

/// An image that the machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `registry.k8s.io/kube-apiserver:v1.36.3`
    pub name: String,
    /// `sha256:…`
    pub digest: String,
    /// in bytes
    pub size: u64,
    /// when the machine got it, by its clock
    pub created: Option<SystemTime>,
}

/// How far one layer of a pull is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerProgress {
    /// which
    pub layer: String,
    /// bytes that are there
    pub done: u64,
    /// bytes in all; 0 while that is not known
    pub total: u64,
}

impl Client {
    /// The images that are there.
    pub async fn images(&self, namespace: ImageNamespace) -> Result<Vec<Image>, CallError> {
        let mut images = self.image_service();
        let request = machine::ImageServiceListRequest { containerd: Some(namespace.instance()) };
        match self.collected("ImageService.List", images.list(request)).await {
            Ok(images) => Ok(images.into_iter().map(Image::from).collect()),
            Err(error) if error.code() == Code::Unimplemented => self.images_by_elder(namespace).await,
            Err(error) => Err(error),
        }
    }

    async fn images_by_elder(&self, namespace: ImageNamespace) -> Result<Vec<Image>, CallError> {
        const CALL: &str = "ImageList";
        let mut machine = self.machine();
        let request = machine::ImageListRequest { namespace: namespace.wire().into() };
        let images = self.collected(CALL, machine.image_list(request)).await?;
        images
            .into_iter()
            .map(|image| {
                self.not_failed(CALL, &image)?;
                Ok(Image {
                    name: image.name,
                    digest: image.digest,
                    size: u64::try_from(image.size).unwrap_or_default(),
                    created: image.created_at.and_then(|created| created.try_into().ok()),
                })
            })
            .collect()
    }

    /// Fetches an image, unless it is there, and returns its name. `seen` hears how far it is, from Talos 1.13 on. The
    /// client's limit is on every piece of news; before 1.13 there is only one, so it is on the whole.
    pub async fn pull_image(
        &self,
        namespace: ImageNamespace,
        reference: &str,
        mut seen: impl FnMut(LayerProgress),
    ) -> Result<String, CallError> {
        const CALL: &str = "ImageService.Pull";
        let request = machine::ImageServicePullRequest {
            containerd: Some(namespace.instance()),
            image_ref: reference.to_owned(),
        };
        let mut images = self.image_service();
        let mut news = match self.opened(CALL, images.pull(request)).await {
            Err(error) if error.code() == Code::Unimplemented => {
                return self.pull_image_by_elder(namespace, reference).await;
            }
            opened => opened?,
        };
        let mut name = None;
        while let Some(piece) = self.in_time(CALL, async { Ok(news.next().await) }).await? {
            match piece?.response {
                Some(Response::Name(pulled)) => name = Some(pulled),
                Some(Response::PullProgress(progress)) => seen(progress.into()),
                None => {}
            }
        }
        name.ok_or_else(|| self.unusable(CALL, "it ended before the image was there"))
    }

    async fn pull_image_by_elder(
        &self,
        namespace: ImageNamespace,
        reference: &str,
    ) -> Result<String, CallError> {
        let mut machine = self.machine();
        let request =
            machine::ImagePullRequest { namespace: namespace.wire().into(), reference: reference.to_owned() };
        self.messages("ImagePull", machine.image_pull(request)).await?;
        Ok(reference.to_owned())
    }
}

impl From<machine::ImageServiceListResponse> for Image {
    fn from(image: machine::ImageServiceListResponse) -> Self {
        Self {
            name: image.name,
            digest: image.digest,
            size: u64::try_from(image.size).unwrap_or_default(),
            created: image.created_at.and_then(|created| created.try_into().ok()),
        }
    }
}

impl From<machine::ImageServicePullProgress> for LayerProgress {
    fn from(progress: machine::ImageServicePullProgress) -> Self {
        let bytes = progress.progress.unwrap_or_default();
        let size = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
        Self { layer: progress.layer_id, done: size(bytes.offset), total: size(bytes.total) }
    }
}
