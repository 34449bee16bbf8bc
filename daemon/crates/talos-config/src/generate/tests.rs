use std::sync::LazyLock;

use super::*;

static BUNDLE: LazyLock<SecretsBundle> =
    LazyLock::new(|| SecretsBundle::generate(1_795_392_000).expect("a bundle"));

fn input(minor: u16) -> Input {
    Input::new("home", "https://10.0.0.5:6443", Contract::new(1, minor)).expect("known contract")
}

fn keys(config: &MachineConfig, path: &[&str]) -> Vec<String> {
    config.at(path).and_then(Value::as_object).expect("a map").keys().cloned().collect()
}

#[test]
fn a_control_plane_of_1_13_has_the_keys_of_talos_in_their_order() {
    let mut input = input(13);
    input.install_disk = Some("/dev/sda".to_owned());
    let config = input.generate(MachineType::ControlPlane, &BUNDLE).expect("generates");
    assert_eq!(
        keys(&config, &["machine"]),
        ["type", "token", "ca", "certSANs", "kubelet", "install", "features", "nodeLabels"]
    );
    assert_eq!(keys(&config, &["machine", "install"]), ["disk", "wipe", "grubUseUKICmdline"]);
    assert_eq!(
        keys(&config, &["cluster"]),
        [
            "id",
            "secret",
            "controlPlane",
            "clusterName",
            "network",
            "token",
            "secretboxEncryptionSecret",
            "ca",
            "aggregatorCA",
            "serviceAccount",
            "apiServer",
            "controllerManager",
            "proxy",
            "scheduler",
            "discovery",
            "etcd",
        ]
    );
    assert_eq!(
        config.at(&["machine", "kubelet", "image"]),
        Some(&json!("ghcr.io/siderolabs/kubelet:v1.36.3"))
    );
    assert_eq!(config.document("HostnameConfig", "").expect("there")["auto"], "stable");
    assert_eq!(config.documents().len(), 2);
}

#[test]
fn a_worker_is_given_no_private_key() {
    let config =
        input(13).generate(MachineType::Worker, &BUNDLE).expect("generates").to_yaml().expect("writes");
    for key in [
        &BUNDLE.os.key,
        &BUNDLE.kubernetes.key,
        &BUNDLE.etcd.key,
        &BUNDLE.aggregator.key,
        &BUNDLE.service_account,
    ] {
        assert!(!config.contains(&secrets::base64(key.expose())));
    }
    let secretbox = BUNDLE.secretbox_encryption_secret.as_ref().expect("there");
    assert!(!config.contains(secretbox.expose()));
    // but with what it joins
    assert!(
        config.contains(BUNDLE.trustd_token.expose()) && config.contains(BUNDLE.bootstrap_token.expose())
    );
}

#[test]
fn older_contracts_have_one_document_and_say_what_later_ones_do_anyway() {
    let config = input(11).generate(MachineType::ControlPlane, &BUNDLE).expect("generates");
    assert_eq!(config.documents().len(), 1);
    assert_eq!(config.at(&["machine", "features", "stableHostname"]), Some(&json!(true)));
    assert_eq!(config.at(&["cluster", "apiServer", "certSANs"]), Some(&json!(["10.0.0.5"])));
    assert_eq!(config.at(&["machine", "install", "grubUseUKICmdline"]), None);
    let newer = input(12).generate(MachineType::ControlPlane, &BUNDLE).expect("generates");
    assert_eq!(newer.at(&["machine", "features", "stableHostname"]), None);
    assert_eq!(newer.at(&["machine", "network"]), Some(&json!({})));
}

#[test]
fn a_newer_talos_gets_the_newest_shape_with_its_own_kubernetes() {
    let input = input(14);
    assert_eq!(input.kubernetes.to_string(), "1.37.0");
    assert!(input.generate(MachineType::Worker, &BUNDLE).is_ok());
    assert!(Input::new("home", "https://h", Contract::new(1, 7)).is_err());
}

#[test]
fn a_bare_ipv6_endpoint_makes_an_ipv6_cluster() {
    let input = Input::new("home", "fd00::5", Contract::new(1, 13)).expect("known contract");
    assert_eq!(input.endpoint, "https://[fd00::5]:6443");
    assert_eq!(input.pod_subnets, ["fc00:db8:10::/56"]);
    assert_eq!(input.service_subnets, ["fc00:db8:20::/112"]);
}

#[test]
fn endpoints_are_https_with_a_host() {
    for (endpoint, host) in [
        ("https://a.example", Some("a.example")),
        ("https://a:6443/path", Some("a")),
        ("https://[fd00::1]:6443", Some("fd00::1")),
        ("http://a:6443", None),
        ("https://", None),
        ("https://:6443", None),
        ("https://a:port", None),
        ("https://[fd00::1", None),
        ("https://[a]:1", None),
        ("https://user@a:1", None),
        ("10.0.0.5:6443", None),
    ] {
        assert_eq!(host_of(endpoint), host, "{endpoint}");
    }
    let mut input = input(13);
    input.endpoint = "10.0.0.5".to_owned();
    let error = input.generate(MachineType::Worker, &BUNDLE).expect_err("refused");
    assert!(error.to_string().contains("https://host:port"));
}

fn in_documents(machine: MachineType, change: impl FnOnce(&mut Input)) -> MachineConfig {
    let mut input = Input::new("home", "https://10.0.0.10:6443", DOCUMENTS).expect("known");
    change(&mut input);
    input.generate_in_documents(machine, &BUNDLE).expect("generates")
}

