//! PASCAL VOC 2012: several labels an image.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use zfnet::data::augment::Crops;
use zfnet::data::loader::{Loader, Order, SplitSource};
use zfnet::data::packed::{Dataset, Labels, Manifest, PackWriter, Recipe, Split, presence};
use zfnet::data::sources::Voc2012;

use super::{Files, S, jpeg, options, pack, records, refusal, same, says, shows};

const CLASSES: [&str; 3] = ["bird", "cat", "dog"];
/// Image and what is said of bird, cat and dog. The fourth shows nothing but a difficult dog.
const TRAIN: [(&str, [i8; 3]); 5] = [
    ("2008_000002", [-1, 1, 1]),
    ("2008_000003", [1, -1, -1]),
    ("2007_000005", [1, 1, 1]),
    ("2008_000007", [-1, -1, 0]),
    ("2008_000008", [0, -1, 1]),
];
const VAL: [(&str, [i8; 3]); 4] = [
    ("2009_000001", [-1, -1, 1]),
    ("2009_000002", [-1, 1, -1]),
    ("2009_000003", [1, 0, -1]),
    ("2009_000004", [-1, -1, -1]),
];

fn voc() -> Files {
    let mut files = Files::default();
    let lists = "ImageSets/Main";
    let splits = [("train", &TRAIN[..]), ("val", &VAL[..])];
    for (s, (split, images)) in splits.iter().enumerate() {
        let names: String = images.iter().map(|(name, _)| format!("{name}\n")).collect();
        files.add(format!("{lists}/{split}.txt"), names);
        for (c, class) in CLASSES.iter().enumerate() {
            let lines: String = images.iter().map(|(name, says)| format!("{name} {:2}\n", says[c])).collect();
            files.add(format!("{lists}/{class}_{split}.txt"), lines);
            files.add(format!("{lists}/{class}_trainval.txt"), "");
        }
        for (i, (name, _)) in images.iter().enumerate() {
            files
                .add(format!("JPEGImages/{name}.jpg"), jpeg(10 * s + i))
                .add(format!("Annotations/{name}.xml"), "<a/>");
        }
    }
    files.0.sort();
    files.0.dedup();
    files.add("ImageSets/Layout/train.txt", "").add("ImageSets/Main/trainval.txt", "");
    files.within("VOCdevkit/VOC2012")
}

fn source(path: &Path) -> Voc2012 {
    Voc2012 { path: path.to_path_buf() }
}

fn packed(temp: &Path) -> (Arc<Dataset>, String) {
    voc().folder(&temp.join("in"));
    let (_, said) = pack(&source(&temp.join("in")), &options(), &temp.join("out")).unwrap();
    (Arc::new(Dataset::open(temp.join("out")).unwrap()), said)
}

#[test]
fn presence_says_all_that_the_lists_say() {
    let temp = tempfile::tempdir().unwrap();
    let (dataset, said) = packed(temp.path());
    says(&said, &["1 images of val show no class", "1 images of train show nothing but difficult objects"]);
    assert_eq!(dataset.classes(), CLASSES);
    assert!(dataset.manifest().multi_label);
    for (split, images) in [(Split::Train, &TRAIN[..]), (Split::Val, &VAL[..3])] {
        assert_eq!(dataset.split(split).len(), images.len());
        for (i, (_, says)) in images.iter().enumerate() {
            let expected = says.map(|value| match value {
                1 => presence::PRESENT,
                0 => presence::DIFFICULT,
                _ => presence::ABSENT,
            });
            assert_eq!(dataset.split(split).presence(i).unwrap(), expected, "{split} {i}");
            let (label, colour) = records(&dataset, split)[i];
            shows(colour, 10 * (split as usize) + i);
            let first = |value| says.iter().position(|&other| other == value);
            assert_eq!(Some(label), first(1).or(first(0)));
        }
    }
    assert_eq!(dataset.manifest().train.per_class, [2, 2, 3]);
    let names = TRAIN.map(|(name, _)| format!("JPEGImages/{name}.jpg"));
    assert_eq!(dataset.split(Split::Train).names().unwrap(), names);

    let tar = temp.path().join("VOCtrainval_11-May-2012.tar");
    fs::write(&tar, voc().tar()).unwrap();
    pack(&source(&tar), &options(), &temp.path().join("tar")).unwrap();
    pack(&source(&temp.path().join("in/VOCdevkit/VOC2012")), &options(), &temp.path().join("inner")).unwrap();
    same(&temp.path().join("out"), &temp.path().join("tar"));
    same(&temp.path().join("out"), &temp.path().join("inner"));
}

