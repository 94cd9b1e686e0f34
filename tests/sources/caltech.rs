//! Caltech-101 and Caltech-256.

use std::fs;
use std::path::Path;

use zfnet::data::packed::{Dataset, Split};
use zfnet::data::sources::{Caltech, CaltechEdition, HoldOut};

use super::{Files, HOLD_OUT, jpeg, options, pack, records, refusal, same, says, shows};

fn caltech(path: &Path, edition: CaltechEdition, background: bool) -> Caltech {
    Caltech { path: path.to_path_buf(), edition, background, hold_out: HOLD_OUT }
}

/// Three classes of 3 and the background class.
fn c101() -> Files {
    let mut files = Files::default();
    for (c, class) in ["accordion", "airplanes", "BACKGROUND_Google", "yin_yang"].iter().enumerate() {
        for i in 0..3 {
            files.add(format!("{class}/image_{:04}.jpg", i + 1), jpeg(10 * c + i));
        }
    }
    files.add("BACKGROUND_Google/tmp", "").add("accordion/.DS_Store", "hidden");
    files.within("101_ObjectCategories")
}

#[test]
fn folder_and_archive_give_the_same() {
    let temp = tempfile::tempdir().unwrap();
    let out = |name: &str| temp.path().join(name);
    c101().folder(&temp.path().join("a"));
    let folder = temp.path().join("a/101_ObjectCategories");
    let (summary, said) = pack(&caltech(&folder, CaltechEdition::C101, false), &options(), &out("1")).unwrap();
    assert_eq!(summary.images(), 9);
    says(&said, &["has 3 classes, not 101"]);
    assert_eq!(Dataset::open(out("1")).unwrap().classes(), ["accordion", "airplanes", "yin_yang"]);

    // As caltech-101.zip unpacks: the archive in a folder.
    let zip = temp.path().join("caltech-101");
    fs::create_dir(&zip).unwrap();
    fs::write(zip.join("101_ObjectCategories.tar.gz"), c101().tar_gz()).unwrap();
    fs::write(zip.join("Annotations.tar"), "not looked at").unwrap();
    let archive = zip.join("101_ObjectCategories.tar.gz");
    for (name, path) in [("2", temp.path().join("a")), ("3", zip), ("4", archive)] {
        pack(&caltech(&path, CaltechEdition::C101, false), &options(), &out(name)).unwrap();
        same(&out("1"), &out(name));
    }
    let left: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 6, "an unpacked archive was left behind: {left:?}");

    let (summary, said) = pack(&caltech(&folder, CaltechEdition::C101, true), &options(), &out("5")).unwrap();
    assert_eq!(summary.images(), 12);
    says(&said, &["1 files that are no images", "BACKGROUND_Google/tmp"]);
}

#[test]
fn clutter_and_leftovers_of_256_stay_out() {
    let temp = tempfile::tempdir().unwrap();
    let mut files = Files::default();
    for (c, class) in ["001.ak47", "056.dog", "198.spider", "257.clutter"].iter().enumerate() {
        for i in 0..2 {
            files.add(format!("{class}/{:03}_{:04}.jpg", c + 1, i + 1), jpeg(10 * c + i));
        }
    }
    files.add("056.dog/greg/056_0001.jpg", jpeg(77)).add("198.spider/RENAME2", "mv a b");
    let tar = temp.path().join("256_ObjectCategories.tar");
    fs::write(&tar, files.within("256_ObjectCategories").tar()).unwrap();
    let out = temp.path().join("out");
    let mut source = caltech(&tar, CaltechEdition::C256, false);
    source.hold_out = HoldOut { share: 0.0, seed: 0 };
    let (_, said) = pack(&source, &options(), &out).unwrap();
    says(&said, &["2 files that are no images of a class", "056.dog/greg/056_0001.jpg", "3 classes, not 256"]);
    let found = records(&Dataset::open(&out).unwrap(), Split::Train);
    assert_eq!(found.iter().map(|(label, _)| *label).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2]);
    found.iter().zip([0, 1, 10, 11, 20, 21]).for_each(|((_, colour), i)| shows(*colour, i));
    source.background = true;
    let out = temp.path().join("clutter");
    assert_eq!(pack(&source, &options(), &out).unwrap().0.images(), 8);
}

#[test]
fn what_is_wrong_is_named() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("empty")).unwrap();
    let of = |path: &str, background| caltech(&temp.path().join(path), CaltechEdition::C101, background);
    refusal(&of("empty", false), &["empty", "101_ObjectCategories", "archive"]);
    c101().folder(&temp.path().join("a"));
    fs::remove_dir_all(temp.path().join("a/101_ObjectCategories/BACKGROUND_Google")).unwrap();
    refusal(&of("a", true), &["BACKGROUND_Google"]);
    for i in 1..=3 {
        fs::remove_file(temp.path().join(format!("a/101_ObjectCategories/airplanes/image_000{i}.jpg"))).unwrap();
    }
    refusal(&of("a", false), &["class \"airplanes\" has no images"]);
    fs::write(temp.path().join("101_ObjectCategories.tar"), Files::default().add("x/y.jpg", jpeg(1)).tar()).unwrap();
    refusal(&of("101_ObjectCategories.tar", false), &["101_ObjectCategories.tar", "has no folder"]);
}