fn kinds(config: &MachineConfig) -> Vec<&str> {
    config.documents().iter().filter_map(|document| document.get("kind")?.as_str()).collect()
}

#[test]
fn the_shape_of_1_14_has_a_document_for_everything() {
    let config = in_documents(MachineType::ControlPlane, |_| {});
    let main = config.v1alpha1().expect("there");
    let keys = |section: &str| -> Vec<&String> { main[section].as_object().expect("a map").keys().collect() };
    assert_eq!(keys("machine"), ["type", "token", "ca", "certSANs", "features"]);
    assert_eq!(keys("cluster"), ["token", "etcd"]);
    assert_eq!(
        kinds(&config),
        [
            "DiscoveryServiceConfig",
            "DiscoveryIdentityConfig",
            "ResolverConfig",
            "VolumeConfig",
            "FilesystemTrimConfig",
            "SecurityProfileConfig",
            "HostnameConfig",
            "KubeClusterConfig",
            "KubeNodeConfig",
            "KubeletConfig",
            "KubeNetworkConfig",
            "KubeAPIServerCAConfig",
            "KubePrismConfig",
            "KubeAggregatorCAConfig",
            "KubeAdmissionControlConfig",
            "KubeAuditPolicyConfig",
            "KubeAuthenticationConfig",
            "KubeAuthorizerConfig",
            "KubeAuthorizerConfig",
            "KubeEtcdEncryptionConfig",
            "KubeServiceAccountConfig",
            "KubeAPIServerConfig",
            "KubeControllerManagerConfig",
            "KubeSchedulerConfig",
            "KubeProxyConfig",
            "KubeFlannelCNIConfig",
            "KubeCoreDNSConfig",
        ]
    );
    let authority = &config.document("KubeAPIServerCAConfig", "").expect("there")["issuingCA"];
    assert_eq!(authority["cert"], json!(BUNDLE.kubernetes.certificate), "plain PEM");
    let text = config.to_yaml().expect("writes");
    assert!(MachineConfig::from_yaml(&text).expect("reads") == config);
}

#[test]
fn a_worker_of_1_14_holds_no_key_of_an_authority() {
    let config = in_documents(MachineType::Worker, |_| {});
    assert_eq!(kinds(&config).last(), Some(&"KubePrismConfig"));
    let authority = config.document("KubeAPIServerCAConfig", "").expect("there");
    assert_eq!(authority["acceptedCAs"], json!([BUNDLE.kubernetes.certificate]));
    assert!(authority.get("issuingCA").is_none());
    let node = config.document("KubeNodeConfig", "").expect("there");
    assert!(node.get("labels").is_none() && node.get("taints").is_none());
    let text = config.to_yaml().expect("writes");
    for pair in [&BUNDLE.kubernetes, &BUNDLE.aggregator, &BUNDLE.etcd, &BUNDLE.os] {
        let line = pair.key.expose().lines().nth(1).expect("PEM");
        assert!(!text.contains(line) && !text.contains(&secrets::base64(pair.key.expose())));
    }
}

#[test]
fn what_is_chosen_or_switched_off_shows_in_the_documents_of_1_14() {
    let config = in_documents(MachineType::ControlPlane, |input| {
        input.discovery = false;
        input.cni = Some(Cni { name: "none".to_owned(), urls: vec![] });
        input.install_disk = Some("/dev/nvme0n1".to_owned());
        input.install_image = Some("factory.example/installer:v1.14.0".to_owned());
        input.allow_scheduling_on_control_planes = true;
        input.local_api_server_port = Some(5443);
        input.additional_sans = vec!["k8s.example".to_owned()];
        input.kubespan = Some(true);
        input.sysctls.insert("a".to_owned(), "b".to_owned());
    });
    let there = kinds(&config);
    assert!(!there.contains(&"DiscoveryServiceConfig") && !there.contains(&"KubeFlannelCNIConfig"));
    let document = |kind: &str| config.document(kind, "").unwrap_or_else(|| panic!("no {kind}")).clone();
    let install = document("UnattendedInstallConfig");
    assert_eq!(install["installer"]["image"], "factory.example/installer:v1.14.0");
    assert_eq!(install["provisioning"]["diskSelector"]["match"], "disk.dev_path == \"/dev/nvme0n1\"");
    assert!(document("KubeNodeConfig").get("taints").is_none());
    let server = document("KubeAPIServerConfig");
    assert_eq!((&server["apiPort"], &server["certExtraSANs"]), (&json!(5443), &json!(["k8s.example"])));
    assert_eq!(document("KubeSpanConfig")["enabled"], true);
    assert_eq!(document("SysctlConfig")["params"], json!({"a": "b"}));

    let urls = vec!["https://example.org/cni.yaml".to_owned()];
    let custom = in_documents(MachineType::ControlPlane, |input| {
        input.cni = Some(Cni { name: "custom".to_owned(), urls });
    });
    let manifest = custom.document("KubeExternalManifestConfig", "custom-cni").expect("there");
    assert_eq!(manifest["url"], "https://example.org/cni.yaml");
}

#[test]
fn older_talos_does_not_read_the_shape_of_1_14() {
    let input = Input::new("home", "https://10.0.0.10:6443", Contract::new(1, 13)).expect("known");
    let error = input.generate_in_documents(MachineType::Worker, &BUNDLE).expect_err("refused");
    assert!(matches!(error, GenerateError::Version(_)), "{error}");
}
