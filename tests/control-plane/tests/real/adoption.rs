//! Flux's own controllers take over what a step has installed: an upgrade, never an install, never an uninstall.

use std::time::Duration;

use control_plane::{Chart, ControlPlane, Flux, Repository};
use handover::{
    Check, Component, Owner, Pace, Step, StepRelease,
    helm::{self, Identity, Record},
    run_step,
};
use kubernetes::{Client, ObjectId};
use oracles::Tool;
use serde_json::{Map, Value, json};

const PACE: Pace = Pace { poll: Duration::from_millis(200), timeout: Duration::from_secs(240) };

/// What an adoption takes.
pub(crate) const CONTROLLERS: [Tool; 2] = [Tool::SourceController, Tool::HelmController];

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: adopted}\n";

const SETTINGS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: adopted}\ndata: {mode: kubernetes, drop: me}\n";

fn chart(version: &str, data: &str) -> Chart {
    Chart {
        name: "settings".to_owned(),
        version: version.to_owned(),
        values: "mode: kubernetes\n".to_owned(),
        templates: vec![(
            "settings.yaml".to_owned(),
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{mode: {{{{ .Values.mode }}}}{data}}}\n"
            ),
        )],
    }
}

fn step() -> Step {
    let step = Step::parse("settings", &[("settings.yaml".to_owned(), SETTINGS.to_owned())]).unwrap();
    let release = StepRelease {
        identity: Identity::of("settings", "adopted"),
        chart: helm::Chart {
            name: "settings".to_owned(),
            version: "1.0.0".to_owned(),
            app_version: "1".to_owned(),
        },
        values: Map::new(),
    };
    Step { pace: PACE, ..step.into_release(release).unwrap() }
}

fn id(api_version: &str, kind: &str, name: &str) -> ObjectId {
    ObjectId {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some("adopted".to_owned()),
        name: name.to_owned(),
    }
}

async fn settings(client: &Client) -> Value {
    client.object(&id("v1", "ConfigMap", "settings")).await.unwrap().expect("it is there")
}

/// Who applies the object, beside those that only update it.
fn appliers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap().iter();
    let mut managers: Vec<String> = entries
        .filter(|entry| entry["operation"] == "Apply")
        .map(|entry| entry["manager"].as_str().unwrap().to_owned())
        .collect();
    managers.sort();
    managers
}

async fn records(client: &Client) -> Vec<(u32, String, String)> {
    let secrets = client.list("v1", "Secret", Some("adopted"), "owner=helm,name=settings").await.unwrap();
    let mut records: Vec<Record> = secrets.iter().map(|secret| Record::read(secret).unwrap()).collect();
    records.sort_by_key(|record| record.revision);
    records.into_iter().map(|record| (record.revision, record.status, record.chart.version)).collect()
}

/// What Git would bring: the repository of charts and the release.
fn of_git(url: &str, version: &str) -> Vec<Value> {
    let name = |name: &str| json!({ "name": name, "namespace": "adopted" });
    vec![
        json!({ "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmRepository", "metadata": name("charts"),
            "spec": { "interval": "1s", "url": url } }),
        json!({ "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": name("settings"),
            "spec": { "interval": "1h", "timeout": "60s",
                // as far as remediation goes: an install that failed would be undone by an uninstall
                "install": { "remediation": { "retries": 1 } },
                "upgrade": { "remediation": { "retries": 1, "remediateLastFailure": true } },
                "chart": { "spec": { "chart": "settings", "version": version, "interval": "1s",
                    "sourceRef": { "kind": "HelmRepository", "name": "charts" } } } } }),
    ]
}

/// As Git's own manager would: no field of these is anybody else's.
async fn commit(plane: &ControlPlane, objects: &[Value]) {
    for object in objects {
        let group = object["apiVersion"].as_str().unwrap();
        let plural = format!("{}s", object["kind"].as_str().unwrap().to_lowercase()).replace("ys", "ies");
        let name = object["metadata"]["name"].as_str().unwrap();
        let path = format!("/apis/{group}/namespaces/adopted/{plural}/{name}?fieldManager=test&force=true");
        let (code, answer) =
            plane.send("PATCH", &path, "application/apply-patch+yaml", object.to_string()).await.unwrap();
        assert!(matches!(code, 200 | 201), "{code} {answer}");
    }
}

/// Waits until helm-controller has this version of the chart in place.
async fn upgraded(flux: &mut Flux, client: &Client, version: &str) {
    let release = id("helm.toolkit.fluxcd.io/v2", "HelmRelease", "settings");
    flux.until(&format!("the release of {version}"), async || {
        let object = client.object(&release).await.ok()??;
        let ready = kubernetes::readiness(&object) == kubernetes::Readiness::Ready;
        (ready && object["status"]["history"][0]["chartVersion"] == *version).then_some(())
    })
    .await
    .unwrap();
}

