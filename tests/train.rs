//! A whole run: what it records, what it keeps, how it stops, and the command line.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use zfnet::data::packed::Split;
use zfnet::error::Error;
use zfnet::ops::Cpu;
use zfnet::train::checkpoint::Checkpoint;
use zfnet::train::config::Config;
use zfnet::train::evaluate::{TestCrops, evaluate};
use zfnet::train::metrics::{self, EpochMetrics};
use zfnet::train::model::Model;
use zfnet::train::observer::{Observer, Silent, Step};
use zfnet::train::trainer::Options;

use crate::fixture::{self, CONFIG, STEPS_PER_EPOCH, VAL};

/// Collects everything it is told.
#[derive(Default)]
struct Recorder {
    lines: Vec<String>,
    steps: Vec<Step>,
    validated: Vec<(usize, usize)>,
    epochs: Vec<EpochMetrics>,
}

impl Observer for Recorder {
    fn say(&mut self, line: &str) {
        self.lines.push(line.into());
    }
    fn step(&mut self, step: &Step) {
        self.steps.push(*step);
    }
    fn validating(&mut self, done: usize, images: usize) {
        self.validated.push((done, images));
    }
    fn epoch(&mut self, metrics: &EpochMetrics) {
        self.epochs.push(metrics.clone());
    }
}

#[test]
fn a_run_records_and_keeps_what_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let out = folder.path().join("run");
    let options = Options { keep_epochs: vec![1, 2, 3, 4], ..fixture::options() };
    let mut seen = Recorder::default();
    let summary = fixture::train(&data, &out, &fixture::config(), &options, &mut seen).unwrap();

    let lines = metrics::read(&out.join("metrics.jsonl")).unwrap();
    assert_eq!(lines, seen.epochs);
    assert_eq!(lines.iter().map(|l| (l.epoch, l.step)).collect::<Vec<_>>(), [(1, 3), (2, 6), (3, 9), (4, 12)]);
    assert_eq!(lines.iter().map(|l| l.lr).collect::<Vec<_>>(), [0.01, 0.01, 0.001, 0.001]);
    for line in &lines {
        // The mean over the epoch's batches, which are all of one size.
        let batches: Vec<f64> = seen.steps.iter().filter(|s| s.epoch == line.epoch).map(|s| s.batch_loss).collect();
        assert_eq!(batches.len() as u64, STEPS_PER_EPOCH);
        let mean = batches.iter().sum::<f64>() / batches.len() as f64;
        assert!((line.train_loss - mean).abs() <= 1e-14 * mean, "{} {mean}", line.train_loss);
        assert!((0.0..=1.0).contains(&line.train_top1) && line.images_per_s > 0.0 && line.seconds > 0.0);
        assert_eq!(line.val_top5, Some(1.0), "three classes are all among the first five");

        // Validation is what `eval` says about that epoch's checkpoint, to the last bit.
        let model = Model::open(&out, &format!("epoch-{}", line.epoch)).unwrap();
        let mut net = model.net(Cpu::<f32>::new(), 4).unwrap();
        let again = evaluate(&mut net, &data, Split::Val, TestCrops::Centre, &mut |_| true).unwrap().unwrap();
        assert_eq!((Some(again.loss), Some(again.top1)), (line.val_loss, line.val_top1));
        assert_eq!(again.images, VAL);
        let progress = model.checkpoint.header.progress;
        assert_eq!((progress.epoch, progress.step, progress.step_in_epoch), (line.epoch, line.step, 0));
    }
    assert_eq!(seen.validated[..2], [(4, VAL), (7, VAL)], "a batch and what remains");

    // The first of the best epochs.
    let top1 = |l: &EpochMetrics| l.val_top1.unwrap();
    let best = lines.iter().rev().max_by(|a, b| top1(a).total_cmp(&top1(b))).unwrap();
    let summary_best = summary.best.unwrap();
    assert_eq!((summary_best.epoch, summary_best.score), (best.epoch, top1(best)));
    let bytes = |name: &str| fs::read(out.join(name)).unwrap();
    assert!(bytes("best.safetensors") == bytes(&format!("epoch-00{}.safetensors", best.epoch)));
    assert!(bytes("last.safetensors") == bytes("epoch-004.safetensors"));

    let log = String::from_utf8(bytes("log.txt")).unwrap();
    assert!(seen.lines.len() > 4 + 4, "{:?}", seen.lines);
    for (logged, said) in log.lines().zip(&seen.lines) {
        assert_eq!(logged.split_once("Z ").unwrap().1, said);
    }
    assert_eq!(log.lines().count(), seen.lines.len());
    assert!(log.contains("learning rate 0.01 -> 0.001"), "{log}");
    let config = Config::file(&out).unwrap();
    assert_eq!((config.train.seed, config.train.batch), (12, 4));
}

#[test]
fn training_learns() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let text = CONFIG.replace("epochs = 4", "epochs = 60").replace("dropout = 0.5", "dropout = 0.0");
    let config = Config::parse("fixture", &text).unwrap();
    let mut seen = Recorder::default();
    fixture::train(&data, &folder.path().join("run"), &config, &fixture::options(), &mut seen).unwrap();
    let (first, last) = (&seen.epochs[0], &seen.epochs[59]);
    assert!(last.train_loss < 0.5 * first.train_loss, "{first}\n{last}");
    assert!(last.val_top1.unwrap() >= 0.7, "{last}");
}

