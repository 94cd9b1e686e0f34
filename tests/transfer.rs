//! Frozen features and what is trained on them: the pass, the protocol, the program.

use std::fs;
use std::path::Path;

use serde_json::Value;
use zfnet::data::packed::{Dataset, Labels, PackWriter, Recipe, Split};
use zfnet::error::Error;
use zfnet::net::Plan;
use zfnet::ops::Cpu;
use zfnet::train::Config;
use zfnet::train::evaluate::{TestCrops, probabilities};
use zfnet::train::model::Model;
use zfnet::train::observer::Silent;
use zfnet::train::score::most_probable;
use zfnet::transfer::extract::{bytes, check_room, extract};
use zfnet::transfer::features::{Features, subject};
use zfnet::transfer::retained::Retained;
use zfnet::transfer::scratch;
use zfnet::transfer::split::{Examples, Fold, Protocol};

use crate::common::compare::{Tolerance, assert_close, assert_same_bits};
use crate::fixture::{self, CLASSES, TRAIN, VAL, outcome, zfnet};

mod classifiers;

/// Sums of some tens of products of order 100, in f32 and in another order.
const ROUNDING: Tolerance = Tolerance { abs: 1e-4, rel: 1e-5 };

fn zfnet_plan() -> Plan {
    Plan::new(&Config::preset("zfnet").unwrap().net, 1000).unwrap()
}

