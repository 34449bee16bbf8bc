//! Steps from one version to another, by the tags of images. Kubernetes goes up one minor version at a time and never
//! down; its components may not be further apart than that while nodes have it one after another.

/// A version without its patch level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minor {
    /// the first number
    pub major: u32,
    /// the second number
    pub minor: u32,
}

impl Minor {
    /// Of `v1.36.3`, `1.36` or `1.37.0-rc.0`.
    pub fn parse(version: &str) -> Option<Self> {
        let mut numbers = version.strip_prefix('v').unwrap_or(version).split(['.', '-', '+']);
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }

    /// Of an image reference with a tag, a digest behind it or not.
    pub fn of_image(image: &str) -> Option<Self> {
        let name = image.split('@').next().unwrap_or(image);
        let (_, tag) = name.rsplit_once('/').unwrap_or(("", name)).1.split_once(':')?;
        Self::parse(tag)
    }
}

/// A step between two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// the same minor version
    Patch,
    /// the next one
    Next,
    /// more than one up
    Leap,
    /// down
    Back,
}

/// What the step from one version to another is.
pub fn step(from: Minor, to: Minor) -> Step {
    if to < from {
        Step::Back
    } else if to == from {
        Step::Patch
    } else if to.major == from.major && to.minor == from.minor + 1 {
        Step::Next
    } else {
        Step::Leap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_out_of_tags() {
        let minor = |major, minor| Some(Minor { major, minor });
        assert_eq!(Minor::of_image("registry.k8s.io/kube-apiserver:v1.36.3"), minor(1, 36));
        assert_eq!(Minor::of_image("localhost:5000/a/kubelet:v1.37.0-rc.0@sha256:00ff"), minor(1, 37));
        assert_eq!(Minor::of_image("kubelet:1.35"), minor(1, 35));
        for none in ["localhost:5000/kubelet", "kubelet", "kubelet:latest", "kubelet@sha256:00", "kubelet:v1"]
        {
            assert_eq!(Minor::of_image(none), None, "{none}");
        }
    }

    #[test]
    fn steps_have_names() {
        let of = |from: &str, to: &str| step(Minor::parse(from).unwrap(), Minor::parse(to).unwrap());
        assert_eq!(of("1.35.4", "1.35.9"), Step::Patch);
        assert_eq!(of("1.35.4", "1.36.0"), Step::Next);
        assert_eq!(of("1.35.4", "1.37.0"), Step::Leap);
        assert_eq!(of("1.9.0", "2.0.0"), Step::Leap);
        assert_eq!(of("1.36.0", "1.35.4"), Step::Back);
    }
}