/// A rate that throws the weights to infinity within two updates.
#[test]
fn a_run_that_diverges_stops_and_keeps_its_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let out = folder.path().join("run");
    // Without the clip the filters are thrown as far as everything else.
    let text = CONFIG.replace("lr = 0.01", "lr = 1e30\nrms_clip = false");
    let config = Config::parse("fixture", &text).unwrap();
    let error = fixture::train(&data, &out, &config, &fixture::options(), &mut Silent).unwrap_err();
    let Error::NonFinite { step, loss, place, advice } = &error else { panic!("{error}") };
    assert!((1..STEPS_PER_EPOCH).contains(step), "{error}");
    assert!(!loss.is_finite(), "{error}");
    assert!(place.starts_with("the output of") || place.starts_with("parameter"), "{error}");
    assert!(advice.contains("last.safetensors") && advice.contains("step 0"), "{error}");
    let last = Checkpoint::read(&out.join("last.safetensors")).unwrap();
    assert_eq!(last.header.progress.step, 0);
    assert!(fs::read_to_string(out.join("log.txt")).unwrap().contains(&error.to_string()));
    assert!(!out.join("best.safetensors").exists());
}

/// `zfnet train` on the fixture's data.
fn program(folder: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let file = folder.join("fixture.toml");
    fs::write(&file, CONFIG).unwrap();
    let mut command = fixture::zfnet(["train"]);
    command.arg("--data").arg(folder.join("data")).arg("--out").arg(folder.join("run"));
    if !more.contains(&"--resume") {
        command.arg("--config").arg(file);
    }
    fixture::outcome(command.args(more))
}

#[test]
fn the_program_trains_and_answers() {
    let folder = tempfile::tempdir().unwrap();
    fixture::pack(folder.path());
    let more =
        ["--epochs", "3", "--seed", "5", "--recipe", "practical", "--lr", "0.02", "--json", "--keep-epochs", "1,3"];
    let (status, stdout, stderr) = program(folder.path(), &more);
    assert_eq!(status, Some(0), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((answer["epochs"].as_u64(), answer["steps"].as_u64()), (Some(3), Some(9)));
    assert!(Path::new(answer["best"].as_str().unwrap()).is_file());
    for word in ["cpu, f32", "fixture, ", "parameters", "14 images to train on, 7 to validate", "epoch 3: "] {
        assert!(stderr.contains(word), "{word} is not in\n{stderr}");
    }
    let run = folder.path().join("run");
    assert!(run.join("epoch-001.safetensors").is_file() && run.join("epoch-003.safetensors").is_file());
    assert!(!run.join("epoch-002.safetensors").exists());
    let train = Config::file(&run).unwrap().train;
    assert_eq!((train.epochs, train.seed, train.lr, train.weight_decay), (3, 5, 0.02, 5e-4));

    // A second time into the same folder.
    let (status, _, stderr) = program(folder.path(), &[]);
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.contains("--resume"), "{stderr}");
    // Resumed, it has nothing left to do, and says the same.
    let (status, again, stderr) = program(folder.path(), &["--resume", "--json"]);
    assert_eq!(status, Some(0), "{stderr}");
    assert_eq!(again, stdout);
}

#[test]
fn what_does_not_fit_is_refused_before_there_is_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    fixture::pack(folder.path());
    for (more, word) in [
        (&["--device", "gpu"][..], "auto, cpu, cuda:N or emulator"),
        (&["--device", "cpu", "--precision", "bf16"], "needs a GPU"),
        (&["--precision", "fp8"], "f32, tf32 or bf16"),
        (&["--epochs", "0"], "train.epochs"),
        (&["--lr", "nan"], "train.lr"),
        (&["--recipe", "secret"], "paper, practical"),
        (&["--resume", "--epochs", "9"], "--epochs"),
        (&["--preset", "small"], "--preset"),
        (&["--threads", "0"], "--threads"),
        (&["--save-every=-1"], "--save-every"),
        (&["--resume"], "without --resume"),
    ] {
        let (status, _, stderr) = program(folder.path(), more);
        assert_eq!(status, Some(2), "{more:?}: {stderr}");
        assert!(stderr.contains(word), "{more:?}: {stderr}");
        assert!(!folder.path().join("run").exists(), "{more:?} made a folder");
    }
    // There is no such GPU anywhere: opening it fails, and leaves no folder.
    let (status, _, stderr) = program(folder.path(), &["--device", "cuda:4096"]);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("cuda") && !folder.path().join("run").exists(), "{stderr}");
    let mut command = fixture::zfnet(["train", "--preset", "zfnet"]);
    command.arg("--data").arg(folder.path().join("data")).arg("--out").arg(folder.path().join("run"));
    let (status, _, stderr) = fixture::outcome(&mut command);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("224") && stderr.contains("11 x 11"), "{stderr}");
    assert!(!folder.path().join("run").exists());
}

/// `zfnet train .. 2>&1 | head` must not cost a run.
#[test]
fn training_goes_on_when_nobody_listens() {
    let folder = tempfile::tempdir().unwrap();
    fixture::pack(folder.path());
    let (file, out) = (folder.path().join("fixture.toml"), folder.path().join("run"));
    fs::write(&file, CONFIG).unwrap();
    let mut command = fixture::zfnet(["train"]);
    command.arg("--data").arg(folder.path().join("data")).arg("--out").arg(&out).arg("--config").arg(file);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(metrics::read(&out.join("metrics.jsonl")).unwrap().len(), 4);
}