/// The labels of image 0..5 in each of `epochs` epochs.
fn drawn(dataset: &Arc<Dataset>, seed: u64, epochs: usize, threads: usize) -> Vec<Vec<i32>> {
    let order = Order::Train { seed, crops: Crops::Random, epoch: 0, step: 0 };
    let mut loader = Loader::new(SplitSource::new(dataset, Split::Train), order, 5, (S, S), threads).unwrap();
    let mut labels = Vec::new();
    for _ in 0..epochs {
        let batch = loader.next_batch().unwrap().unwrap();
        let mut row = vec![-1; 5];
        batch.indices.iter().zip(&batch.labels).for_each(|(&i, &label)| row[i] = label);
        labels.push(row);
        loader.recycle(batch);
    }
    labels
}

#[test]
fn training_draws_one_of_the_classes_present() {
    let temp = tempfile::tempdir().unwrap();
    let (dataset, _) = packed(temp.path());
    let epochs = 60;
    let labels = drawn(&dataset, 3, epochs, 1);
    assert_eq!(labels, drawn(&dataset, 3, epochs, 3), "threads change the labels");
    assert_ne!(labels, drawn(&dataset, 4, epochs, 1), "the seed changes nothing");
    for (i, expected) in [&[1, 2][..], &[0], &[0, 1, 2], &[2], &[2]].iter().enumerate() {
        let found: HashSet<i32> = labels.iter().map(|epoch| epoch[i]).collect();
        assert_eq!(found, expected.iter().copied().collect(), "image {i}");
        // Each as often as the others, within four standard deviations of a binomial count.
        let p = 1.0 / expected.len() as f64;
        let slack = 4.0 * (epochs as f64 * p * (1.0 - p)).sqrt() + 1e-9;
        for class in *expected {
            let count = labels.iter().filter(|epoch| epoch[i] == *class).count() as f64;
            assert!((count - epochs as f64 * p).abs() <= slack, "image {i} shows {class} {count} times in {epochs}");
        }
    }
    // Judging takes the first.
    let source = SplitSource::new(&dataset, Split::Train);
    let mut loader = Loader::new(source, Order::Sequential, 5, (S, S), 1).unwrap();
    assert_eq!(loader.next_batch().unwrap().unwrap().labels, [1, 0, 0, 2, 2]);
}

