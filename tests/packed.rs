//! The packed data set on disk: written whole or not at all, refused when damaged.

use std::fs;
use std::path::Path;

use zfnet::data::packed::{Dataset, Manifest, PackWriter, Recipe, Split};

/// Side of the test records: odd, and not a divisor of anything else here.
pub const S: usize = 7;

pub fn recipe(classes: usize, masks: bool) -> Recipe {
    Recipe {
        classes: (0..classes).map(|c| format!("class {c}")).collect(),
        size: S,
        masks,
        multi_label: false,
        source: "test".into(),
        preprocessing: "none".into(),
    }
}

/// Value `j` of record `i`: tells every record from every other one.
pub fn value(i: usize, j: usize) -> u8 {
    (i * 37 + j * 11 + i * j % 13) as u8
}

pub fn records(start: usize, n: usize) -> Vec<u8> {
    (start..start + n).flat_map(|i| (0..S * S * 3).map(move |j| value(i, j))).collect()
}

/// Two training shards of 5 and 3 images, one of 2 for validation; 3 classes.
pub fn write_small(out: &Path, force: bool) -> zfnet::error::Result<Manifest> {
    let mut writer = PackWriter::create(out, recipe(3, false), force)?;
    writer.write_shard(Split::Train, &records(0, 5), &[0, 1, 2, 0, 1], None)?;
    writer.write_shard(Split::Train, &records(5, 3), &[2, 0, 0], None)?;
    writer.write_shard(Split::Val, &records(8, 2), &[1, 2], None)?;
    writer.finish()
}

fn refusal(dir: &Path) -> String {
    Dataset::open(dir).map(|_| ()).expect_err("a damaged data set was opened").to_string()
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "\"{message}\" does not say \"{part}\"");
    }
}

#[test]
fn reads_back_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("deep/er/set");
    write_small(&out, false).unwrap();
    let dataset = Dataset::open(&out).unwrap();
    dataset.verify().unwrap();
    assert_eq!((dataset.size(), dataset.classes().len()), (S, 3));
    let (train, val) = (dataset.split(Split::Train), dataset.split(Split::Val));
    assert_eq!((train.len(), val.len()), (8, 2));
    let labels: Vec<usize> = (0..8).map(|i| train.label(i)).collect();
    assert_eq!(labels, [0, 1, 2, 0, 1, 2, 0, 0]);
    for i in 0..10 {
        let record = if i < 8 { train.record(i) } else { val.record(i - 8) };
        assert_eq!(record, records(i, 1), "record {i}");
    }
    assert_eq!(train.mask(0), None);
    for (j, &mean) in dataset.mean().iter().enumerate() {
        let sum: u32 = (0..8).map(|i| u32::from(value(i, j))).sum();
        assert_eq!(mean, sum as f32 / 8.0, "element {j}");
    }
    assert_eq!(dataset.manifest().train.per_class, [4, 2, 2]);
    let left: Vec<_> = fs::read_dir(out.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["set"], "working folders were left behind");
    assert!(!out.join("lock").exists());
}

#[test]
fn masks_come_with_their_images() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("set");
    let mut writer = PackWriter::create(&out, recipe(2, true), false).unwrap();
    let masks: Vec<u8> = (0..3 * S * S).map(|i| (i % 251) as u8).collect();
    writer.write_shard(Split::Train, &records(0, 3), &[0, 1, 1], Some(&masks)).unwrap();
    let missing = writer.write_shard(Split::Train, &records(0, 3), &[0, 1, 1], None);
    assert!(missing.is_err(), "a shard without masks went into a data set with masks");
    writer.finish().unwrap();
    let dataset = Dataset::open(&out).unwrap();
    assert_eq!(dataset.split(Split::Train).mask(2).unwrap(), &masks[2 * S * S..]);
}

#[test]
fn an_unfinished_pack_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("set");
    let mut writer = PackWriter::create(&out, recipe(3, false), false).unwrap();
    writer.write_shard(Split::Train, &records(0, 1), &[0], None).unwrap();
    let second = PackWriter::create(&out, recipe(3, false), false).map(|_| ()).unwrap_err().to_string();
    says(&second, &["another pack", "set"]);
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn leftovers_of_a_killed_pack_are_cleaned() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("set");
    let temp = dir.path().join(".set.packing");
    fs::create_dir_all(temp.join("train")).unwrap();
    fs::write(temp.join("train/shard-00007.safetensors"), "half a shard").unwrap();
    fs::write(temp.join("dataset.json.partial"), "{").unwrap();
    fs::write(temp.join("lock"), "").unwrap();
    write_small(&out, false).unwrap();
    assert_eq!(fs::read_dir(out.join("train")).unwrap().count(), 2);
    assert!(!temp.exists() && !out.join("dataset.json.partial").exists());
    Dataset::open(&out).unwrap().verify().unwrap();
}

