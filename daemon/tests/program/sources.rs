//! Where a step's objects come from: the real `helm` and `kubectl`, packs, downloads, and secrets from everywhere.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use oracles::Tool;
use sha2::{Digest as _, Sha256};

use crate::{
    daemon::{Said, run},
    sealed::Programs,
    site::Site,
};

const RELEASE: &str = "\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: demo, namespace: tools}
spec:
  interval: 1h
  chart: {spec: {chart: demo, sourceRef: {kind: HelmRepository, name: demo}}}
  values:
    replicas: 1
    cgroup: {autoMount: {enabled: false}}
";

/// The site with a step that a chart brings.
fn with_chart() -> Site {
    let site = Site::without_secrets();
    let ichord = site.read("ichord.yaml");
    let step = "  - name: demo\n    helm: {release: apps/demo.yaml, chart: charts/demo}\n";
    site.write("ichord.yaml", &(ichord.trim_end().to_owned() + "\n" + step));
    site.write("apps/demo.yaml", RELEASE);
    site.write("charts/demo/Chart.yaml", "apiVersion: v2\nname: demo\nversion: 1.2.3\nappVersion: '9'\n");
    site.write("charts/demo/values.yaml", "replicas: 2\nlabels: {}\ncgroup: {autoMount: {enabled: true}}\n");
    site.write(
        "charts/demo/templates/demo.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: demo}\ndata: {replicas: {{ .Values.replicas | quote }}, mount: {{ .Values.cgroup.autoMount.enabled | quote }}}\n",
    );
    site.write(
        "charts/demo/templates/test.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: check, annotations: {helm.sh/hook: test}}\nspec: {containers: [{name: a, image: b}]}\n",
    );
    site.write(
        "charts/demo/crds/demo.yaml",
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: demos.example.org}\nspec: {group: example.org, names: {kind: Demo, plural: demos}, scope: Cluster, versions: []}\n",
    );
    site
}

/// A program that is the real one.
fn real(programs: Programs, name: &str, tool: Tool, part: &str) -> Option<Programs> {
    let Some(program) = tool.if_built().unwrap() else {
        eprintln!("skipped: the real {name} is not built; tests/run handover builds it");
        return None;
    };
    Some(programs.with(name, &format!("exec {} {part} \"$@\"", program.display())))
}

#[tokio::test]
async fn a_chart_is_rendered_with_the_values_of_git_and_frozen_into_a_pack() {
    let Some(programs) = real(Programs::none(), "helm", Tool::HelmClient, "") else { return };
    let site = with_chart();
    let Said { code, text, .. } = run(programs.command(&site, &["check"], &[])).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(programs.told("helm").len(), 4, "each is asked once: {:?}", programs.told("helm"));

    // the value that nobody would have missed: the chart's own key has a capital M
    site.edit("apps/demo.yaml", "autoMount", "automount");
    let Said { code, text, .. } = run(programs.command(&site, &["check"], &[])).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains(
            "apps/demo.yaml:9:14: error[release-value-unknown]: the chart has no value cgroup.automount"
        ) && text.contains("did you mean `cgroup.autoMount`?"),
        "{text}"
    );
    site.edit("apps/demo.yaml", "automount", "autoMount");

    let pack = site.path("demo.pack");
    let pack = pack.to_str().unwrap();
    site.write(
        "parameters.yaml",
        "replicas:\n  type: integer\n  set: [{kind: ConfigMap, name: demo, path: /data/replicas, text: true}]\n",
    );
    let parameters = site.path("parameters.yaml").display().to_string();
    let words = ["demo", "--out", pack, "--parameters", &parameters];
    let Said { code, text, out } = run(programs.command(&site, &["pack", "build"], &words)).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(out.starts_with("demo 1.2.3: 3 objects, sha256:"), "{out}");
    let Said { out, .. } = run(show(&site, pack)).await;
    for said in ["release tools/demo of demo 1.2.3", "ConfigMap demo", "parameter replicas: integer"] {
        assert!(out.contains(said), "{out}");
    }

    // without helm, without the chart: the pack is enough
    let Said { code, text, out } = run(Programs::none().command(&site, &["pack", "import"], &[pack])).await;
    assert_eq!(code, Some(0), "{text}");
    let imported = out.trim();
    assert!(imported.starts_with("packs/demo-1.2.3-"), "{imported}");
    let from = "helm: {release: apps/demo.yaml, chart: charts/demo}";
    site.edit("ichord.yaml", from, &format!("pack: {imported}\n    values: {{replicas: 3}}"));
    let Said { code, text, .. } = run(Programs::none().command(&site, &["check"], &[])).await;
    assert_eq!(code, Some(0), "{text}");
    site.edit("ichord.yaml", "replicas: 3", "replica: 3");
    let Said { code, text, .. } = run(Programs::none().command(&site, &["check"], &[])).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("error[pack-values]: the pack demo has no parameter replica; did you mean replicas?"),
        "{text}"
    );

    let touched = site.read("demo.pack").replace("\"mount\":\"false\"", "\"mount\":\"true\"");
    site.write("touched.pack", &touched);
    let Said { code, text, .. } = run(show(&site, site.path("touched.pack").to_str().unwrap())).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("error[pack-digest]"), "{text}");
}

