//! A data set and a network so small that a whole run takes a fraction of a second.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use zfnet::data::packed::{Dataset, PackWriter, Recipe, Split};
use zfnet::error::Result;
use zfnet::ops::Cpu;
use zfnet::philox::{Purpose, Stream};
use zfnet::train::config::Config;
use zfnet::train::observer::{Observer, Silent};
use zfnet::train::run::{Resumed, Run};
use zfnet::train::trainer::{Options, Summary, Trainer};

/// Side of the records; crops are 9 x 9, so there are 3 x 3 places for them.
pub const S: usize = 11;
/// Training images: three batches of four, and two that sit each epoch out.
pub const TRAIN: usize = 14;
pub const VAL: usize = 7;
pub const CLASSES: [&str; 3] = ["red", "green", "blue"];
pub const STEPS_PER_EPOCH: u64 = 3;

/// Dropout, momentum, decay and clip are all on: each leaves its mark on a
/// run that resumes with one of them forgotten.
pub const CONFIG: &str = r#"
[net]
name = "fixture"
input = 9

[[layer]]
conv = "conv1"
filters = 5
kernel = 3
stride = 2

[[layer]]
pool = "pool1"
kernel = 3
stride = 2

[[layer]]
lrn = "lrn1"

[[layer]]
linear = "fc2"
outputs = 7
dropout = 0.5

[[layer]]
linear = "fc3"

[train]
epochs = 4
batch = 4
seed = 12
lr = 0.01
weight_decay = 5e-4
init = "he"
schedule = { kind = "steps", at = [0.5], factor = 10.0 }
"#;

pub fn config() -> Config {
    Config::parse("fixture", CONFIG).unwrap()
}

/// Pixels of image `i` of class `label`: noise, with one channel brighter.
fn image(stream: &Stream, i: usize, label: usize) -> Vec<u8> {
    let pixel = |j: usize| {
        let bright = if j % 3 == label { 90 } else { 0 };
        (stream.below(i as u64, j as u64, 150) + bright) as u8
    };
    (0..S * S * 3).map(pixel).collect()
}

/// Packs the data set into `folder`/data.
pub fn pack(folder: &Path) -> Arc<Dataset> {
    pack_with(&folder.join("data"), &CLASSES, 3)
}

/// The same with other class names or another seed.
pub fn pack_with(out: &Path, classes: &[&str], seed: u64) -> Arc<Dataset> {
    let recipe = Recipe {
        classes: classes.iter().map(|c| c.to_string()).collect(),
        size: S,
        masks: false,
        multi_label: false,
        source: "fixture".into(),
        preprocessing: "none".into(),
    };
    let mut writer = PackWriter::create(out, recipe, false).unwrap();
    for (split, n, lane) in [(Split::Train, TRAIN, 0), (Split::Val, VAL, 1)] {
        let stream = Stream::new(seed, Purpose::Test, lane);
        let labels: Vec<u16> = (0..n).map(|i| (i % 3) as u16).collect();
        let images: Vec<u8> = labels.iter().enumerate().flat_map(|(i, &l)| image(&stream, i, l.into())).collect();
        writer.write_shard(split, &images, &labels, None).unwrap();
    }
    writer.finish().unwrap();
    Arc::new(Dataset::open(out).unwrap())
}

/// Trains with `config` into the new folder `out`.
pub fn train(
    data: &Arc<Dataset>,
    out: &Path,
    config: &Config,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Summary> {
    let mut run = Run::create(out, &config.to_toml())?;
    Trainer::new(Cpu::<f32>::new(), config, data, &mut run, None, options, observer)?.train()
}

/// Goes on in `out`.
pub fn resume(data: &Arc<Dataset>, out: &Path, options: &Options, observer: &mut dyn Observer) -> Result<Summary> {
    let Resumed { mut run, config, checkpoint } = Run::resume(out)?;
    Trainer::new(Cpu::<f32>::new(), &config, data, &mut run, checkpoint, options, observer)?.train()
}

/// The data set and a finished run: (folder that holds both, data, run).
pub fn trained() -> (tempfile::TempDir, Arc<Dataset>, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = pack(folder.path());
    let out = folder.path().join("run");
    train(&data, &out, &config(), &options(), &mut Silent).unwrap();
    (folder, data, out)
}

/// The program, with its arguments.
pub fn zfnet<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zfnet"));
    command.args(arguments);
    command
}

/// What a finished command printed: (status, stdout, stderr).
pub fn outcome(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Checkpoints at epoch ends only.
pub fn options() -> Options {
    Options { save_every: Duration::MAX, keep_epochs: Vec::new(), loader_threads: 2, fused: true }
}
