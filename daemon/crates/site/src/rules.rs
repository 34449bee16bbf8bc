//! Every rule a site is held to, by the name that its findings carry: its own, and those of the talconfig.

use document::Rule;
use talos_config::talconfig;

/// What only the site shows, in alphabetical order.
const OWN: &[Rule] = &[
    Rule { id: "address-unsure", about: "something makes sure that a machine gets the address of its node" },
    Rule {
        id: "cidr-families",
        about: "pods and services have one network of each family, in the same order",
    },
    Rule {
        id: "cidr-size",
        about: "pods have room for all nodes, and services for no more than Kubernetes takes",
    },
    Rule {
        id: "cilium-twice",
        about: "Cilium comes with the hand-over or as an inline manifest, not as both",
    },
    Rule { id: "control-planes-even", about: "an odd number of control planes survives more" },
    Rule { id: "firewall-daemon", about: "the daemon's network may come in at the machine API" },
    Rule { id: "flux-credentials", about: "Flux has one way to log in, and the one that its address needs" },
    Rule { id: "flux-url", about: "the repository's address is one that Flux takes" },
    Rule { id: "gateway", about: "a router is in its own network" },
    Rule { id: "https-authority", about: "the authority that vouches for the boot server can be used" },
    Rule { id: "interface", about: "an interface has a name" },
    Rule { id: "kernel-arg", about: "a kernel argument is one word" },
    Rule { id: "kube-proxy", about: "kube-proxy and what replaces it are not both there, nor both missing" },
    Rule { id: "lldpd-document", about: "the LLDP extension has the configuration it waits for" },
    Rule { id: "manifest", about: "a manifest is Kubernetes objects in a file that can be read" },
    Rule { id: "network-overlap", about: "networks are clear of each other" },
    Rule { id: "network-twice", about: "an interface has one network" },
    Rule { id: "node-is-gateway", about: "a node has not the router's address" },
    Rule { id: "node-outside", about: "a node is in a network of the site" },
    Rule { id: "nowhere-to-run", about: "there is a node that workloads may run on" },
    Rule { id: "pool-missing", about: "machines that are not known yet can be given an address" },
    Rule { id: "pool-outside", about: "a pool is in its network" },
    Rule { id: "pool-overlap", about: "a pool has no address that somebody has" },
    Rule { id: "pool-unused", about: "a pool has an effect" },
    Rule { id: "port-unknown", about: "a port is one of its switch" },
    Rule { id: "power", about: "a machine is switched in one way, which is whole" },
    Rule { id: "power-password", about: "the password of a service processor can be read" },
    Rule { id: "relayed-alone", about: "a relayed network comes in on an interface that has one of its own" },
    Rule { id: "relayed-gateway", about: "machines behind a relay have a router" },
    Rule { id: "relayed-mode", about: "a relayed network is served like the one it comes in through" },
    Rule { id: "release-file", about: "the values and manifests that a release names can be read" },
    Rule { id: "release-name", about: "a release and its namespace have names that Kubernetes takes" },
    Rule { id: "secret-empty", about: "a Secret has values" },
    Rule { id: "secret-name", about: "a Secret has names that Kubernetes takes" },
    Rule { id: "secrets-missing", about: "the cluster has secrets" },
    Rule { id: "secrets-twice", about: "one file holds the secrets" },
    Rule { id: "secure-boot", about: "what is booted is signed where the machine wants it" },
    Rule { id: "site-name", about: "a site's name is a label" },
    Rule { id: "slot-empty", about: "a slot says how its machine is known" },
    Rule { id: "slot-mac", about: "a MAC address is that of one card" },
    Rule { id: "slot-missing", about: "every node has a slot" },
    Rule { id: "slot-range", about: "a range of slots has as many ports as nodes" },
    Rule { id: "slot-serial", about: "a serial number is written as text" },
    Rule { id: "slot-twice", about: "a mark belongs to one slot" },
    Rule { id: "slot-unknown", about: "a slot is that of a node" },
    Rule { id: "slot-uuid", about: "a UUID is that of one machine" },
    Rule { id: "snapshot-copy", about: "what copies snapshots elsewhere is a program" },
    Rule { id: "snapshot-keep", about: "a snapshot is kept" },
    Rule { id: "snmp-community", about: "a switch's SNMP community can be read" },
    Rule { id: "step-cycle", about: "no step waits for itself, by whatever way" },
    Rule { id: "step-digest", about: "a file of another host has its digest" },
    Rule { id: "step-empty", about: "a step of the hand-over does something" },
    Rule { id: "step-name", about: "a step's name is a label" },
    Rule { id: "step-needs", about: "what a step needs is a step" },
    Rule { id: "step-release", about: "a step has one release" },
    Rule { id: "step-twice", about: "steps have names of their own" },
    Rule { id: "step-url", about: "a file of another host has an address of HTTP" },
    Rule { id: "step-values", about: "values belong to a pack" },
    Rule { id: "switch-name", about: "a switch's name is one" },
    Rule { id: "switch-port-twice", about: "an interface is one port" },
    Rule { id: "switch-ports", about: "ports that are interfaces belong to a bridge of this host" },
    Rule { id: "switch-twice", about: "switches have names of their own" },
    Rule { id: "talenv", about: "variables for talconfig can be read" },
    Rule { id: "trust-machine", about: "a switch vouches for where a machine is" },
    Rule { id: "vip-is-gateway", about: "the shared address is not the router's" },
    Rule { id: "vip-is-node", about: "the shared address is no node's" },
];

/// All of them, in alphabetical order.
pub fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = OWN.iter().chain(talconfig::RULES).copied().collect();
    rules.sort_unstable();
    rules.dedup_by_key(|rule| rule.id);
    rules
}