#[tokio::test]
async fn values_from_config_maps_come_before_the_releases_own() {
    let Some(programs) = real(Programs::none(), "helm", Tool::HelmClient, "") else { return };
    let site = with_chart();
    site.edit("apps/demo.yaml", "  values:\n", "  valuesFrom: [{kind: ConfigMap, name: demo}]\n  values:\n");
    let Said { code, text, .. } = run(programs.command(&site, &["check"], &[])).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains(
            "apps/demo.yaml:7:16: error[release-values]: there is no ConfigMap demo among the files of this chart"
        ),
        "{text}"
    );

    let map = |values: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: demo, namespace: tools}}\ndata:\n  values.yaml: |\n    {values}\n"
        )
    };
    site.edit(
        "ichord.yaml",
        "release: apps/demo.yaml",
        "release: apps/demo.yaml, repositories: [apps/values.yaml]",
    );
    site.write("apps/values.yaml", &map("{replicas: 7, cgroup: {autoMount: {enabled: true}}, replica: 1}"));
    let Said { code, text, .. } = run(programs.command(&site, &["check"], &[])).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("values.yaml of the ConfigMap demo:1:"), "{text}");
    assert!(text.contains("the chart has no value replica, so it would have no effect"), "{text}");

    // the release's own replicas win; what only the ConfigMap says is taken
    site.write("apps/values.yaml", &map("{replicas: 7, labels: {from: map}}"));
    let pack = site.path("demo.pack");
    let words = ["demo", "--out", pack.to_str().unwrap()];
    let Said { code, text, .. } = run(programs.command(&site, &["pack", "build"], &words)).await;
    assert_eq!(code, Some(0), "{text}");
    let built = site.read("demo.pack").replace([' ', '\n'], "");
    assert!(built.contains("\"replicas\":\"1\""), "{built}");
    assert!(built.contains("\"labels\":{\"from\":\"map\"}"), "{built}");
}

/// A Kustomization of Flux that builds the folder of the chart, and what its variables come from.
const BUILDER: &str = "\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps, namespace: flux-system}
spec:
  path: ./apps
  postBuild:
    substitute: {REPLICAS: '5'}
    substituteFrom:
      - {kind: ConfigMap, name: settings}
      - {kind: Secret, name: hidden}
      - {kind: Secret, name: none, optional: true}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: flux-system}
data: {REPLICAS: '4', ZONE: north}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden, namespace: flux-system}
stringData: {HIDDEN: canary-7f3a91-variable}
";

