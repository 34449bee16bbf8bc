//! What is asked of others: the list of a folder, the user's `kubectl` and `helm`, and files of other hosts.

use std::{fs, io, path::Path, thread, time::Duration};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    program::{self, ProgramError},
    sources::{HELM, KUSTOMIZATIONS, KUSTOMIZE, LIST},
};

/// A chart may have to be fetched first.
const LIMIT: Duration = Duration::from_secs(300);

/// More than any manifest has. In bytes.
const LARGEST: usize = 64 << 20;

/// How the lines begin that helm prints of a registry; it begins with one of the first two.
const ANNOUNCED: [&str; 7] = [
    "Pulled: ",
    "Warning: chart media type ",
    "Digest: sha256:",
    "OCI artifact references (e.g. tags) do not support",
    "storing semantic versions, Helm adopts the convention",
    "an underscore (_) in chart version tags",
    "a plus (+) when pulling from a registry.",
];

/// What a path that is no file stands for; `None` where it is one.
pub(super) fn read(path: &Path) -> Option<io::Result<String>> {
    let text = path.to_str()?;
    if path.file_name().is_some_and(|name| name == LIST) {
        return Some(names(path.parent()?));
    }
    if let Some(folder) = text.strip_prefix(KUSTOMIZE) {
        return Some(printed(program::output("kubectl", &["kustomize", folder], LIMIT)));
    }
    if let Some(question) = text.strip_prefix(HELM) {
        return Some(helm(question));
    }
    if text.starts_with("https://") || text.starts_with("http://") {
        let (url, digest) = text.split_once("#sha256=")?;
        return Some(fetched(url, digest));
    }
    None
}

/// The YAML files of a folder, or the one that says what to make of them.
fn names(folder: &Path) -> io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if KUSTOMIZATIONS.contains(&name.as_str()) {
            return Ok(name);
        }
        let is_yaml = [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending));
        if is_yaml && entry.path().is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names.join("\n"))
}

fn printed(output: Result<Zeroizing<String>, ProgramError>) -> io::Result<String> {
    output.map(|text| text.to_string()).map_err(io::Error::other)
}

fn helm(question: &str) -> io::Result<String> {
    let question: Value = serde_json::from_str(question)?;
    let arguments: Vec<&str> =
        question["arguments"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let values = &question["values"];
    let input = (!values.is_null()).then(|| Zeroizing::new(values.to_string()));
    Ok(without_announcement(&printed(program::answer("helm", &arguments, input, LIMIT))?).to_owned())
}

/// What helm prints behind what it says of the registry that it has fetched a chart from, which comes the same way.
fn without_announcement(text: &str) -> &str {
    if !ANNOUNCED.iter().take(2).any(|begin| text.starts_with(begin)) {
        return text;
    }
    let is_said = |line: &str| {
        let about_underscores = line.is_empty() || line.ends_with(" contains an underscore.");
        about_underscores || ANNOUNCED.iter().any(|begin| line.starts_with(begin))
    };
    let mut rest = text;
    while let Some((line, after)) = rest.split_once('\n')
        && is_said(line)
    {
        rest = after;
    }
    rest
}

/// A file of another host, which must be the one that the site means.
fn fetched(url: &str, digest: &str) -> io::Result<String> {
    // the caller may be in a runtime already, and a second one cannot be waited for there
    let bytes = thread::scope(|scope| scope.spawn(|| download(url)).join());
    let bytes = bytes.unwrap_or_else(|_| Err(io::Error::other("the download broke off")))?;
    let found = hex::encode(Sha256::digest(&bytes));
    if found != digest {
        return Err(io::Error::other(format!("it has the digest {found}, and the site says {digest}")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not text"))
}

fn download(url: &str) -> io::Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(LIMIT).build().map_err(io::Error::other)?;
        let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
        let mut answer = answer.map_err(|error| io::Error::other(error.without_url()))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| io::Error::other(error.without_url()))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LARGEST {
                return Err(io::Error::other("it has more than 64 MiB"));
            }
        }
        Ok(bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helm_says_of_a_registry_is_no_part_of_the_chart() {
        let said = "Pulled: host.test/charts/cilium:1.20.2\nDigest: sha256:00\n";
        let underscore = "host.test/charts/cilium:1_2 contains an underscore.\n\nOCI artifact references (e.g. tags) do not support the plus \
            sign (+). To support\nstoring semantic versions, Helm adopts the convention of changing plus (+) to\nan underscore (_) in chart \
            version tags when pushing to a registry and back to\na plus (+) when pulling from a registry.\n";
        for chart in ["---\n# Source: a\na: 1\n", "", "\na: 1\n", "Digest: sha256:1\n"] {
            assert_eq!(without_announcement(chart), chart);
        }
        assert_eq!(without_announcement(&format!("{said}a: 1\n")), "a: 1\n");
        assert_eq!(without_announcement(said), "");
        assert_eq!(without_announcement(&format!("{said}{underscore}---\na: 1\n")), "---\na: 1\n");
    }
}