#[test]
fn an_existing_target_is_replaced_only_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("set");
    fs::create_dir(&out).unwrap();
    write_small(&out, false).expect("an empty folder is a fine target");
    says(&write_small(&out, false).unwrap_err().to_string(), &["data set already", "--force"]);
    write_small(&out, true).unwrap();
    fs::write(out.join("thesis.tex"), "precious").unwrap();
    says(&write_small(&out, true).unwrap_err().to_string(), &["thesis.tex", "another folder"]);
    assert!(out.join("thesis.tex").exists());
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    says(&write_small(&file, true).unwrap_err().to_string(), &["is a file"]);
}

#[test]
fn damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("set");
    says(&refusal(&out), &["no such folder", "zfnet pack"]);
    let shard = out.join("train/shard-00001.safetensors");
    let damage = |change: &dyn Fn(), parts: &[&str]| {
        write_small(&out, out.exists()).unwrap();
        change();
        says(&refusal(&out), parts);
    };
    let edit = |file: &Path, from: &str, to: &str| {
        let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        assert!(text.contains(from), "{} has no {from}", file.display());
        fs::write(file, text.replace(from, to)).unwrap();
    };
    let manifest = out.join("dataset.json");
    damage(&|| fs::remove_file(&shard).unwrap(), &["shard-00001", "cannot read"]);
    damage(
        &|| {
            let bytes = fs::read(&shard).unwrap();
            fs::write(&shard, &bytes[..bytes.len() - 1]).unwrap();
        },
        &["shard-00001", "bytes long"],
    );
    damage(&|| fs::write(out.join("mean.safetensors"), "").unwrap(), &["mean.safetensors", "not a safetensors"]);
    damage(&|| fs::remove_file(out.join("mean.safetensors")).unwrap(), &["mean.safetensors"]);
    damage(&|| edit(&manifest, "\"version\": 1", "\"version\": 2"), &["dataset.json", "version 2"]);
    damage(&|| edit(&manifest, "\"images\": 8", "\"images\": 9"), &["dataset.json", "train", "9", "8"]);
    damage(&|| edit(&manifest, "train/shard", "../train/shard"), &["dataset.json", "not inside"]);
    damage(&|| edit(&manifest, "\"size\": 7", "\"size\": 5"), &["mean", "expected F32 [5, 5, 3]"]);
    damage(&|| edit(&manifest, "\"masks\": false", "\"masks\": true"), &["shard-00000", "no tensor `masks`"]);
    // One class fewer than the labels need.
    damage(
        &|| {
            let mut m: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
            m["classes"].as_array_mut().unwrap().pop();
            for split in ["train", "val"] {
                m[split]["per_class"].as_array_mut().unwrap().pop();
            }
            fs::write(&manifest, m.to_string()).unwrap();
        },
        &["shard-00000", "record 2 has label 2", "2 classes"],
    );
    fs::remove_file(&manifest).unwrap();
    says(&refusal(&out), &["no dataset.json"]);
}

#[test]
fn wrong_types_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("set");
    write_small(&out, false).unwrap();
    let shard = out.join("val/shard-00000.safetensors");
    // The same length, so that only the header can tell.
    let bytes = fs::read(&shard).unwrap();
    let at = bytes.windows(4).position(|w| w == b"\"U8\"").unwrap();
    let changed = [&bytes[..at], b"\"I8\"", &bytes[at + 4..]].concat();
    fs::write(&shard, changed).unwrap();
    says(&refusal(&out), &["val/shard-00000", "`images` is I8", "expected U8 [2, 7, 7, 3]"]);
}

#[test]
fn verify_sees_a_flipped_bit() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("set");
    write_small(&out, false).unwrap();
    let shard = out.join("train/shard-00000.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 4;
    fs::write(&shard, bytes).unwrap();
    let message = Dataset::open(&out).unwrap().verify().unwrap_err().to_string();
    says(&message, &["shard-00000", "CRC-32"]);
}
