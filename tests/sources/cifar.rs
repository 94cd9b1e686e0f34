//! CIFAR, the binary version.

use std::fs;
use std::path::Path;

use zfnet::data::packed::{Dataset, Split};
use zfnet::data::sources::{Cifar, CifarEdition, Options};

use super::{Files, HOLD_OUT, pack, refusal, same, says};

/// Value of plane `c`, pixel `j` of record `i`.
fn value(i: usize, c: usize, j: usize) -> u8 {
    (i * 7 + c * 85 + j * 3) as u8
}

/// Records `first..first + n`, of class `i % classes`, with `coarse` label bytes in front.
pub fn batch(first: usize, n: usize, classes: usize, coarse: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for i in first..first + n {
        bytes.extend(std::iter::repeat_n(99, coarse));
        bytes.push((i % classes) as u8);
        bytes.extend((0..3 * 1024).map(|j| value(i, j / 1024, j % 1024)));
    }
    bytes
}

fn ten() -> Files {
    let mut files = Files::default();
    files.add("batches.meta.txt", "ant\nbee\ncat\n\n");
    for b in 0..5 {
        files.add(format!("data_batch_{}.bin", b + 1), batch(b * 4, 4, 3, 0));
    }
    files.add("test_batch.bin", batch(20, 5, 3, 0)).add("readme.html", "<html>");
    files
}

fn cifar(path: &Path, edition: CifarEdition) -> Cifar {
    Cifar { path: path.to_path_buf(), edition, hold_out: HOLD_OUT }
}

fn options() -> Options {
    Options { size: 32, ..Options::default() }
}

/// That record `row` of `split` is record `i`.
fn is_record(dataset: &Dataset, split: Split, row: usize, i: usize, classes: usize) {
    let records = dataset.split(split);
    assert_eq!(records.label(row), i % classes);
    for (j, pixel) in records.record(row).chunks(3).enumerate() {
        assert_eq!(pixel, [value(i, 0, j), value(i, 1, j), value(i, 2, j)], "record {i}, pixel {j}");
    }
}

#[test]
fn planes_become_pixels_in_the_order_of_the_files() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("in");
    ten().within("cifar-10-batches-bin").folder(&dir);
    let outs = ["folder", "tar", "gz"].map(|name| temp.path().join(name));
    let (summary, said) = pack(&cifar(&dir, CifarEdition::Ten), &options(), &outs[0]).unwrap();
    assert_eq!((summary.images(), said.as_str()), (25, ""));
    let dataset = Dataset::open(&outs[0]).unwrap();
    assert_eq!(dataset.classes(), ["ant", "bee", "cat"]);
    (0..20).for_each(|i| is_record(&dataset, Split::Train, i, i, 3));
    (20..25).for_each(|i| is_record(&dataset, Split::Val, i - 20, i, 3));

    let files = ten().within("cifar-10-batches-bin");
    for (name, bytes, out) in [("c.tar", files.tar(), &outs[1]), ("c.tar.gz", files.tar_gz(), &outs[2])] {
        fs::write(temp.path().join(name), bytes).unwrap();
        pack(&cifar(&temp.path().join(name), CifarEdition::Ten), &options(), out).unwrap();
        same(&outs[0], out);
    }
}

#[test]
fn a_hundred_classes_are_the_fine_ones() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, out) = (temp.path().join("in"), temp.path().join("out"));
    let mut files = Files::default();
    files.add("fine_label_names.txt", "a\nb\nc\nd\n").add("coarse_label_names.txt", "x\n");
    files.add("train.bin", batch(0, 9, 4, 1)).add("test.bin", batch(9, 4, 4, 1));
    files.folder(&dir);
    pack(&cifar(&dir, CifarEdition::Hundred), &options(), &out).unwrap();
    let dataset = Dataset::open(&out).unwrap();
    (0..9).for_each(|i| is_record(&dataset, Split::Train, i, i, 4));
    (9..13).for_each(|i| is_record(&dataset, Split::Val, i - 9, i, 4));
    fs::remove_file(dir.join("train.bin")).unwrap();
    refusal(&cifar(&dir, CifarEdition::Hundred), &["train.bin is missing"]);
}