#[tokio::test]
async fn variables_of_the_kustomization_are_put_in_as_flux_does_it() {
    let Some(programs) = real(Programs::none(), "helm", Tool::HelmClient, "") else { return };
    let site = with_chart();
    site.edit(
        "ichord.yaml",
        "release: apps/demo.yaml",
        "release: apps/demo.yaml, repositories: [flux/apps.yaml]",
    );
    site.write("flux/apps.yaml", BUILDER);
    let labels = "labels: {zone: '${ZONE}', text: '$${ZONE}', odd: '${ODD:=a default}'}";
    site.edit("apps/demo.yaml", "    replicas: 1\n", &format!("    replicas: ${{REPLICAS}}\n    {labels}\n"));
    site.edit(
        "charts/demo/templates/demo.yaml",
        "mount:",
        "labels: {{ toJson .Values.labels | quote }}, mount:",
    );
    let pack = site.path("demo.pack").display().to_string();
    let build = async || run(programs.command(&site, &["pack", "build"], &["demo", "--out", &pack])).await;
    let check = async || run(programs.command(&site, &["check"], &[])).await;
    let Said { code, text, .. } = check().await;
    assert_eq!(code, Some(0), "{text}");

    // a Secret's variable is in no pack, whether it is used or not, and is told to nobody
    let Said { code, text, .. } = build().await;
    assert!(code == Some(2) && text.contains("error[pack-secret]"), "{text}");
    site.edit("apps/demo.yaml", "a default", "${HIDDEN}");
    site.edit("charts/demo/templates/demo.yaml", "mount:", "x: {{ fail .Values.labels.odd }}, mount:");
    let Said { code, text, out } = check().await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("error[release-helm]") && !(text + &out).contains(CANARY), "the value is told");
    site.edit("charts/demo/templates/demo.yaml", "x: {{ fail .Values.labels.odd }}, mount:", "mount:");
    site.edit("apps/demo.yaml", "${HIDDEN}", "a default");

    site.edit("flux/apps.yaml", "      - {kind: Secret, name: hidden}\n", "");
    let Said { code, text, .. } = build().await;
    assert_eq!(code, Some(0), "{text}");
    let built = site.read("demo.pack").replace([' ', '\n'], "");
    assert!(built.contains("\"replicas\":\"5\""), "{built}");
    for said in ["north", "${ZONE}", "adefault"] {
        assert!(built.contains(said), "{said}: {built}");
    }

    for (file, from, to, rule, said) in [
        (
            "apps/demo.yaml",
            "${ZONE}",
            "${NOBODY}",
            "warning",
            "NOBODY is no variable of the Kustomization apps: Flux puts nothing there",
        ),
        ("apps/demo.yaml", "${ZONE}", "${ZONE", "error", "its brace is missing"),
        (
            "flux/apps.yaml",
            "name: settings}",
            "name: other}",
            "error",
            "the ConfigMap other, which is not among the files",
        ),
        ("flux/apps.yaml", "REPLICAS: '5'", "1R: '5'", "error", "cannot be the name of a variable"),
        ("flux/apps.yaml", "path: ./apps", "path: ./other", "warning", "is in no folder that apps builds"),
    ] {
        let before = site.read(file);
        site.edit(file, from, to);
        let Said { text, .. } = check().await;
        assert!(text.contains(&format!("{rule}[release-variables]")) && text.contains(said), "{to}: {text}");
        site.write(file, &before);
    }
}

/// A Secret as SOPS leaves it.
const SEALED: &str = "\
apiVersion: v1
kind: Secret
metadata: {name: demo, namespace: tools}
stringData: {values.yaml: 'ENC[AES256_GCM,data:x,type:str]', one: 'ENC[AES256_GCM,data:x,type:str]'}
sops:
    version: 3.11.0
";

#[tokio::test]
async fn values_from_secrets_are_used_and_told_to_nobody() {
    let opened = format!(
        "apiVersion: v1\\nkind: Secret\\nmetadata: {{name: demo, namespace: tools}}\\nstringData:\\n  one: '{CANARY}-one'\\n  values.yaml: |\\n    labels: {{from: {CANARY}-file}}\\n    replicas: 7\\n"
    );
    let programs = Programs::none().with("sops", &format!("printf \"{opened}\""));
    let Some(programs) = real(programs, "helm", Tool::HelmClient, "") else { return };
    let site = with_chart();
    let references = "[{kind: Secret, name: demo}, {kind: Secret, name: demo, valuesKey: one, targetPath: labels.one}, {kind: Secret, name: none, optional: true}]";
    site.edit("apps/demo.yaml", "  values:\n", &format!("  valuesFrom: {references}\n  values:\n"));
    site.edit(
        "charts/demo/templates/demo.yaml",
        "mount:",
        "from: {{ .Values.labels.from | quote }}, one: {{ .Values.labels.one | quote }}, mount:",
    );
    let check = async || {
        let Said { code, text, out } = run(programs.command(&site, &["check"], &[])).await;
        assert!(!text.contains(CANARY) && !out.contains(CANARY), "{text}{out}");
        (code, text)
    };
    let (code, text) = check().await;
    assert_eq!(code, Some(2), "{text}");
    for said in [
        "apps/demo.yaml:7:16: error[release-values]: there is no Secret demo among the files of this chart",
        "encrypted with SOPS or not",
        "External Secrets",
    ] {
        assert!(text.contains(said), "{text}");
    }

    site.edit(
        "ichord.yaml",
        "release: apps/demo.yaml",
        "release: apps/demo.yaml, repositories: [apps/secret.yaml]",
    );
    site.write("apps/secret.yaml", SEALED);
    let (code, text) = check().await;
    assert_eq!(code, Some(0), "{text}");
    assert!(programs.told("helm").iter().all(|told| !told.contains(CANARY)), "{:?}", programs.told("helm"));

    // it would be for everybody
    let pack = site.path("demo.pack").display().to_string();
    let Said { code, text, .. } =
        run(programs.command(&site, &["pack", "build"], &["demo", "--out", &pack])).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("error[pack-secret]: values of its chart come from a Secret"), "{text}");

    // a chart that quotes what it was given, a key that nobody knows, a path that leads nowhere
    for (file, from, to, said) in [
        ("charts/demo/templates/demo.yaml", "mount:", "x: {{ fail .Values.labels.from }}, mount:", "): …"),
        (
            "apps/demo.yaml",
            "targetPath: labels.one",
            "targetPath: lables.one",
            "the chart has no value lables",
        ),
        (
            "apps/demo.yaml",
            "targetPath: labels.one",
            "targetPath: 'replicas[0]'",
            "cannot be put at replicas[0]",
        ),
        ("apps/demo.yaml", "valuesKey: one", "valuesKey: two", "the Secret demo has no key two"),
        (
            "apps/demo.yaml",
            "valuesKey: one, targetPath: labels.one",
            "valuesKey: one",
            "one of the Secret demo is not a mapping",
        ),
    ] {
        let before = site.read(file);
        site.edit(file, from, to);
        let (code, text) = check().await;
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(said), "{said}: {text}");
        site.write(file, &before);
    }
}

