//! What makes helm-controller upgrade what it finds, and never install over it.
//!
//! helm-controller looks for a release record in the cluster. Without one it installs, and a failed install is
//! undone by an uninstall: of a network plugin, that is the end of the cluster. So whatever the hand-over installs in
//! place of a chart leaves the record that Helm itself would have left, under the name that Git will look for.

mod chart;
mod composed;
mod names;
mod path;
mod record;
mod stamp;
mod tree;
mod values;

pub use chart::ChartRef;
pub use composed::Composed;
pub use names::{Difference, Identity, NamesError};
pub use path::PathError;
pub use record::{Chart, Record, RecordError, Release, Rendered};
pub use stamp::{is_stamped, stamp};
pub use values::unknown_values;
