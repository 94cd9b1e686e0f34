//! Scores: by hand, over ten windows, over several networks, and from the program.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::Value;
use zfnet::data::packed::{Dataset, Split};
use zfnet::ops::Cpu;
use zfnet::train::config::Config;
use zfnet::train::evaluate::{Ensemble, TestCrops, evaluate, for_each_image, probabilities};
use zfnet::train::metrics;
use zfnet::train::model::Model;
use zfnet::train::observer::Silent;
use zfnet::train::score::{Scorer, most_probable};

use crate::common::compare::{Tolerance, assert_close, assert_same_bits};
use crate::fixture::{self, CLASSES, CONFIG, S, VAL};

/// One rounding for each of up to ten terms.
const ROUNDING: Tolerance = Tolerance { abs: 0.0, rel: 10.0 * f64::EPSILON };

#[test]
fn scores_by_hand() {
    let classes: Vec<String> = (0..7).map(|c| format!("class {c}")).collect();
    let mut scorer = Scorer::new(7);
    // Right; rank 6 (not among five); a tie that the first class wins, so that 4 comes second.
    scorer.add(1, &[0.05, 0.5, 0.2, 0.05, 0.1, 0.05, 0.05]);
    scorer.add(6, &[0.2, 0.2, 0.2, 0.15, 0.1, 0.05, 0.1]);
    scorer.add(4, &[0.1, 0.0, 0.3, 0.2, 0.3, 0.05, 0.05]);
    // A tie that the label wins, and a probability of 0.
    scorer.add(2, &[0.1, 0.0, 0.3, 0.2, 0.3, 0.05, 0.05]);
    scorer.add(1, &[0.1, 0.0, 0.3, 0.2, 0.3, 0.05, 0.05]);
    let scores = scorer.finish(&classes);
    assert_eq!((scores.images, scores.top1, scores.top5), (5, 2.0 / 5.0, 3.0 / 5.0));
    let loss = -(0.5f64.ln() + 0.1f64.ln() + 2.0 * 0.3f64.ln() + f64::MIN_POSITIVE.ln()) / 5.0;
    assert_close("loss", &[scores.loss], &[loss], ROUNDING);
    let mut confusion = vec![vec![0; 7]; 7];
    for (label, taken) in [(1, 1), (6, 0), (4, 2), (2, 2), (1, 2)] {
        confusion[label][taken] += 1;
    }
    assert_eq!(scores.confusion, confusion);
    let of = |c: usize| (scores.per_class[c].images, scores.per_class[c].top1, scores.per_class[c].top5);
    assert_eq!(of(0), (0, None, None));
    assert_eq!(of(1), (2, Some(0.5), Some(0.5)));
    assert_eq!(of(4), (1, Some(0.0), Some(1.0)));
    assert_eq!(of(6), (1, Some(0.0), Some(0.0)));
    assert_eq!(scores.per_class[4].class, "class 4");
}

#[test]
fn most_probable_comes_first_and_ties_keep_their_order() {
    let p = [0.1, 0.3, 0.05, 0.3, 0.2, 0.05];
    assert_eq!(most_probable(&p, 1), [1]);
    assert_eq!(most_probable(&p, 4), [1, 3, 4, 0]);
    assert_eq!(most_probable(&p, 99), [1, 3, 4, 0, 2, 5]);
}

/// The validation images in one batch.
fn validation(data: &Dataset) -> (Vec<u8>, Vec<i32>) {
    let records = data.split(Split::Val);
    let images = (0..VAL).flat_map(|i| records.record(i).to_vec()).collect();
    (images, (0..VAL).map(|i| records.label(i) as i32).collect())
}

