//! What the operators of a cluster would do, where only their pods are said to run: the network plugin's agent brings a
//! node its network, External Secrets gets its webhook going and judges stores.
//!
//! Each looks again and again and does what is due, as the real ones do. The webhook is a real one: the API server
//! asks it at the address of its pod, which must lead here.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http_body_util::BodyExt as _;
use hyper::{Request, Response, body::Incoming};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    Hands,
    tls::{self, Identity},
};

/// Where External Secrets lives and what it is called.
const ESO: &str = "external-secrets";

/// Where its webhook listens in its pod.
const WEBHOOK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 10250);

/// Operators at work; they stop when this is dropped.
pub struct Operators {
    task: JoinHandle<()>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    warming: AtomicUsize,
    asked: AtomicUsize,
    refused: AtomicUsize,
    /// the agents have not brought a network yet
    held: AtomicBool,
}

/// What is still to be done once.
struct Work {
    hands: Hands,
    token: String,
    webhook: Option<Webhook>,
    /// whoever asks the webhook knows its certificate
    is_trusted: bool,
    counts: Arc<Counts>,
}

/// A webhook that answers, and its certificate and key (PEM).
struct Webhook {
    certificate: String,
    key: String,
    _task: JoinHandle<()>,
}

impl Operators {
    /// Starts them. A store is valid when Connect has this token. The webhook fails as often as `warming` says before it
    /// answers.
    pub fn start(hands: Hands, token: &str, warming: usize) -> Operators {
        let counts = Arc::new(Counts { warming: warming.into(), ..Counts::default() });
        let mut work = Work {
            hands,
            token: token.to_owned(),
            webhook: None,
            is_trusted: false,
            counts: Arc::clone(&counts),
        };
        let task = tokio::spawn(async move {
            loop {
                // a cluster that is not there, or not that far: the next look will see
                work.agent().await.ok();
                work.certificates().await.ok();
                work.stores().await.ok();
                sleep(Duration::from_millis(200)).await;
            }
        });
        Operators { task, counts }
    }

    /// Whether the agents of the network plugin take their time: they run, and their nodes have no network yet.
    pub fn hold_networks(&self, held: bool) {
        self.counts.held.store(held, Ordering::SeqCst);
    }

    /// How often the webhook answered, and how often it failed before that.
    pub fn asked(&self) -> (usize, usize) {
        (self.counts.asked.load(Ordering::SeqCst), self.counts.refused.load(Ordering::SeqCst))
    }
}

impl Drop for Operators {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is(object: &Value, condition: &str) -> bool {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|found| found["type"] == condition && found["status"] == "True")
}

impl Work {
    /// A node has a network as soon as the agent there is ready, and loses it when its machine boots again.
    async fn agent(&self) -> Result<()> {
        let pods =
            self.hands.get("/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dcilium").await?;
        for pod in pods["items"].as_array().into_iter().flatten().filter(|pod| is(pod, "Ready")) {
            let path = format!("/api/v1/nodes/{}", pod["spec"]["nodeName"].as_str().unwrap_or_default());
            let node = self.hands.get(&path).await?;
            let annotations = &node["metadata"]["annotations"];
            let boot = node["status"]["nodeInfo"]["bootID"].as_str().unwrap_or_default();
            let (is_up, is_held) =
                (annotations["test/network"] == "up", self.counts.held.load(Ordering::SeqCst));
            let state = match is_up {
                true if annotations["test/boot"] != boot => "down",
                false if !is_held => "up",
                _ => continue,
            };
            let change =
                json!({ "metadata": { "annotations": { "test/network": state, "test/boot": boot } } });
            self.hands.merge(&path, &change).await?;
        }
        Ok(())
    }

    async fn available(&self, namespace: &str, name: &str) -> Result<bool> {
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
        Ok(is(&self.hands.get(&path).await?, "Available"))
    }