#[tokio::test]
async fn a_folder_of_the_repository_is_read_as_flux_reads_it() {
    let Some(programs) = real(Programs::none(), "helm", Tool::HelmClient, "") else { return };
    let Some(programs) = real(programs, "kubectl", Tool::ControlPlane, "kubectl") else { return };
    let site = with_chart();
    // as most repositories do: a generator that names the map by its digest, and a rule that follows the name
    site.edit(
        "apps/demo.yaml",
        "  values:\n",
        "  valuesFrom: [{kind: ConfigMap, name: demo-values}]\n  values:\n",
    );
    site.write("apps/kustomization.yaml", "namespace: tools\nresources: [demo.yaml, secret.yaml]\nconfigMapGenerator: [{name: demo-values, files: [values.yaml=file.yaml]}]\nconfigurations: [names.yaml]\n");
    site.write("apps/names.yaml", "nameReference: [{kind: ConfigMap, version: v1, fieldSpecs: [{path: spec/valuesFrom/name, kind: HelmRelease}]}]\n");
    site.write("apps/file.yaml", "labels: {from: folder}\n");
    site.write("apps/secret.yaml", SEALED);
    site.edit("ichord.yaml", "release: apps/demo.yaml", "release: apps/");
    let pack = site.path("demo.pack");
    let words = ["demo", "--out", pack.to_str().unwrap()];
    let Said { code, text, .. } = run(programs.command(&site, &["pack", "build"], &words)).await;
    assert_eq!(code, Some(0), "{text}");
    let built = site.read("demo.pack").replace([' ', '\n'], "");
    assert!(built.contains("\"labels\":{\"from\":\"folder\"}"), "{built}");

    // kustomize leaves what is encrypted as it is
    site.edit("apps/demo.yaml", "valuesFrom: [", "valuesFrom: [{kind: Secret, name: demo}, ");
    let Said { code, text, .. } = run(programs.command(&site, &["check"], &[])).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("read through a kustomization, which leaves it encrypted"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_changed_is_compared_with_gits_chart() {
    let Some(programs) = real(Programs::none(), "helm", Tool::HelmClient, "") else { return };
    let site = with_chart();
    let workload = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: demo, namespace: tools}\nspec: {selector: {matchLabels: {app: INSTANCE}}, template: {metadata: {labels: {app: INSTANCE}}, spec: {containers: [{name: a, image: b}]}}}\n";
    site.write("charts/demo/templates/work.yaml", &workload.replace("INSTANCE", "{{ .Release.Name }}"));
    site.write("handover/work.yaml", &workload.replace("INSTANCE", "demo"));
    let release = "release: {name: demo, namespace: tools, chart: demo, version: 1.2.3, values: handover/values.yaml, git: apps/demo.yaml, git-chart: charts/demo}";
    site.write("handover/values.yaml", "replicas: 1\ncgroup: {autoMount: {enabled: false}}\n");
    site.edit(
        "ichord.yaml",
        "helm: {release: apps/demo.yaml, chart: charts/demo}",
        &format!("manifests: [handover/work.yaml]\n    {release}"),
    );
    let Said { code, text, .. } = run(programs.command(&site, &["check"], &[])).await;
    assert_eq!(code, Some(0), "{text}");
    site.write("handover/work.yaml", &workload.replace("INSTANCE", "other"));
    let Said { code, text, .. } = run(programs.command(&site, &["check"], &[])).await;
    assert_eq!(code, Some(2), "{text}");
    let said = r#"handover/work.yaml:1:1: error[release-fixed]: Deployment tools/demo: .spec.selector is {"matchLabels":{"app":"other"}}, and {"matchLabels":{"app":"demo"}} is wanted by Git's chart"#;
    assert!(text.contains(said), "{text}");
}

#[tokio::test]
async fn two_packs_are_compared_by_hand() {
    let site = Site::without_secrets();
    let build = async |name: &str| {
        let file = site.path(name);
        let mut command = site.command(&["pack", "build"]);
        command.arg(site.folder()).args(["namespaces", "--content-version", "1", "--out"]).arg(&file);
        let Said { code, text, .. } = run(command).await;
        assert_eq!(code, Some(0), "{text}");
        file
    };
    let map = |value: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: b}}\ndata: {{mode: {value}}}\n"
        )
    };
    site.write("handover/namespaces.yaml", &map("hunter2"));
    let before = build("before.pack").await;
    site.write(
        "handover/namespaces.yaml",
        &(map("other") + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n"),
    );
    let after = build("after.pack").await;
    let diff = |before: &std::path::Path, after: &std::path::Path| {
        let mut command = site.command(&["pack", "diff"]);
        command.arg(before).arg(after);
        command
    };
    let Said { code, text, out } = run(diff(&before, &after)).await;
    assert_eq!((code, text.as_str()), (Some(1), ""), "{out}");
    assert_eq!(out, "~ ConfigMap b/a: .data.mode\n+ Namespace b\n");
    let Said { code, out, .. } = run(diff(&after, &after)).await;
    assert_eq!((code, out.as_str()), (Some(0), ""));
}