#[test]
fn ten_windows_are_the_mean_of_ten_single_ones() {
    let (_folder, data, out) = fixture::trained();
    let mut net = Model::open(&out, "last").unwrap().net(Cpu::<f32>::new(), VAL).unwrap();
    let (images, labels) = validation(&data);
    let windows = TestCrops::Ten.windows(S, 9, 9).unwrap();
    let ten = probabilities(&mut net, &images, &labels, &windows).unwrap();
    let singles: Vec<Vec<f64>> =
        windows.iter().map(|w| probabilities(&mut net, &images, &labels, &[*w]).unwrap()).collect();
    let mean: Vec<f64> = (0..ten.len()).map(|i| singles.iter().map(|p| p[i]).sum::<f64>() / 10.0).collect();
    assert_close("mean of ten", &ten, &mean, ROUNDING);
    assert!(singles.windows(2).all(|pair| pair[0] != pair[1]), "two windows gave the same answer");
    let sums: Vec<f64> = ten.chunks(3).map(|p| p.iter().sum()).collect();
    assert_close("sums", &sums, &[1.0; VAL], ROUNDING);

    // And the scores are those of these probabilities.
    let mut scorer = Scorer::new(3);
    ten.chunks(3).zip(&labels).for_each(|(p, label)| scorer.add(*label as usize, p));
    let scores = evaluate(&mut net, &data, Split::Val, TestCrops::Ten, &mut |_| true).unwrap().unwrap();
    assert_eq!(scores, scorer.finish(data.classes()));
}

#[test]
fn the_batch_an_image_is_in_does_not_matter() {
    let (_folder, data, out) = fixture::trained();
    let model = Model::open(&out, "last").unwrap();
    let all = |batch: usize| {
        let mut rows = Vec::new();
        let mut net = model.net(Cpu::<f32>::new(), batch).unwrap();
        let each = |_: usize, p: &[f64]| rows.extend_from_slice(p);
        assert!(for_each_image(&mut net, &data, Split::Val, TestCrops::Centre, each, &mut |_| true).unwrap());
        rows
    };
    let seven = all(7);
    assert_eq!(seven.len(), VAL * 3);
    assert_close("batches of 3", &all(3), &seven, Tolerance::abs(1e-6));
    assert_close("batches of 1", &all(1), &seven, Tolerance::abs(1e-6));
}

/// A second run, of another seed.
fn second(folder: &Path, data: &Arc<Dataset>) -> std::path::PathBuf {
    let out = folder.join("second");
    let config = Config::parse("second", &CONFIG.replace("seed = 12", "seed = 99")).unwrap();
    fixture::train(data, &out, &config, &fixture::options(), &mut Silent).unwrap();
    out
}

#[test]
fn an_ensemble_is_the_mean_of_its_networks() {
    let (folder, data, first) = fixture::trained();
    let second = second(folder.path(), &data);
    let net = |out: &Path| Model::open(out, "last").unwrap().net(Cpu::<f32>::new(), VAL).unwrap();
    let (images, labels) = validation(&data);
    let windows = TestCrops::Centre.windows(S, 9, 9).unwrap();
    let p = probabilities(&mut net(&first), &images, &labels, &windows).unwrap();
    let q = probabilities(&mut net(&second), &images, &labels, &windows).unwrap();
    assert!(p != q);
    let mut scorer = Scorer::new(3);
    for ((p, q), label) in p.chunks(3).zip(q.chunks(3)).zip(&labels) {
        let mean: Vec<f64> = p.iter().zip(q).map(|(p, q)| (p + q) / 2.0).collect();
        scorer.add(*label as usize, &mean);
    }
    let mut ensemble = Ensemble::new(&data, Split::Val, TestCrops::Centre);
    let mut done = Vec::new();
    ensemble.add(&mut net(&first), &mut |images| done.push(images)).unwrap();
    ensemble.add(&mut net(&second), &mut |images| done.push(images)).unwrap();
    assert_eq!(done, [VAL, VAL]);
    assert_eq!(ensemble.finish(), scorer.finish(data.classes()));

    // A network with itself is itself.
    let mut twice = Ensemble::new(&data, Split::Val, TestCrops::Centre);
    twice.add(&mut net(&first), &mut |_| ()).unwrap();
    twice.add(&mut net(&first), &mut |_| ()).unwrap();
    let alone = evaluate(&mut net(&first), &data, Split::Val, TestCrops::Centre, &mut |_| true).unwrap().unwrap();
    let twice = twice.finish();
    assert_same_bits("loss", &[twice.loss], &[alone.loss]);
    assert_eq!(twice, alone);
}

