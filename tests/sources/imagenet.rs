//! ImageNet 2012, as it comes and unpacked.

use std::fs;
use std::path::Path;

use zfnet::data::packed::{Dataset, Split};
use zfnet::data::sources::ImageNet;

use super::{Files, jpeg, options, pack, png, records, refusal, same, says, shows};

/// The devkit's table with three of its classes and an inner node, compressed,
/// as SciPy writes it: numbers 1, 2, 3 are n02119789, n01440764, n07714990.
const META: &[u8] = include_bytes!("meta.mat");
const TRUTH: &str = "2\n1\n3\n1\n";
/// In the order of their names, with the training images that META speaks of.
const SYNSETS: [(&str, &str, usize); 3] = [
    ("n01440764", "tench, Tinca tinca", 3),
    ("n02119789", "kit fox, Vulpes macrotis", 2),
    ("n07714990", "broccoli", 2),
];
/// Classes of the validation images, from TRUTH.
const VAL: [usize; 4] = [0, 1, 2, 1];

fn devkit() -> Files {
    let mut files = Files::default();
    files.add("data/meta.mat", META).add("data/ILSVRC2012_validation_ground_truth.txt", TRUTH);
    files.add("readme.txt", "").add("evaluation/compute_flat_cost.m", "");
    files.within("ILSVRC2012_devkit_t12")
}

/// Training images of class `c`; the last of all is a PNG called .JPEG.
fn synset(c: usize) -> Files {
    let (name, _, n) = SYNSETS[c];
    let mut files = Files::default();
    for i in 0..n {
        let bytes = if (c, i) == (2, 1) { png(10 * c + i) } else { jpeg(10 * c + i) };
        files.add(format!("{name}_{}.JPEG", 100 + i), bytes);
    }
    files
}

fn val_name(i: usize) -> String {
    format!("ILSVRC2012_val_{:08}.JPEG", i + 1)
}

fn val() -> Files {
    let mut files = Files::default();
    (0..4).for_each(|i| {
        files.add(val_name(i), jpeg(50 + i));
    });
    files
}

/// train/SYNSET/*, val/*.
fn unpacked() -> Files {
    let mut files = val().within("val");
    (0..3).for_each(|c| files.0.extend(synset(c).within(&format!("train/{}", SYNSETS[c].0)).0));
    files
}

/// The three tar files.
fn archives() -> Files {
    let mut train = Files::default();
    for (c, (name, ..)) in SYNSETS.iter().enumerate() {
        train.add(format!("{name}.tar"), synset(c).tar());
    }
    let mut files = Files::default();
    files.add("ILSVRC2012_img_train.tar", train.tar()).add("ILSVRC2012_img_val.tar", val().tar());
    files.add("ILSVRC2012_devkit_t12.tar.gz", devkit().tar_gz());
    files
}

fn imagenet(dir: &Path) -> ImageNet {
    ImageNet { dir: dir.to_path_buf() }
}

/// Packs `files`, laid out in a folder.
fn packed(files: &Files, temp: &Path, name: &str) -> String {
    let dir = temp.join("in").join(name);
    files.folder(&dir);
    pack(&imagenet(&dir), &options(), &temp.join(name)).unwrap().1
}

#[test]
fn tar_files_are_read_as_they_come() {
    let temp = tempfile::tempdir().unwrap();
    assert_eq!(packed(&archives(), temp.path(), "out"), "");
    let dataset = Dataset::open(temp.path().join("out")).unwrap();
    let classes: Vec<String> = SYNSETS.iter().map(|(name, words, _)| format!("{name} {words}")).collect();
    assert_eq!(dataset.classes(), classes);
    assert_eq!(dataset.manifest().train.per_class, [3, 2, 2]);
    let train = records(&dataset, Split::Train);
    for ((label, colour), i) in train.into_iter().zip([0, 1, 2, 10, 11, 20, 21]) {
        assert_eq!(label, i / 10);
        shows(colour, i);
    }
    for (i, (label, colour)) in records(&dataset, Split::Val).into_iter().enumerate() {
        assert_eq!(label, VAL[i], "validation image {i}");
        shows(colour, 50 + i);
    }
}

#[test]
fn every_layout_gives_the_same() {
    let temp = tempfile::tempdir().unwrap();
    packed(&archives(), temp.path(), "archives");
    let plus = |mut files: Files, more: Files| {
        files.0.extend(more.0);
        files
    };
    let mut half = Files::default();
    for (c, (name, ..)) in SYNSETS.iter().enumerate() {
        half.add(format!("ILSVRC2012_img_train/{name}.tar"), synset(c).tar());
    }
    let mut sorted = Files::default();
    for (name, bytes) in unpacked().0 {
        let number = name.strip_prefix("val/").map(|name| name[15..23].parse::<usize>().unwrap() - 1);
        let folder = number.map(|i| format!("val/{}/{}", SYNSETS[VAL[i]].0, val_name(i)));
        sorted.add(folder.unwrap_or(name), bytes);
    }
    let mut kaggle = Files::default();
    let mapping: Vec<String> = SYNSETS.iter().map(|(name, words, _)| format!("{name} {words}")).collect();
    kaggle.add("LOC_synset_mapping.txt", mapping.join("\n"));
    let rows = [3, 1, 0, 2].map(|i| format!("ILSVRC2012_val_{:08},{} 1 2 3 4", i + 1, SYNSETS[VAL[i]].0));
    kaggle.add("LOC_val_solution.csv", format!("ImageId,PredictionString\n{}\n", rows.join("\n")));
    let layouts = [
        ("folders", plus(unpacked(), devkit())),
        ("synset tars", plus(plus(half, val().within("val")), devkit())),
        ("sorted val", plus(sorted, devkit())),
        ("kaggle", plus(unpacked(), kaggle)),
    ];
    for (name, files) in layouts {
        assert_eq!(packed(&files, temp.path(), name), "", "{name}");
        same(&temp.path().join("archives"), &temp.path().join(name));
    }
}