fn show(site: &Site, pack: &str) -> std::process::Command {
    let mut command = site.command(&["pack", "show"]);
    command.arg(pack);
    command
}

#[tokio::test]
async fn without_helm_a_chart_is_one_clear_error() {
    let site = with_chart();
    let mut command = site.command(&["check"]);
    command.arg(site.folder()).env("PATH", site.folder());
    let Said { code, text, .. } = run(command).await;
    assert_eq!(code, Some(2), "{text}");
    for said in ["error[release-helm]", "there is no program `helm` on the PATH", "ichord pack build"] {
        assert!(text.contains(said), "{text}");
    }
}

#[tokio::test]
async fn folders_are_read_as_they_are_or_through_kustomize() {
    let site = Site::without_secrets();
    let ichord = site.read("ichord.yaml");
    let step = "  - name: more\n    manifests: [handover/plain/, handover/built/]\n";
    site.write("ichord.yaml", &(ichord.trim_end().to_owned() + "\n" + step));
    let object = |name: &str| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
    site.write("handover/plain/a.yaml", &object("one"));
    site.write("handover/plain/b.yml", &object("two"));
    site.write("handover/plain/readme.md", "not a manifest\n");
    let base = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: three, namespace: one}\n";
    site.write("handover/built/base.yaml", base);
    site.write("handover/built/kustomization.yaml", "namePrefix: built-\nresources: [base.yaml]\n");
    let Some(programs) = real(Programs::none(), "kubectl", Tool::ControlPlane, "kubectl") else { return };
    let pack = site.path("more.pack").display().to_string();
    let words = ["more", "--content-version", "1", "--out", &pack];
    let Said { code, text, .. } = run(programs.command(&site, &["pack", "build"], &words)).await;
    assert_eq!(code, Some(0), "{text}");
    let Said { out, .. } = run(show(&site, &pack)).await;
    assert!(
        ["Namespace one", "Namespace two", "ConfigMap one/built-three"].iter().all(|name| out.contains(name)),
        "{out}"
    );
    assert_eq!(programs.told("kubectl"), [format!("2 kustomize {}/", site.path("handover/built").display())]);
}