#[test]
fn layers_of_zfnet_are_one_to_seven() {
    let plan = zfnet_plan();
    let layers = Retained::all(&plan);
    let found: Vec<(usize, &str, &str, usize)> =
        layers.iter().map(|l| (l.number, l.name.as_str(), l.blob.as_str(), l.d)).collect();
    let expected = [
        (1, "conv1", "lrn1", 55 * 55 * 96),
        (2, "conv2", "lrn2", 13 * 13 * 256),
        (3, "conv3", "conv3", 13 * 13 * 384),
        (4, "conv4", "conv4", 13 * 13 * 384),
        (5, "conv5", "pool5", 6 * 6 * 256),
        (6, "fc6", "fc6", 4096),
        (7, "fc7", "fc7", 4096),
    ];
    assert_eq!(found, expected);
    let numbers = |asked: &str| Retained::choose(&plan, asked).map(|l| l.iter().map(|l| l.number).collect::<Vec<_>>());
    assert_eq!(numbers("all").unwrap(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(numbers("2..4").unwrap(), [2, 3, 4]);
    assert_eq!(numbers("7,1,7").unwrap(), [1, 7]);
    for wrong in ["", "0", "1..8", "4..2", "conv1", "1,,2", "-1"] {
        let message = numbers(wrong).unwrap_err().to_string();
        assert!(message.contains("7 (fc7)"), "{wrong}: {message}");
    }
}

#[test]
fn features_are_those_of_one_image_at_a_time() {
    let (folder, data, run) = fixture::trained();
    let model = Model::open(&run, "last").unwrap();
    let layers = Retained::all(&model.plan);
    assert_eq!(layers.iter().map(|l| l.blob.as_str()).collect::<Vec<_>>(), ["lrn1", "fc2"]);
    let path = folder.path().join("features.safetensors");
    // Batches of four out of 14 + 7 images: one spans both splits.
    let mut net = model.net(Cpu::<f32>::new(), 4).unwrap();
    let features = extract(&mut net, &data, &layers, "these", &path, &mut |_| true).unwrap();
    assert!(fs::metadata(&path).unwrap().len() >= bytes(&layers, TRAIN + VAL));
    let mut single = model.net(Cpu::<f32>::new(), 1).unwrap();
    for i in 0..TRAIN + VAL {
        let (split, row) = if i < TRAIN { (Split::Train, i) } else { (Split::Val, i - TRAIN) };
        let records = data.split(split);
        assert_eq!(usize::from(features.labels()[i]), records.label(row));
        single.load_records(records.record(row), &[1, 1, 0], &[0]).unwrap();
        for layer in &layers {
            single.forward_to(&layer.blob).unwrap();
            let expected: Vec<f64> = single.blob(&layer.blob).unwrap().into_iter().map(f64::from).collect();
            assert_close(&layer.blob, features.matrix(layer).unwrap().row(i), &expected, ROUNDING);
        }
    }

    // The file is taken for what it is, and for nothing else.
    let again = Features::open(&path, "these", &layers[1..]).unwrap().unwrap();
    assert_same_bits("fc2", again.matrix(&layers[1]).unwrap().values, features.matrix(&layers[1]).unwrap().values);
    assert!(again.matrix(&layers[0]).is_err());
    assert!(Features::open(&path, "others", &layers).unwrap().is_none());
    let more = Retained { number: 3, name: "fc9".into(), blob: "fc9".into(), d: 5 };
    assert!(Features::open(&path, "these", &[more]).unwrap().is_none());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let message = Features::open(&path, "these", &layers).unwrap_err().to_string();
    assert!(message.contains("features.safetensors") && message.contains("delete it"), "{message}");
}

#[test]
fn the_subject_is_weights_and_images() {
    let (folder, data, run) = fixture::trained();
    let name = |which: &str, data: &Dataset| subject(&Model::open(&run, which).unwrap(), data);
    let last = name("last", &data);
    let other = fixture::pack_with(&folder.path().join("other"), &CLASSES, 4);
    assert_eq!(last, name("last", &data));
    assert_ne!(last, name("last", &other));
    let second = folder.path().join("second");
    let longer = Config::parse("fixture", &fixture::CONFIG.replace("epochs = 4", "epochs = 5")).unwrap();
    fixture::train(&data, &second, &longer, &fixture::options(), &mut Silent).unwrap();
    assert_ne!(last, subject(&Model::open(&second, "last").unwrap(), &data));
}

#[test]
fn an_interrupted_pass_leaves_nothing() {
    let (folder, data, run) = fixture::trained();
    let model = Model::open(&run, "last").unwrap();
    let layers = Retained::all(&model.plan);
    let out = folder.path().join("features");
    fs::create_dir(&out).unwrap();
    let mut net = model.net(Cpu::<f32>::new(), 4).unwrap();
    let mut asked = 0;
    let mut go_on = |done: usize| {
        asked += 1;
        assert_eq!(done, 4 * asked);
        asked < 3
    };
    let error = extract(&mut net, &data, &layers, "these", &out.join("f"), &mut go_on).unwrap_err();
    assert!(matches!(error, Error::Interrupted(_)) && error.to_string().contains("12 of 21 images"), "{error}");
    assert_eq!((asked, fs::read_dir(&out).unwrap().count()), (3, 0));
}

#[test]
fn a_disk_without_room_is_refused_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let layers = Retained::all(&zfnet_plan());
    check_room(folder.path(), &layers, 1).unwrap();
    // 2^40 images of 290400 values: more than any disk has.
    let message = check_room(folder.path(), &layers, 1 << 40).unwrap_err().to_string();
    assert!(message.contains("layer 1 alone") && message.contains("--layers"), "{message}");
}

/// 40, 9 and 23 images of three classes, in no order.
fn labels() -> Vec<u16> {
    let mut left = [40, 9, 23];
    let mut labels = Vec::new();
    while labels.len() < 72 {
        let c = (labels.len() * 7 + labels.len() / 5) % 3;
        let c = (0..3).map(|k| (c + k) % 3).find(|&c| left[c] > 0).unwrap();
        left[c] -= 1;
        labels.push(c as u16);
    }
    labels
}

#[test]
fn folds_are_the_protocols() {
    let (labels, classes) = (labels(), ["a", "b", "c"].map(String::from).to_vec());
    let protocol = Protocol { max_test: 11, seed: 3 };
    let fold = |n: usize, number: usize| protocol.fold(&labels, &classes, n, number).unwrap();
    let counts = |images: &[usize]| {
        let mut counts = [0; 3];
        images.iter().for_each(|&i| counts[usize::from(labels[i])] += 1);
        counts
    };
    for (n, tests) in [(2, [11, 7, 11]), (6, [11, 3, 11]), (8, [11, 1, 11])] {
        let Fold { train, test, .. } = fold(n, 0);
        assert_eq!((counts(&train), counts(&test)), ([n; 3], tests));
        let mut all: Vec<usize> = train.iter().chain(&test).copied().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), train.len() + test.len(), "an image twice");
        assert!(train.is_sorted_by_key(|&i| labels[i]) && test.is_sorted_by_key(|&i| labels[i]));
    }
    // From few to many images the large classes are judged on the same ones, and learn from more.
    let large = |images: &[usize]| images.iter().copied().filter(|&i| labels[i] != 1).collect::<Vec<_>>();
    assert_eq!(large(&fold(2, 4).test), large(&fold(8, 4).test));
    assert!(fold(2, 4).train.iter().all(|i| fold(8, 4).train.contains(i)));
    // Folds and seeds are different draws, and the same draw again.
    let other = Protocol { seed: 4, ..protocol };
    assert_eq!(fold(6, 1), fold(6, 1));
    assert_ne!(fold(6, 0).train, fold(6, 1).train);
    assert_ne!(fold(6, 0).train, other.fold(&labels, &classes, 6, 0).unwrap().train);
    assert_eq!(protocol.folds(&labels, &classes, &[2, 6], 3).unwrap()[4], fold(6, 1));

    let held_out = |n| Examples::of(&fold(n, 0).train, &labels).held_out();
    let (learned, held) = held_out(8);
    assert_eq!((learned.len(), held.clone()), (15, vec![5, 6, 7, 13, 14, 15, 21, 22, 23]));
    assert_eq!(held_out(2), (vec![0, 2, 4], vec![1, 3, 5]));

    let refused = |n: usize| protocol.fold(&labels, &classes, n, 0).unwrap_err().to_string();
    assert!(refused(9).contains("class b has 9 images: 9 to learn from and 1 to judge by need 10"), "{}", refused(9));
    assert!(refused(1).contains("at least 2"), "{}", refused(1));
}