#[test]
fn what_is_wrong_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let mut round = 0;
    let mut refused = |files: Files, parts: &[&str]| {
        round += 1;
        let dir = temp.path().join(round.to_string());
        files.folder(&dir);
        refusal(&cifar(&dir, CifarEdition::Ten), parts);
    };
    refused(ten().without("data_batch_3.bin"), &["data_batch_3.bin is missing"]);
    refused(ten().without("test_batch.bin"), &["test_batch.bin is missing"]);
    refused(ten().without("batches.meta.txt"), &["no batches.meta.txt", "binary version"]);
    let mut cut = batch(4, 4, 3, 0);
    cut.truncate(3 * 3073 + 500);
    refused(ten().with("data_batch_2.bin", cut), &["data_batch_2.bin", "9719 bytes", "3073", "byte 9219", "500"]);
    refused(ten().with("data_batch_2.bin", ""), &["data_batch_2.bin", "0 bytes"]);
    let mut wrong = batch(4, 4, 3, 0);
    wrong[2 * 3073] = 3;
    refused(
        ten().with("data_batch_2.bin", wrong),
        &["data_batch_2.bin", "byte 6146", "record 2", "label 3", "3 classes"],
    );
    refused(ten().with("batches.meta.txt", "ant\nbee\ncat\ndog\n"), &["class \"dog\" has no image in train"]);
    refused(ten().with("batches.meta.txt", "ant\nbee\nbee\n"), &["two classes", "\"bee\""]);
    refused(ten().with("batches.meta.txt", b"ant\nb\xFFe\ncat\n".to_vec()), &["batches.meta.txt", "byte 5", "UTF-8"]);

    let gz = temp.path().join("c.tar.gz");
    let whole = ten().tar_gz();
    fs::write(&gz, &whole[..whole.len() - 40]).unwrap();
    refusal(&cifar(&gz, CifarEdition::Ten), &["c.tar.gz", "truncated or damaged", "bytes"]);
    fs::write(temp.path().join("c.zip"), "").unwrap();
    refusal(&cifar(&temp.path().join("c.zip"), CifarEdition::Ten), &["c.zip", "neither a folder nor"]);
    refusal(&cifar(&temp.path().join("nowhere"), CifarEdition::Ten), &["nowhere", "not there"]);
}

#[test]
fn real_records_are_packed() {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/cifar10");
    if !real.is_dir() {
        println!("SKIP: {} is not there", real.display());
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out");
    let source = Cifar { path: real.clone(), edition: CifarEdition::Ten, hold_out: Default::default() };
    let (summary, said) = pack(&source, &options(), &out).unwrap();
    assert_eq!((summary.images(), said.as_str()), (1000, ""));
    let dataset = Dataset::open(&out).unwrap();
    assert_eq!((dataset.classes()[0].as_str(), dataset.classes()[9].as_str()), ("airplane", "truck"));
    says(&dataset.manifest().preprocessing, &["0.1 of each class held out"]);
    // Both splits together are the file, in its order.
    let bytes = fs::read(real.join("test_1000.bin")).unwrap();
    let mut at = [0, 0];
    for record in bytes.chunks(3073) {
        let pixels: Vec<u8> = (0..1024).flat_map(|j| [record[1 + j], record[1025 + j], record[2049 + j]]).collect();
        let found = Split::ALL.into_iter().find(|&split| {
            let (records, i) = (dataset.split(split), at[split as usize]);
            i < records.len() && records.label(i) == usize::from(record[0]) && records.record(i) == pixels
        });
        at[found.expect("a record is missing, or out of order") as usize] += 1;
    }
    assert_eq!(at, [900, 100]);
}
