//! Errors as a person reads them.

/// What went wrong and why, in one line. A cause is left out where the error before it already told it,
/// as those do that are shown by themselves in a log, too.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told += ": ";
            told += &cause;
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("cannot read the file: {0}")]
        Tells(#[source] io::Error),
        #[error("cannot read the file")]
        Leaves(#[source] io::Error),
    }

    #[test]
    fn a_cause_is_told_once() {
        let cause = || io::Error::other("the disk is gone");
        for error in [Outer::Tells(cause()), Outer::Leaves(cause())] {
            let error = anyhow::Error::new(error).context("no site");
            assert_eq!(sentence(&error), "no site: cannot read the file: the disk is gone");
        }
    }
}