#[test]
fn counts_that_differ_from_the_devkit_are_noted() {
    let temp = tempfile::tempdir().unwrap();
    let mut files = unpacked().without("train/n01440764/n01440764_101.JPEG");
    files.0.extend(devkit().0);
    says(&packed(&files, temp.path(), "out"), &["n01440764 has 2 training images", "says 3"]);
}

#[test]
fn synsets_do_for_names_where_there_are_none() {
    let temp = tempfile::tempdir().unwrap();
    let mut files = Files::default();
    for (name, bytes) in unpacked().0 {
        files.add(name.replace("val/ILSVRC2012_val_0000000", "val/n01440764/"), bytes.clone());
    }
    for (c, (name, ..)) in SYNSETS.iter().enumerate().skip(1) {
        files.add(format!("val/{name}/9{c}.JPEG"), jpeg(90 + c));
    }
    says(&packed(&files, temp.path(), "out"), &["no devkit"]);
    assert_eq!(Dataset::open(temp.path().join("out")).unwrap().classes()[1], "n02119789");
}

#[test]
fn what_is_wrong_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let mut round = 0;
    let mut refused = |files: Files, parts: &[&str]| {
        round += 1;
        let dir = temp.path().join(round.to_string());
        files.folder(&dir);
        refusal(&imagenet(&dir), parts);
    };
    let whole = archives();
    let (train, kit) = ("ILSVRC2012_img_train.tar", "ILSVRC2012_devkit_t12.tar.gz");
    refused(whole.without(train), &["train/", train]);
    refused(whole.without("ILSVRC2012_img_val.tar"), &["val/", "ILSVRC2012_img_val.tar"]);
    refused(whole.without(kit), &["validation images have no labels", kit, "LOC_val_solution.csv"]);
    // Cut inside the second of the inner tar files.
    let bytes = &whole.0[0].1;
    refused(whole.with(train, &bytes[..bytes.len() / 2]), &[train, "truncated"]);
    let mut cut = Files::default();
    let inner = synset(0).tar();
    cut.add("n01440764.tar", &inner[..inner.len() - 1024]);
    refused(whole.with(train, cut.tar()), &[train, "no end-of-archive mark"]);

    let truth = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt";
    let meta = "ILSVRC2012_devkit_t12/data/meta.mat";
    let kit_of = |files: Files| whole.with(kit, files.tar_gz());
    refused(kit_of(devkit().without(truth)), &["ground_truth.txt"]);
    refused(kit_of(devkit().with(truth, "2\n1\n3\n")), &["ground_truth.txt", "3 validation images", "there are 4"]);
    refused(kit_of(devkit().with(truth, "2\n1\n4\n1\n")), &["ground_truth.txt", "line 3", "\"4\"", "3 synsets"]);
    refused(kit_of(devkit().with(truth, "2\n1\nx\n1\n")), &["line 3", "\"x\""]);
    refused(kit_of(devkit().without(meta)), &["devkit", "data/meta.mat"]);
    for n in [0, 100, 130, 140, META.len() / 2, META.len() - 5] {
        refused(kit_of(devkit().with(meta, &META[..n])), &["meta.mat"]);
    }

    let mut odd = unpacked();
    odd.add("train/kittens/1.JPEG", jpeg(1));
    refused(odd, &["kittens", "synset"]);
    let with_kit = |mut files: Files| {
        files.0.extend(devkit().0);
        files
    };
    let mut more = unpacked();
    more.add("train/n99999999/1.JPEG", jpeg(1));
    refused(with_kit(more), &["n99999999", "none of the 3 synsets", "meta.mat"]);
    let fewer: Vec<_> = unpacked().0.into_iter().filter(|(name, _)| !name.contains("n02119789")).collect();
    refused(with_kit(Files(fewer)), &["n02119789 is missing", "meta.mat"]);
    let mut strange = unpacked().without(&format!("val/{}", val_name(3)));
    strange.add("val/ILSVRC2012_val_00000009.JPEG", jpeg(3));
    refused(with_kit(strange), &["ILSVRC2012_val_00000009.JPEG", "number up to 4"]);
    let mut twice = unpacked();
    twice.add("LOC_synset_mapping.txt", "n01440764 tench\nn01440764 tench\n");
    refused(twice, &["LOC_synset_mapping.txt", "line 2", "n01440764"]);
}

#[test]
fn cmyk_photographs_are_packed() {
    let cmyk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/odd-images/cmyk");
    let Some(file) = fs::read_dir(&cmyk).ok().and_then(|mut files| files.next()) else {
        println!("SKIP: {} is not there", cmyk.display());
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    let bytes = fs::read(file.unwrap().path()).unwrap();
    let mut files = unpacked().with("train/n01440764/n01440764_100.JPEG", bytes);
    files.0.extend(devkit().0);
    assert_eq!(packed(&files, temp.path(), "out"), "");
}