#[test]
fn a_selection_is_a_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let chosen = data.select(&[19, 2, 14], &[0, 20]).unwrap();
    assert_eq!((chosen.images(), chosen.size(), chosen.classes()), (5, data.size(), data.classes()));
    let original = |i: usize| {
        let (split, row) = data.locate(i);
        (data.split(split).record(row), data.split(split).label(row))
    };
    for (i, from) in [19, 2, 14, 0, 20].into_iter().enumerate() {
        let (split, row) = chosen.locate(i);
        assert_eq!((chosen.split(split).record(row), chosen.split(split).label(row)), original(from));
        assert_eq!(chosen.label_of(i), original(from).1);
    }
    let mean = |k: usize| [19, 2, 14].iter().map(|&i| f64::from(original(i).0[k])).sum::<f64>() / 3.0;
    let expected: Vec<f64> = (0..chosen.mean().len()).map(mean).collect();
    assert_close("mean", chosen.mean(), &expected, Tolerance::rel(1e-7));
    assert_eq!(chosen.manifest().val.per_class.iter().sum::<usize>(), 2);
    // A selection of a selection.
    assert_eq!(chosen.select(&[4], &[]).unwrap().split(Split::Train).record(0), original(20).0);
    assert!(data.select(&[21], &[]).unwrap_err().to_string().contains("image 21 of"));
    assert!(data.select(&[], &[1]).is_err());
}

/// From scratch on a fold: taken up where it stands, and refused with other settings.
#[test]
fn a_network_from_scratch_is_trained_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let labels: Vec<u16> = (0..data.images()).map(|i| data.label_of(i) as u16).collect();
    let fold = Protocol { max_test: 50, seed: 1 }.fold(&labels, data.classes(), 4, 1).unwrap();
    let out = folder.path().join("scratch");
    let train = |config: &Config| scratch::train(Cpu::<f32>::new(), config, &data, &fold, &out, &mut Silent);
    let accuracy = train(&fixture::config()).unwrap();
    let written = fs::read(out.join("metrics.jsonl")).unwrap();
    assert_eq!(train(&fixture::config()).unwrap(), accuracy);
    assert_eq!(fs::read(out.join("metrics.jsonl")).unwrap(), written);
    // By hand, from what the run left: 4, 3 and 2 images to judge by.
    let mut net = Model::open(&out, "last").unwrap().net(Cpu::<f32>::new(), 1).unwrap();
    let (mut right, mut all) = ([0.0; 3], [0.0; 3]);
    for &i in &fold.test {
        let ((split, row), class) = (data.locate(i), data.label_of(i));
        let windows = TestCrops::Centre.windows(fixture::S, 9, 9).unwrap();
        let p = probabilities(&mut net, data.split(split).record(row), &[0], &windows).unwrap();
        right[class] += f64::from(u8::from(most_probable(&p, 1)[0] == class));
        all[class] += 1.0;
    }
    assert_eq!(all, [4.0, 3.0, 2.0]);
    let expected = (right[0] / 4.0 + right[1] / 3.0 + right[2] / 2.0) / 3.0;
    assert!((accuracy - expected).abs() < 1e-12, "{accuracy}, by hand {expected}");
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    assert!(config.contains("seed = 13"), "seed 12, fold 1:\n{config}");
    let mut other = fixture::config();
    other.train.epochs = 9;
    assert!(train(&other).unwrap_err().to_string().contains("other settings"));
}

fn probe(run: &Path, data: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    outcome(zfnet(["probe"]).arg(run).arg("--data").arg(data).args(["--device", "cpu"]).args(more))
}