#[tokio::test]
async fn a_file_of_another_host_must_be_the_one_that_is_meant() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: far}\n";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/far.yaml", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // the question ends with an empty line
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read_exact(&mut byte).is_err() {
                    break;
                }
                asked.extend(byte);
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                text.len()
            );
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    let site = Site::without_secrets();
    let ichord = site.read("ichord.yaml").trim_end().to_owned();
    let with = |digest: &str| {
        let step = format!("\n  - {{name: far, manifests: [{{url: '{url}', sha256: {digest}}}]}}\n");
        site.write("ichord.yaml", &(ichord.clone() + &step));
    };
    let check = || {
        let mut command = site.command(&["check"]);
        command.arg(site.folder());
        command
    };
    let digest = hex::encode(Sha256::digest(text));
    with(&digest);
    let Said { code, text, .. } = run(check()).await;
    assert_eq!(code, Some(0), "{text}");
    with(&"0".repeat(64));
    let Said { code, text, .. } = run(check()).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains(&format!("it has the digest {digest}, and the site says 000")), "{text}");
}

/// What must be seen nowhere.
const CANARY: &str = "canary-7f3a91";

#[tokio::test]
async fn secrets_come_from_everywhere_and_show_nowhere() {
    let site = Site::new();
    let ichord = site.read("ichord.yaml");
    let step = "
  - name: secrets
    secrets:
      - name: token
        namespace: kube-system
        data:
          file: handover/token
          variable: 'env:HANDOVER_TOKEN'
          credential: 'credential:handover'
          reference: op://vault/item/field
      - name: connect
        namespace: kube-system
        data:
          1password-credentials.json: {connect: handover/connect, as: environment}
  - name: injected
    manifests: [handover/injected.yaml]
  - name: sync
    flux: {url: 'https://127.0.0.1:1/o/r', path: ./x, password: handover/token, age-key: handover/token}
";
    site.write("ichord.yaml", &(ichord.trim_end().to_owned() + step));
    site.write("handover/token", &format!("{CANARY}-file\n"));
    let connect = format!(
        "{{\"verifier\":{{\"salt\":\"{CANARY}\"}},\"encCredentials\":{{}},\"version\":\"2\",\"deviceUuid\":\"d\",\"uniqueKey\":{{}}}}"
    );
    site.write("handover/connect", &connect);
    site.write(
        "handover/injected.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: i, namespace: kube-system}\nstringData: {a: '{{ op://vault/a/b }}'}\n",
    );
    site.write("credentials/handover", &format!("{CANARY}-credential"));
    let injected = format!(
        "apiVersion: v1\\nkind: Secret\\nmetadata: {{name: i, namespace: kube-system}}\\nstringData: {{a: {CANARY}-injected}}\\n"
    );
    let script = format!("case $1 in inject) printf '{injected}';; *) echo {CANARY}-op;; esac");
    let programs = Programs::none().with("op", &script);
    let command = |words: &[&str], more: &[&str]| {
        let mut command = programs.command(&site, words, more);
        command
            .env("HANDOVER_TOKEN", format!("{CANARY}-variable"))
            .env("CREDENTIALS_DIRECTORY", site.path("credentials"))
            .env("RUST_LOG", "trace");
        command
    };
    let pack = site.path("x.pack").display().to_string();
    for (words, more, code) in [
        (&["check"][..], &[][..], Some(0)),
        (&["check", "--json"], &[], Some(0)),
        // nothing answers there
        (&["handover", "verify"], &[], Some(1)),
        (&["gitops"], &[], Some(1)),
        // a pack goes to everybody
        (&["pack", "build"], &["injected", "--content-version", "1", "--out", &pack], Some(2)),
    ] {
        let said = run(command(words, more)).await;
        assert_eq!(said.code, code, "{words:?}: {}", said.text);
        assert!(!said.text.contains(CANARY) && !said.out.contains(CANARY), "{words:?}: {}", said.text);
    }
    let inject = format!("3 inject --in-file {}", site.path("handover/injected.yaml").display());
    assert!(programs.told("op").contains(&inject), "{:?}", programs.told("op"));

    // what cannot be had is told by its place
    for (file, text, said) in [
        ("handover/token", " \n", "error[secret-value]: the value of file in"),
        ("handover/connect", &connect.replace("\"2\"", "\"1\""), "error[secret-connect]"),
        ("handover/connect", CANARY, "error[secret-connect]"),
    ] {
        let before = site.read(file);
        site.write(file, text);
        let found = run(command(&["check"], &[])).await;
        assert_eq!(found.code, Some(2), "{}", found.text);
        assert!(found.text.contains(said) && !found.text.contains(CANARY), "{}", found.text);
        site.write(file, &before);
    }
}
