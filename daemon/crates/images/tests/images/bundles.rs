//! From the machine with the internet to the one without.

use std::{fs, path::PathBuf};

use boot::Catalogue;
use hardware::Architecture;
use images::{Bundle, BundleError, Digest, PullList, write_bundle};
use tempfile::TempDir;

use crate::{
    folder,
    pulls::{VERSION, need, pull_from, right},
};

/// A folder with an image, and a bundle of it.
async fn bundle() -> (TempDir, PathBuf, Digest) {
    let server = right(b"a kernel".to_vec()).await;
    let (root, folder) = folder();
    pull_from(&server, &folder, None).await.unwrap();
    let mut names = need().names().unwrap();
    names.push("ipxe/snponly.efi".parse().unwrap());
    let pulls = PullList {
        talos: ["registry.k8s.io/etcd:v3.6.12".to_owned()].into(),
        handover: ["flux:v2".to_owned()].into(),
        complete: true,
    };
    let path = root.path().join("site.bundle");
    let (bundle, whole) = write_bundle(&folder, &names, &pulls, &path).unwrap();
    assert_eq!(bundle.files.len(), 4);
    (root, path, whole.digest)
}

#[tokio::test]
async fn another_machine_serves_what_the_bundle_has() {
    let (_keep, path, digest) = bundle().await;
    let (root, other) = folder();
    let bundle = Bundle::import(&other, &path, Some(digest)).unwrap();
    assert_eq!(bundle.files.len(), 4);
    let catalogue = Catalogue::load(root.path()).unwrap();
    let image = catalogue.image(&need().schematic, VERSION, Architecture::Amd64).unwrap();
    assert_eq!(fs::read(&catalogue.get(&image.kernel).unwrap().path).unwrap(), b"a kernel");
    let list = fs::read_to_string(root.path().join("oci-images.txt")).unwrap();
    assert!(list.contains("\nregistry.k8s.io/etcd:v3.6.12\n") && list.contains("\nflux:v2\n"), "{list}");
    // the same again changes nothing
    Bundle::import(&other, &path, None).unwrap();
}

#[tokio::test]
async fn the_same_files_make_the_same_bundle() {
    let ((_one, _, first), (_two, _, second)) = (bundle().await, bundle().await);
    assert_eq!(first, second);
}

#[tokio::test]
async fn a_bundle_that_was_changed_or_cut_gives_nothing_a_name() {
    let (_keep, path, digest) = bundle().await;
    let whole = fs::read(&path).unwrap();
    let found = |whole: &[u8]| whole.windows(8).position(|part| part == b"a kernel").unwrap();
    let mut changed = whole.clone();
    changed[found(&whole)] = b'A';
    let cut = whole[..found(&whole)].to_vec();
    for (bytes, what) in [(changed, "changed"), (cut, "cut"), (vec![], "empty"), (b"MZ".repeat(700), "other")]
    {
        fs::write(&path, bytes).unwrap();
        let (root, other) = folder();
        assert!(Bundle::import(&other, &path, None).is_err(), "{what}");
        let error = Bundle::import(&other, &path, Some(digest)).unwrap_err();
        assert!(matches!(error, BundleError::WrongBundle { .. }), "{what}: {error}");
        assert_eq!(Catalogue::load(root.path()).unwrap().assets().count(), 0, "{what}");
        assert!(other.rotten().unwrap().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn what_was_pinned_here_stays_what_it_was() {
    let (_keep, path, _) = bundle().await;
    let (root, other) = folder();
    let server = right(b"our kernel".to_vec()).await;
    pull_from(&server, &other, None).await.unwrap();
    let error = Bundle::import(&other, &path, None).unwrap_err();
    assert!(matches!(&error, BundleError::Replaced { .. }), "{error}");
    let catalogue = Catalogue::load(root.path()).unwrap();
    let image = catalogue.image(&need().schematic, VERSION, Architecture::Amd64).unwrap();
    assert_eq!(fs::read(&catalogue.get(&image.kernel).unwrap().path).unwrap(), b"our kernel");
}

#[tokio::test]
async fn what_is_not_there_is_not_bundled() {
    let (root, empty) = folder();
    let path = root.path().join("site.bundle");
    let error = write_bundle(&empty, &need().names().unwrap(), &PullList::default(), &path).unwrap_err();
    assert!(error.to_string().contains("run `ichord images pull` first"), "{error}");
    assert!(!path.exists());
}