    /// The cert-controller: a certificate for the webhook, and whoever asks it is told to trust that. What it is told
    /// through may come after the controller, so this is tried until all of it is done.
    async fn certificates(&mut self) -> Result<()> {
        if self.is_trusted || !self.available(ESO, "external-secrets-cert-controller").await? {
            return Ok(());
        }
        if self.webhook.is_none() {
            self.webhook = Some(self.serve().await?);
        }
        let Some(Webhook { certificate, key, .. }) = &self.webhook else { return Ok(()) };
        let base64 = |text: &str| BASE64_STANDARD.encode(text);
        let bundle = base64(certificate);
        let data = json!({ "data": { "ca.crt": bundle, "tls.crt": bundle, "tls.key": base64(key) } });
        self.hands
            .merge(&format!("/api/v1/namespaces/{ESO}/secrets/external-secrets-webhook"), &data)
            .await?;
        let root = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
        for name in ["secretstore-validate", "externalsecret-validate"] {
            let path = format!("{root}/{name}");
            let mut config = self.hands.get(&path).await?;
            let webhooks = config["webhooks"].as_array_mut().context("it has webhooks")?;
            for webhook in webhooks.iter_mut() {
                webhook["clientConfig"]["caBundle"] = json!(bundle);
            }
            self.hands.merge(&path, &json!({ "webhooks": webhooks })).await?;
        }
        self.is_trusted = true;
        Ok(())
    }

    /// The webhook, with a new certificate.
    async fn serve(&self) -> Result<Webhook> {
        let host = format!("external-secrets-webhook.{ESO}.svc");
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![host])?.self_signed(&key)?.pem();
        let key = key.serialize_pem();
        let counts = Arc::clone(&self.counts);
        let answer = move |request| admit(request, Arc::clone(&counts));
        let identity = Identity { certificates: &certificate, key: &key };
        let task = tls::serve(WEBHOOK, identity, answer).await?.1;
        Ok(Webhook { certificate, key, _task: task })
    }

    /// The controller of stores: it logs in to Connect with the token that the store names.
    async fn stores(&self) -> Result<()> {
        let root = "/apis/external-secrets.io/v1/clustersecretstores";
        let stores = self.hands.get(root).await?;
        for store in stores["items"].as_array().into_iter().flatten().filter(|store| !is(store, "Ready")) {
            let provider = &store["spec"]["provider"];
            let connect = &provider["onepassword"]["auth"]["secretRef"]["connectTokenSecretRef"];
            let by_connect = connect.is_object();
            let reference = match by_connect {
                true => connect,
                false => &provider["onepasswordSDK"]["auth"]["serviceAccountSecretRef"],
            };
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (name, namespace) = (text(&reference["name"]), text(&reference["namespace"]));
            let secret = self.hands.get(&format!("/api/v1/namespaces/{namespace}/secrets/{name}")).await?;
            let token = &secret["data"][text(&reference["key"])];
            let valid = *token == BASE64_STANDARD.encode(&self.token)
                && (!by_connect || self.available(&namespace, "onepassword-connect").await?);
            let (status, reason, message) = match valid {
                true => ("True", "Valid", "store validated"),
                false => ("False", "InvalidProviderConfig", "unable to validate store"),
            };
            let name = text(&store["metadata"]["name"]);
            let status = json!({ "status": { "capabilities": "ReadWrite", "conditions": [{ "type": "Ready", "status": status,
                "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z" }] } });
            self.hands.merge(&format!("{root}/{name}/status"), &status).await?;
        }
        Ok(())
    }
}

/// The webhook: it fails while it warms up, and finds everything right afterwards.
async fn admit(request: Request<Incoming>, counts: Arc<Counts>) -> Option<Response<String>> {
    let left = counts.warming.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if left.is_ok() {
        counts.refused.fetch_add(1, Ordering::SeqCst);
        return None;
    }
    counts.asked.fetch_add(1, Ordering::SeqCst);
    let body = request.into_body().collect().await.ok()?.to_bytes();
    let review: Value = serde_json::from_slice(&body).ok()?;
    let answer = json!({ "apiVersion": review["apiVersion"], "kind": "AdmissionReview",
        "response": { "uid": review["request"]["uid"], "allowed": true } });
    Response::builder().header("content-type", "application/json").body(answer.to_string()).ok()
}
