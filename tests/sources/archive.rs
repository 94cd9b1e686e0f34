//! Archives and names that are not what they should be.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use zfnet::data::sources::{Caltech, CaltechEdition, HoldOut, ImageFolder};

use super::{Files, HOLD_OUT, jpeg, options, pack, png, refusal};

/// Packs `bytes` as the tar file of a Caltech-101.
#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("101_ObjectCategories.tar");
    fs::write(&path, bytes).unwrap();
    refusal(&Caltech { path, edition: CaltechEdition::C101, background: false, hold_out: HOLD_OUT }, parts);
}

fn two_classes() -> Files {
    let mut files = Files::default();
    for i in 0..4 {
        files.add(format!("101_ObjectCategories/{}/image_{i:04}.jpg", ["ant", "bee"][i / 2]), jpeg(i));
    }
    files
}

/// One member with a name as it stands.
fn raw(name: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
    header.set_size(3);
    header.set_mode(0o644);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &b"abc"[..]).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_truncated_archive_is_refused_wherever_it_ends() {
    let whole = two_classes().tar();
    // Two blocks of zeros end it; all that is cut below them, whatever lies there, must be noticed.
    let end = whole.len() - 1024;
    for cut in [end, end - 1, end - 700, whole.len() / 2, 1024, 700, 512, 100] {
        let name = if cut == end { "no end-of-archive mark" } else { "truncated" };
        refused(&whole[..cut], &["101_ObjectCategories.tar", "at byte", name]);
    }
    refused(b"", &["101_ObjectCategories.tar", "truncated"]);
}

#[test]
fn a_damaged_header_is_refused() {
    let mut bytes = two_classes().tar();
    bytes[3] ^= 1;
    refused(&bytes, &["at byte 0", "checksum"]);
}

#[test]
fn names_that_are_no_names_are_refused() {
    refused(&raw(b"101_ObjectCategories/ant/caf\xE9.jpg"), &["at byte 0", "not UTF-8", "caf"]);
    refused(&raw(b"101_ObjectCategories/../../x.jpg"), &["leads out of the archive"]);
    refused(&raw(b"/etc/x.jpg"), &["leads out of the archive"]);
    let temp = tempfile::tempdir().unwrap();
    let class = temp.path().join("ant");
    fs::create_dir(&class).unwrap();
    fs::write(class.join(OsStr::from_bytes(b"caf\xE9.jpg")), jpeg(1)).unwrap();
    let source = ImageFolder { dir: temp.path().to_path_buf(), hold_out: HOLD_OUT };
    refusal(&source, &["ant/caf", "not UTF-8", "rename"]);
    fs::remove_dir_all(&class).unwrap();
    fs::create_dir(&class).unwrap();
    (0..2).for_each(|i| fs::write(class.join(format!("{i}\n.jpg")), jpeg(1)).unwrap());
    refusal(&source, &["\\n.jpg\"", "line break", "rename"]);
}

#[test]
fn the_same_name_twice_is_refused() {
    let mut files = two_classes();
    files.add("101_ObjectCategories/ant/image_0000.jpg", jpeg(9));
    refused(&files.tar(), &["ant/image_0000.jpg is listed twice"]);
}

#[test]
fn long_names_are_whole() {
    let temp = tempfile::tempdir().unwrap();
    let (path, out) = (temp.path().join("101_ObjectCategories.tar"), temp.path().join("out"));
    // A header has room for 100 bytes; two names that differ behind them must stay two.
    let long = "x".repeat(150);
    let mut files = Files::default();
    for i in 0..3 {
        files.add(format!("101_ObjectCategories/ant/{long}{i}.png"), png(i));
    }
    fs::write(&path, files.tar()).unwrap();
    let hold_out = HoldOut { share: 0.0, seed: 0 };
    let source = Caltech { path, edition: CaltechEdition::C101, background: false, hold_out };
    assert_eq!(pack(&source, &options(), &out).unwrap().0.images(), 3);
}