fn program(data: &Dataset, more: &[&str]) -> (Option<i32>, String, String) {
    fixture::outcome(fixture::zfnet(["eval"]).arg("--data").arg(data.root()).args(more))
}

#[test]
fn the_program_scores_as_training_did() {
    let (folder, data, out) = fixture::trained();
    let run = out.to_str().unwrap();
    let last = metrics::read(&out.join("metrics.jsonl")).unwrap().pop().unwrap();
    let (status, stdout, stderr) = program(&data, &[run, "--checkpoint", "last", "--json"]);
    assert_eq!(status, Some(0), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["images"], VAL);
    assert_eq!((answer["loss"].as_f64(), answer["top1"].as_f64()), (last.val_loss, last.val_top1));
    assert_eq!(answer["top5"].as_f64(), last.val_top5);
    let images: Vec<u64> = (0..3).map(|c| answer["per_class"][c]["images"].as_u64().unwrap()).collect();
    assert_eq!(images, [3, 2, 2]);
    assert_eq!(answer["per_class"][2]["class"], CLASSES[2]);
    let rows = answer["confusion"].as_array().unwrap();
    let sums: Vec<u64> = rows.iter().map(|r| r.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum()).collect();
    assert_eq!(sums, images);

    // A file says the same as its run; words say the same as JSON.
    let file = out.join("last.safetensors");
    let (_, from_file, _) = program(&data, &[file.to_str().unwrap(), "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&from_file).unwrap()["loss"], answer["loss"]);
    let (_, words, _) = program(&data, &[run, "--checkpoint", "last"]);
    assert!(words.contains(&format!("top-1  {:.4}", last.val_top1.unwrap())), "{words}");

    // Ten crops, the training split, two networks.
    let second = second(folder.path(), &data);
    let more = [run, second.to_str().unwrap(), "--crops", "10", "--split", "train", "--json"];
    let (status, stdout, stderr) = program(&data, &more);
    assert_eq!(status, Some(0), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((answer["images"].as_u64(), answer["runs"].as_array().unwrap().len()), (Some(14), 2));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (folder, data, out) = fixture::trained();
    let run = out.to_str().unwrap();
    let other = fixture::pack_with(&folder.path().join("other"), &["red", "green", "yellow"], 3);
    let (status, _, stderr) = program(&other, &[run]);
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.contains("only in the run: blue; only in the data: yellow"), "{stderr}");
    let shuffled = fixture::pack_with(&folder.path().join("shuffled"), &["green", "red", "blue"], 3);
    let (_, _, stderr) = program(&shuffled, &[run]);
    assert!(stderr.contains("another order"), "{stderr}");

    let (status, _, stderr) = program(&data, &[run, "--checkpoint", "epoch-3"]);
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.contains("epoch-3") && stderr.contains("best, last"), "{stderr}");
    let (status, _, stderr) = program(&data, &[folder.path().join("nowhere").to_str().unwrap()]);
    assert_eq!(status, Some(2), "{stderr}");
    let (status, _, stderr) = program(&data, &[run, "--crops", "5"]);
    assert_eq!(status, Some(2), "{stderr}");

    fs::write(out.join("best.safetensors"), "rubbish").unwrap();
    let (status, _, stderr) = program(&data, &[run]);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("best.safetensors"), "{stderr}");
}

#[test]
fn a_reader_that_hangs_up_is_no_failure() {
    let (_folder, data, out) = fixture::trained();
    let mut command = fixture::zfnet(["eval"]);
    command.arg("--data").arg(data.root()).arg(&out).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}