pub(crate) async fn flux_upgrades_what_it_finds_and_becomes_its_only_owner(plane: &ControlPlane) {
    let client = plane.client().unwrap();
    let namespace = Step::parse("namespace", &[("n.yaml".to_owned(), NAMESPACE.to_owned())]).unwrap();
    run_step(&client, &Step { pace: PACE, ..namespace }).await.unwrap();
    assert_eq!(run_step(&client, &step()).await.unwrap().mutations, 2);
    assert_eq!(records(&client).await, [(1, "deployed".to_owned(), "1.0.0".to_owned())]);
    let before = settings(&client).await;

    let charts = Repository::start(vec![chart("1.0.0", ", drop: me")]).await.unwrap();
    let mut flux = Flux::start(plane, &CONTROLLERS).await.unwrap();
    commit(plane, &of_git(&charts.url, "1.0.0")).await;
    upgraded(&mut flux, &client, "1.0.0").await;

    // revision 2 over what was there: had it been removed in between, it were another object
    let superseded = (1, "superseded".to_owned(), "1.0.0".to_owned());
    assert_eq!(records(&client).await, [superseded.clone(), (2, "deployed".to_owned(), "1.0.0".to_owned())]);
    let adopted = settings(&client).await;
    assert_eq!(adopted["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(appliers(&adopted), ["helm-controller", "ichord"]);

    // from here on we only look, and give our fields away
    let again = run_step(&client, &step()).await.unwrap();
    assert_eq!(again.mutations, 0, "{:#?}", again.objects);
    assert_eq!(
        again.objects[0].to_string(),
        "ConfigMap adopted/settings left to HelmRelease adopted/settings"
    );
    let ours = Step { owner: Owner::Us, ..step() };
    let error = run_step(&client, &ours).await.unwrap_err().to_string();
    assert!(error.contains("HelmRelease adopted/settings manages it as well"), "{error}");
    let components = vec![Component {
        step: "settings".to_owned(),
        objects: step().manifests.iter().map(|manifest| manifest.id.clone()).collect(),
        of_git: true,
    }];
    let mut report = Step::empty("adoption");
    report.pace = PACE;
    report.check = Some(Check::Adoption(components));
    let told = run_step(&client, &report).await.unwrap().notes;
    assert_eq!(told, ["settings: adopted by HelmRelease adopted/settings"]);
    assert_eq!(appliers(&settings(&client).await), ["helm-controller"]);

    // what Git drops goes, because nobody else holds it any more
    charts.add(chart("1.0.1", ""));
    commit(plane, &of_git(&charts.url, "1.0.1")).await;
    upgraded(&mut flux, &client, "1.0.1").await;
    let dropped = settings(&client).await;
    assert_eq!(dropped["data"], json!({ "mode": "kubernetes" }));
    assert_eq!(dropped["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(records(&client).await.last().unwrap().0, 3);

    a_failed_upgrade_leaves_everything(plane, &client, &mut flux, &charts, &before).await;
}

/// The API server refuses what the next chart brings: Flux goes back to what was there, and removes nothing.
async fn a_failed_upgrade_leaves_everything(
    plane: &ControlPlane,
    client: &Client,
    flux: &mut Flux,
    charts: &Repository,
    before: &Value,
) {
    let mut broken = chart("1.0.2", "");
    let refused =
        "apiVersion: v1\nkind: Service\nmetadata: {name: refused}\nspec: {ports: [{port: 99999}]}\n";
    broken.templates.push(("refused.yaml".to_owned(), refused.to_owned()));
    charts.add(broken);
    commit(plane, &of_git(&charts.url, "1.0.2")).await;
    let release = id("helm.toolkit.fluxcd.io/v2", "HelmRelease", "settings");
    let undone = flux.until("the way back", async || {
        let object = client.object(&release).await.ok()??;
        let conditions = object["status"]["conditions"].as_array()?;
        let is_undone =
            |condition: &Value| condition["type"] == "Remediated" && condition["status"] == "True";
        // the condition may be told before the history is
        let is_back = object["status"]["history"][0]["chartVersion"] == "1.0.1";
        (conditions.iter().any(is_undone) && is_back).then_some(())
    });
    undone.await.unwrap();
    let kept = settings(client).await;
    assert_eq!(kept["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(kept["data"], json!({ "mode": "kubernetes" }));
    assert!(
        records(client).await.iter().any(|(_, status, version)| status == "failed" && version == "1.0.2")
    );
}