#[test]
fn what_is_wrong_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let mut round = 0;
    let mut refused = |files: Files, parts: &[&str]| {
        round += 1;
        let dir = temp.path().join(round.to_string());
        files.folder(&dir);
        refusal(&source(&dir), parts);
    };
    let main = |name: &str| format!("VOCdevkit/VOC2012/ImageSets/Main/{name}");
    let lines = |lines: &[&str]| lines.join("\n");
    let all = ["2008_000002 1", "2008_000003 -1", "2007_000005 1", "2008_000007 -1", "2008_000008 -1"];
    refused(voc().without(&main("train.txt")), &["has no file ImageSets/Main/train.txt"]);
    refused(voc().with(&main("val.txt"), "2009_000001\n2009_000002\n2009_000001\n"), &["val.txt", "line 3", "line 1"]);
    refused(voc().with(&main("cat_train.txt"), lines(&all[..4])), &["cat_train.txt", "says nothing of 2008_000008"]);
    let changed = |i: usize, line: &'static str| {
        let mut all = all;
        all[i] = line;
        voc().with(&main("cat_train.txt"), lines(&all))
    };
    refused(changed(2, "2007_000005 2"), &["cat_train.txt", "line 3", "the value 2"]);
    refused(changed(2, "2007_000005"), &["cat_train.txt", "line 3", "not an image and"]);
    refused(changed(2, "1999_000005 1"), &["line 3", "the split's list has no 1999_000005"]);
    refused(changed(2, "2008_000002 1"), &["line 3", "2008_000002 stands above"]);
    refused(
        voc().without("VOCdevkit/VOC2012/JPEGImages/2007_000005.jpg"),
        &["train.txt", "line 3", "JPEGImages/2007_000005.jpg is not there"],
    );
    let no_dogs = VAL.map(|(name, _)| format!("{name} -1"));
    refused(voc().with(&main("dog_val.txt"), no_dogs.join("\n")), &["class \"dog\" has no image in val"]);
    let only_lists: Vec<_> = voc().0.into_iter().filter(|(name, _)| !name.contains("_val.txt")).collect();
    refused(Files(only_lists), &["CLASS_train.txt"]);
    refused(Files::default().add("a/b.txt", "").clone(), &["ImageSets/Main"]);
}

#[test]
fn a_shard_s_presence_is_checked() {
    let temp = tempfile::tempdir().unwrap();
    let (dataset, _) = packed(temp.path());
    drop(dataset);
    let shard = temp.path().join("out/train/shard-00000.safetensors");
    let bytes = fs::read(&shard).unwrap();
    // The first image's presence is 0 1 1, in a row that stands nowhere else.
    let row: Vec<u8> = TRAIN.iter().flat_map(|(_, says)| says.map(|v| [0, 2, 1][(v + 1) as usize])).collect();
    let at = bytes.windows(row.len()).position(|window| window == row).unwrap();
    for (value, parts) in [(3, ["record 0", "presence 3"]), (1, ["record 0", "label 1"])] {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        fs::write(&shard, bytes).unwrap();
        let message = Dataset::open(temp.path().join("out")).map(|_| ()).unwrap_err().to_string();
        says(&message, &[parts[0], parts[1], "shard-00000"]);
    }
    let place = |text: &[u8]| bytes.windows(text.len()).position(|window| window == text).unwrap();
    let at = place(b".jpg\nJPEGImages") + 4;
    for (value, says_so) in [(b' ', "4 names for 5 images"), (0xFF, "not UTF-8")] {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        fs::write(&shard, bytes).unwrap();
        let message = Dataset::open(temp.path().join("out")).map(|_| ()).unwrap_err().to_string();
        says(&message, &[says_so, "shard-00000"]);
    }
    let recipe = Recipe {
        classes: CLASSES.map(String::from).to_vec(),
        size: 1,
        masks: false,
        multi_label: true,
        source: "test".into(),
        preprocessing: "none".into(),
    };
    let mut writer = PackWriter::create(&temp.path().join("set"), recipe, false).unwrap();
    let message = writer
        .write_named_shard(Split::Train, &[0; 6], Labels::Several(&[1, 0, 0, 0, 0, 0]), &["a", "b"])
        .unwrap_err()
        .to_string();
    says(&message, &["image 1", "no class"]);
    assert!(writer.write_shard(Split::Train, &[0; 3], &[1], None).is_err(), "an image without presence was taken");
}

#[test]
fn data_sets_of_before_have_one_label_an_image() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("set");
    crate::packed::write_small(&out, false).unwrap();
    let manifest = out.join("dataset.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let old = text.replace("  \"multi_label\": false,\n", "");
    assert_ne!(text, old);
    fs::write(&manifest, old).unwrap();
    let dataset = Dataset::open(&out).unwrap();
    assert_eq!(dataset.split(Split::Train).presence(0), None);
    assert_eq!(dataset.split(Split::Train).names(), None);
    assert!(!Manifest::read(&out).unwrap().multi_label);
}
