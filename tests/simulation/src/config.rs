//! Machine configs that are just enough for the machine model: their CAs are names, not certificates.

use std::net::IpAddr;

use lifecycle::Role;

/// The operating system CA of the simulated cluster, "our CA".
pub(crate) const OUR_CA: &str = "-----BEGIN CERTIFICATE-----\nb3Vycw==\n-----END CERTIFICATE-----\n";

/// The CA of somebody else's cluster.
const OTHER_CERTIFICATE: &str =
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCmRHaGxhWEp6Ci0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K";

/// The config of a control plane of another cluster; without an address it asks DHCP for one.
pub(crate) fn foreign_config(address: Option<IpAddr>, virtual_address: IpAddr) -> String {
    let ours = machine_config("foreign", Role::ControlPlane, address, virtual_address);
    ours.replace(CERTIFICATE, OTHER_CERTIFICATE)
}

/// `base64(OUR_CA)`, and `base64` of a text that looks like a private key.
const CERTIFICATE: &str =
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCmIzVnljdz09Ci0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K";
const KEY: &str = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCmEyVjUKLS0tLS1FTkQgUFJJVkFURSBLRVktLS0tLQo=";

pub(crate) fn machine_config(
    hostname: &str,
    role: Role,
    address: Option<IpAddr>,
    virtual_address: IpAddr,
) -> String {
    let addresses = address.map(|address| format!("{address}/24")).unwrap_or_default();
    let (kind, key, etcd, shared) = match role {
        Role::ControlPlane => (
            "controlplane",
            KEY,
            format!("  etcd: {{ca: {{crt: {CERTIFICATE}, key: {KEY}}}}}\n"),
            format!(
                "---\napiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: {virtual_address}\nlink: eth0\n"
            ),
        ),
        Role::Worker => ("worker", "\"\"", String::new(), String::new()),
    };
    format!(
        "version: v1alpha1
machine:
  type: {kind}
  token: abcdef.0123456789abcdef
  ca: {{crt: {CERTIFICATE}, key: {key}}}
  install: {{disk: /dev/nvme0n1, image: \"ghcr.io/siderolabs/installer:v1.13.9\"}}
  network: {{interfaces: [{{interface: eth0, addresses: [{addresses}]}}]}}
cluster:
  id: aWQ=
  clusterName: simulated
  controlPlane: {{endpoint: \"https://{virtual_address}:6443\"}}
  network: {{cni: {{name: none}}}}
  ca: {{crt: {CERTIFICATE}, key: {key}}}
{etcd}---
apiVersion: v1alpha1
kind: HostnameConfig
hostname: {hostname}
{shared}"
    )
}
