//! What a node takes from its group (talos.md §5.4).

use super::wire::{MachineSpec, NodeConfigs};

/// One of the three lists that are joined: `patches` with the group's first, `extraManifests` and `certSANs`
/// with the group's last. `alone` is the node's `override…` key; it has an effect only on a list that is
/// written, because one that is absent is Go's zero value.
pub(super) fn joined<T: Clone>(own: Option<&[T]>, group: &[T], alone: bool, group_first: bool) -> Vec<T> {
    match own {
        Some(own) if alone => own.to_vec(),
        None => group.to_vec(),
        Some(own) if group_first => [group, own].concat(),
        Some(own) => [own, group].concat(),
    }
}

/// A value of the group is taken where the node's is Go's zero value; nothing is merged deeply, and a node
/// cannot switch a group's `true` off. The lists that are [`joined`] are left as the node has them.
pub(super) fn inherit(node: NodeConfigs, group: &NodeConfigs) -> NodeConfigs {
    let text = |own: String, group: &str| if own.is_empty() { group.to_owned() } else { own };
    NodeConfigs {
        patches: node.patches,
        extra_manifests: node.extra_manifests,
        cert_sans: node.cert_sans,
        node_labels: node.node_labels.or_else(|| group.node_labels.clone()),
        node_annotations: node.node_annotations.or_else(|| group.node_annotations.clone()),
        node_taints: node.node_taints.or_else(|| group.node_taints.clone()),
        machine_disks: node.machine_disks.or_else(|| group.machine_disks.clone()),
        machine_files: node.machine_files.or_else(|| group.machine_files.clone()),
        disable_search_domain: node.disable_search_domain || group.disable_search_domain,
        kernel_modules: node.kernel_modules.or_else(|| group.kernel_modules.clone()),
        nameservers: node.nameservers.or_else(|| group.nameservers.clone()),
        network_interfaces: node.network_interfaces.or_else(|| group.network_interfaces.clone()),
        talos_image_url: text(node.talos_image_url, &group.talos_image_url),
        no_schematic_validate: node.no_schematic_validate || group.no_schematic_validate,
        schematic: node.schematic.or_else(|| group.schematic.clone()),
        image_schematic: node.image_schematic.or_else(|| group.image_schematic.clone()),
        machine_spec: if node.machine_spec == MachineSpec::default() {
            group.machine_spec.clone()
        } else {
            node.machine_spec
        },
        ingress_firewall: node.ingress_firewall.or_else(|| group.ingress_firewall.clone()),
        extension_services: node.extension_services.or_else(|| group.extension_services.clone()),
        volumes: node.volumes.or_else(|| group.volumes.clone()),
        user_volumes: node.user_volumes.or_else(|| group.user_volumes.clone()),
        filename_tmpl: text(node.filename_tmpl, &group.filename_tmpl),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_joined_unless_the_node_stands_alone() {
        assert_eq!(joined(Some(&["n"]), &["g"], false, true), ["g", "n"]);
        assert_eq!(joined(Some(&["n"]), &["g"], false, false), ["n", "g"]);
        assert_eq!(joined(Some(&["n"]), &["g"], true, true), ["n"]);
        assert_eq!(joined(Some(&[]), &["g"], true, true), [""; 0]);
        assert_eq!(joined(None, &["g"], true, true), ["g"], "an absent list cannot override");
    }

    #[test]
    fn a_section_is_taken_whole_or_not_at_all() {
        let spec =
            |mode: &str, secureboot| MachineSpec { mode: mode.into(), secureboot, ..MachineSpec::default() };
        let group = NodeConfigs {
            machine_spec: spec("metal", true),
            nameservers: Some(vec!["1.1.1.1".into()]),
            disable_search_domain: true,
            ..NodeConfigs::default()
        };
        let own = NodeConfigs {
            machine_spec: spec("metal", false),
            nameservers: Some(Vec::new()),
            ..NodeConfigs::default()
        };
        let result = inherit(own, &group);
        assert!(!result.machine_spec.secureboot);
        assert_eq!(result.nameservers, Some(Vec::new()), "an empty list that is written is not absent");
        assert!(result.disable_search_domain);
        assert!(inherit(NodeConfigs::default(), &group).machine_spec.secureboot);
    }
}
