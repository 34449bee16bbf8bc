//! Which chart a HelmRelease means, and where it is, by the objects that lie beside it in the repository.

use serde_json::Value;

use super::Chart;

/// A chart as `helm` is told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartRef {
    /// `oci://…`, a path, or a name in the repository
    pub name: String,
    /// an address of a repository over HTTP
    pub repository: Option<String>,
    /// the version, as Git pins it
    pub version: Option<String>,
    /// whether the registry is asked without TLS (`insecure: true`)
    pub plain_http: bool,
}

impl ChartRef {
    /// The chart of a HelmRelease. An error says what is missing.
    pub fn resolve(release: &Value, others: &[Value]) -> Result<ChartRef, String> {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let spec = &release["spec"];
        let own = &release["metadata"]["namespace"];
        let find = |reference: &Value| {
            let namespace = if reference["namespace"].is_null() { own } else { &reference["namespace"] };
            let found = others.iter().find(|other| {
                // a file of the repository often leaves the namespace to its Kustomization
                let its = &other["metadata"]["namespace"];
                other["kind"] == reference["kind"]
                    && other["metadata"]["name"] == reference["name"]
                    && (its.is_null() || namespace.is_null() || its == namespace)
            });
            let kind = reference["kind"].as_str().unwrap_or("source");
            let name = reference["name"].as_str().unwrap_or_default();
            found.ok_or_else(|| format!("its {kind} {name} is not among the files"))
        };
        if spec["chartRef"].is_object() {
            if spec["chartRef"]["kind"] != "OCIRepository" {
                return Err("its chartRef names no OCIRepository".to_owned());
            }
            let repository = find(&spec["chartRef"])?;
            let name = text(&repository["spec"]["url"]).ok_or("the OCIRepository has no url")?;
            let reference = &repository["spec"]["ref"];
            let version = text(&reference["tag"]).or_else(|| text(&reference["semver"]));
            let version = version.ok_or("the OCIRepository pins no tag")?;
            let plain_http = repository["spec"]["insecure"] == true;
            return Ok(ChartRef { name, repository: None, version: Some(version), plain_http });
        }
        let chart = &spec["chart"]["spec"];
        let name = text(&chart["chart"]).ok_or("it names no chart")?;
        let version = text(&chart["version"]);
        let repository = find(&chart["sourceRef"])?;
        if repository["kind"] != "HelmRepository" {
            return Err("a chart in a Git repository cannot be had before Flux runs".to_owned());
        }
        let url = text(&repository["spec"]["url"]).ok_or("the HelmRepository has no url")?;
        let plain_http = repository["spec"]["insecure"] == true && url.starts_with("oci://");
        Ok(match url.starts_with("oci://") {
            true => {
                let name = format!("{}/{name}", url.trim_end_matches('/'));
                ChartRef { name, repository: None, version, plain_http }
            }
            false => ChartRef { name, repository: Some(url), version, plain_http },
        })
    }
}

impl Chart {
    /// What a chart says about itself in its Chart.yaml.
    pub fn described(description: &Value) -> Chart {
        let text = |key: &str| match &description[key] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        Chart { name: text("name"), version: text("version"), app_version: text("appVersion") }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release(spec: Value) -> Value {
        json!({ "kind": "HelmRelease", "metadata": { "name": "cilium", "namespace": "kube-system" }, "spec": spec })
    }

    #[test]
    fn the_ways_in_which_repositories_name_charts() {
        let others = [
            json!({ "kind": "OCIRepository", "metadata": { "name": "cilium" },
                "spec": { "url": "oci://host.test/charts/cilium", "ref": { "tag": "1.20.1" } } }),
            json!({ "kind": "HelmRepository", "metadata": { "name": "eso", "namespace": "flux-system" },
                "spec": { "url": "https://charts.test" } }),
            json!({ "kind": "OCIRepository", "metadata": { "name": "near" },
                "spec": { "url": "oci://near.test/c", "insecure": true, "ref": { "tag": "2.9.0" } } }),
            json!({ "kind": "HelmRepository", "metadata": { "name": "op" },
                "spec": { "url": "oci://host.test/op/", "type": "oci" } }),
        ];
        let chart = |name: &str, repository: Option<&str>, version: &str| ChartRef {
            name: name.to_owned(),
            repository: repository.map(str::to_owned),
            version: Some(version.to_owned()),
            plain_http: false,
        };
        let by = |kind: &str, name: &str, namespace: Value| json!({ "chart": { "spec": { "chart": "c", "version": "2.9.0", "sourceRef": { "kind": kind, "name": name, "namespace": namespace } } } });
        for (spec, expected) in [
            (
                json!({ "chartRef": { "kind": "OCIRepository", "name": "cilium" } }),
                Ok(chart("oci://host.test/charts/cilium", None, "1.20.1")),
            ),
            (
                json!({ "chartRef": { "kind": "OCIRepository", "name": "near" } }),
                Ok(ChartRef { plain_http: true, ..chart("oci://near.test/c", None, "2.9.0") }),
            ),
            (
                by("HelmRepository", "eso", json!("flux-system")),
                Ok(chart("c", Some("https://charts.test"), "2.9.0")),
            ),
            (by("HelmRepository", "op", Value::Null), Ok(chart("oci://host.test/op/c", None, "2.9.0"))),
            (
                by("HelmRepository", "eso", Value::Null),
                Err("its HelmRepository eso is not among the files".to_owned()),
            ),
            (json!({}), Err("it names no chart".to_owned())),
        ] {
            assert_eq!(ChartRef::resolve(&release(spec.clone()), &others), expected, "{spec}");
        }
    }
}
