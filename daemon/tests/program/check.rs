//! `ichord check` as scripts and editors use it.

use serde_json::Value;

use crate::{
    daemon::{Said, run},
    site::Site,
};

#[tokio::test]
async fn findings_are_an_object_that_scripts_read() {
    let site = Site::new();
    let check = |words: &[&str]| {
        let mut command = site.command(&["check"]);
        command.arg(site.folder()).args(words);
        run(command)
    };
    let Said { code, out, text } = check(&["--json"]).await;
    let good: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &good["site"], &good["errors"]),
        (Some(0), &Value::from("small"), &Value::from(0)),
        "{text}"
    );

    site.edit("talconfig.yaml", "nodes:", "patches:\n  - 'persist: false'\nnodes:");
    let Said { code, out, text } = check(&["--json"]).await;
    assert_eq!((code, text.as_str()), (Some(2), ""));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["site"], &report["errors"]), (&Value::Null, &Value::from(1)));
    let finding = &report["findings"][0];
    let place = (finding["file"].as_str().unwrap(), finding["line"].as_u64(), finding["column"].as_u64());
    assert_eq!(place, (site.path("talconfig.yaml").to_str().unwrap(), Some(6), Some(15)));
    assert_eq!((&finding["rule"], &finding["severity"]), (&Value::from("persist"), &Value::from("error")));
    assert!(finding["fix"].is_string() && finding["message"].is_string());

    let Said { code, out, text } = check(&[]).await;
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(text.contains("talconfig.yaml:6:15: error[persist]: ") && text.contains("\n  fix: "), "{text}");
}

#[tokio::test]
async fn every_rule_is_listed_once() {
    let site = Site::without_secrets();
    let Said { code, out, text } = run(site.command(&["check", "--rules"])).await;
    assert_eq!(code, Some(0), "{text}");
    let names: Vec<&str> = out.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 90 && names.windows(2).all(|pair| pair[0] < pair[1]), "{out}");
    for name in ["persist", "slot-unknown", "manifest-twice"] {
        assert!(names.contains(&name), "{name}");
    }
    let Said { out, .. } = run(site.command(&["check", "--rules", "--json"])).await;
    let rules: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(rules.len(), names.len());

    let Said { code, .. } = run(site.command(&["check"])).await;
    assert_eq!(code, Some(2), "neither a site nor --rules");
}