#[test]
fn the_program_probes_and_draws() {
    let (_folder, data, run) = fixture::trained();
    let few = ["--per-class", "4,2", "--folds", "2"];
    let (status, text, talk) = probe(&run, data.root(), &few);
    assert_eq!(status, Some(0), "{talk}");
    for part in
        ["21 images of 3 classes", "2 a class", "4 a class", "softmax, layer 1", "svm, layer 2", "lrn1, 20", "+-"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let out = run.join("probe");
    let csv = fs::read_to_string(out.join("probe.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 2 * 2 * 2 * 2);
    assert!(image::open(out.join("probe.png")).unwrap().width() > 1000);

    // Again, on other threads: the features stay, the answer is the same to the last bit.
    let stored = fs::metadata(out.join("features.safetensors")).unwrap().modified().unwrap();
    let json = fs::read_to_string(out.join("probe.json")).unwrap();
    let more = ["--per-class", "2,4", "--folds", "2", "--threads", "3", "--keep-models", "--json"];
    let (_, answer, talk) = probe(&run, data.root(), &more);
    assert!(talk.contains("taken as they are"), "{talk}");
    assert_eq!((answer, json.clone()), (json.clone(), fs::read_to_string(out.join("probe.json")).unwrap()));
    assert_eq!(fs::metadata(out.join("features.safetensors")).unwrap().modified().unwrap(), stored);
    assert_eq!(fs::read_dir(out.join("models")).unwrap().count(), 16);

    // From scratch joins what is there.
    let (status, text, talk) = probe(&run, data.root(), &[&few[..], &["--from-scratch", "--epochs", "2"]].concat());
    assert_eq!(status, Some(0), "{talk}");
    assert!(text.contains("from scratch") && text.contains("softmax, layer 1"), "{text}");
    let both: Value = serde_json::from_str(&fs::read_to_string(out.join("probe.json")).unwrap()).unwrap();
    let before: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(both["outcomes"].as_array().unwrap().len(), 20);
    assert!(before["outcomes"].as_array().unwrap().iter().all(|o| both["outcomes"].as_array().unwrap().contains(o)));
    let scratch: Vec<f64> = (0..2).map(|i| both["outcomes"][i]["accuracy"].as_f64().unwrap()).collect();
    let (mean, sd) = ((scratch[0] + scratch[1]) / 2.0, (scratch[0] - scratch[1]).abs() / 2f64.sqrt());
    let of = |key: &str| both["means"][0][key].as_f64().unwrap();
    assert_eq!(both["means"][0]["method"], "scratch");
    assert!((of("mean") - mean).abs() < 1e-12 && (of("sd") - sd).abs() < 1e-12);
}

#[test]
fn what_cannot_be_probed_is_refused() {
    let (_folder, data, run) = fixture::trained();
    let refused = |more: &[&str], part: &str| {
        let (status, text, talk) = probe(&run, data.root(), more);
        assert_eq!((status, text.as_str()), (Some(2), ""), "{more:?}: {talk}");
        assert!(talk.contains(part), "{part} is not in {talk}");
    };
    refused(&["--per-class", "6"], "class blue has 6 images: 6 to learn from and 1 to judge by need 7");
    refused(&["--per-class", "2", "--layers", "3"], "there is no layer 3 below the classifier");
    refused(&["--classifier", "knn"], "knn");
    refused(&["--from-scratch", "--layers", "1"], "cannot be used with");
    refused(&["--epochs", "1"], "--from-scratch");
}

/// Names and classes go with the images of a selection; a probe has no use for several classes.
#[test]
fn images_of_several_classes_are_selected_but_not_probed() {
    let (folder, _, run) = fixture::trained();
    let recipe = Recipe {
        classes: CLASSES.map(String::from).to_vec(),
        size: fixture::S,
        masks: false,
        multi_label: true,
        source: "fixture".into(),
        preprocessing: "none".into(),
    };
    let out = folder.path().join("several");
    let mut writer = PackWriter::create(&out, recipe, false).unwrap();
    let pixels = vec![7; 2 * fixture::S * fixture::S * 3];
    let mut write = |split, presence: &[u8], names: &[&str]| {
        writer.write_named_shard(split, &pixels, Labels::Several(presence), names).unwrap();
    };
    write(Split::Train, &[1, 0, 1, 0, 1, 2], &["a", "b"]);
    write(Split::Val, &[0, 1, 1, 0, 0, 1], &["c", "d"]);
    writer.finish().unwrap();
    let data = Dataset::open(&out).unwrap();
    let chosen = data.select(&[3, 0], &[1]).unwrap();
    assert_eq!(chosen.split(Split::Train).names(), Some(vec!["d", "a"]));
    assert_eq!(chosen.split(Split::Val).presence(0), Some(&[0, 1, 2][..]));
    assert_eq!(chosen.manifest().train.per_class, [1, 0, 2]);
    assert_eq!(chosen.manifest().val.per_class, [0, 1, 0]);
    let (status, _, talk) = probe(&run, &out, &[]);
    assert!(status == Some(2) && talk.contains("several classes each"), "{talk}");
}
