//! How each machine of a site is sent to its own disk.

use std::collections::BTreeMap;

use hardware::LocalBoot;

/// The site's rules: by node, then by model, else what the firmware does best.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalBootRules {
    /// for the machine that holds a slot
    pub nodes: BTreeMap<String, LocalBoot>,
    /// for machines whose model (SMBIOS manufacturer and product) fits a pattern: `Apple Inc. Macmini*`
    pub models: Vec<(String, LocalBoot)>,
}

impl LocalBootRules {
    /// The way of a machine. The model is known once it has asked from iPXE; of several patterns that
    /// fit the longest counts.
    pub fn way(&self, node: Option<&str>, model: Option<&str>) -> Option<LocalBoot> {
        let of_node = node.and_then(|node| self.nodes.get(node));
        of_node.copied().or_else(|| {
            // a pattern that fits all needs no model
            let model = model.unwrap_or_default();
            let fitting = self.models.iter().filter(|(pattern, _)| fits(pattern, model));
            fitting.max_by_key(|(pattern, _)| pattern.len()).map(|(_, way)| *way)
        })
    }
}

/// Whether the pattern is the model, or its beginning when it ends with `*`; letters of either case.
fn fits(pattern: &str, model: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(begin) => model.get(..begin.len()).is_some_and(|head| head.eq_ignore_ascii_case(begin)),
        None => model.eq_ignore_ascii_case(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_counts_more_than_the_model_and_the_longer_pattern_more_than_the_shorter() {
        let rules = LocalBootRules {
            nodes: [("mini01".to_owned(), LocalBoot::Silent)].into(),
            models: vec![
                ("*".to_owned(), LocalBoot::NotFound),
                ("Apple Inc. Macmini*".to_owned(), LocalBoot::Exit),
                ("Apple Inc. Macmini8,1".to_owned(), LocalBoot::Sanboot),
            ],
        };
        let way = |node, model| rules.way(node, model);
        assert_eq!(way(Some("mini01"), Some("Apple Inc. Macmini8,1")), Some(LocalBoot::Silent));
        assert_eq!(way(Some("mini02"), Some("Apple Inc. Macmini8,1")), Some(LocalBoot::Sanboot));
        assert_eq!(way(None, Some("apple inc. macmini7,1")), Some(LocalBoot::Exit));
        assert_eq!(way(None, Some("Dell Inc. PowerEdge R740")), Some(LocalBoot::NotFound));
        assert_eq!(way(None, None), Some(LocalBoot::NotFound));
        assert_eq!(LocalBootRules::default().way(Some("mini01"), None), None);
    }

    #[test]
    fn a_model_with_wide_letters_is_no_trouble() {
        assert!(!fits("Acé*", "Ac\u{301}e"));
        assert!(fits("é*", "é1"));
    }
}
