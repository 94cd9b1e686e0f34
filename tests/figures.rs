//! Every figure, from the program, on the emulator: it tells what it tells on the CPU.

use std::fs;
use std::path::{Path, PathBuf};

use zfnet::data::packed::{Dataset, Split};
use zfnet::data::synthetic::Synthetic;
use zfnet::train::config::Config;
use zfnet::train::observer::Silent;
use zfnet::train::trainer::Options;

use crate::common::compare::roundoff;
use crate::fixture::{options, outcome, train, zfnet};

/// Two convolutions, so that there are layers to go through; 4 crops of 28 px are a batch.
const CONFIG: &str = r#"
[net]
name = "figures"
input = 28

[[layer]]
conv = "conv1"
filters = 5
kernel = 5
stride = 2

[[layer]]
pool = "pool1"
kernel = 3
stride = 2

[[layer]]
lrn = "lrn1"

[[layer]]
conv = "conv2"
filters = 7
kernel = 3

[[layer]]
linear = "fc3"
outputs = 11

[[layer]]
linear = "fc4"

[train]
epochs = 2
batch = 4
seed = 12
lr = 0.003
init = "he"
"#;

/// A data set with masks, a run with both of its epochs kept, and a photograph: (folder, data, run, photograph).
fn trained() -> (tempfile::TempDir, PathBuf, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let synthetic = Synthetic { classes: 3, train: 24, val: 6, size: 32, ..Default::default() };
    synthetic.pack(&at("data"), &|_| ()).unwrap();
    let data = std::sync::Arc::new(Dataset::open(at("data")).unwrap());
    let kept = Options { keep_epochs: vec![1, 2], ..options() };
    train(&data, &at("run"), &Config::parse("figures", CONFIG).unwrap(), &kept, &mut Silent).unwrap();
    let class = at("photographs").join(&data.classes()[1]);
    fs::create_dir_all(&class).unwrap();
    let photograph = class.join("one.png");
    let record = data.split(Split::Val).record(1);
    image::save_buffer(&photograph, record, 32, 32, image::ColorType::Rgb8).unwrap();
    let paths = (at("data"), at("run"), photograph);
    (folder, paths.0, paths.1, paths.2)
}

/// The same figure on both devices: its tables must agree.
///
/// Numbers are sums of at most 140 terms in each of four layers up and down, rounded to f32 in
/// another order on each device; what is left of a column's largest number after differences
/// is taken to be a sixteenth of it at least.
fn same_on_both(run: &Path, out: &Path, words: &[&str], tables: &[&str]) {
    for device in ["cpu", "emulator"] {
        let mut command = zfnet(["visualize"]);
        command.arg(words[0]).arg(run).args(&words[1..]).args(["--device", device]);
        let (status, _, stderr) = outcome(command.arg("--out").arg(out.join(device)));
        assert_eq!(status, Some(0), "{words:?} on {device}: {stderr}");
    }
    for table in tables {
        let read = |device: &str| {
            fs::read_to_string(out.join(device).join(table))
                .unwrap_or_else(|error| panic!("{device}, {table}: {error}"))
        };
        let (cpu, emulator) = (columns(&read("cpu")), columns(&read("emulator")));
        assert_eq!(cpu.len(), emulator.len(), "columns of {table}");
        for (cpu, emulator) in cpu.iter().zip(&emulator) {
            let number = |field: &String| field.parse::<f64>().ok().filter(|v| v.is_finite());
            let largest = cpu.iter().filter_map(number).fold(0.0, |m: f64, v| m.max(v.abs()));
            let bound = 16.0 * 8.0 * 140f64.sqrt() * roundoff::<f32>() * largest;
            assert_eq!(cpu.len(), emulator.len(), "rows of {table}");
            for (c, e) in cpu.iter().zip(emulator) {
                let agree = match (number(c), number(e)) {
                    (Some(c), Some(e)) => (c - e).abs() <= bound,
                    _ => c == e,
                };
                assert!(agree, "{table}: {c} on the cpu, {e} on the emulator; {bound} allowed");
            }
        }
    }
}

/// The columns of a CSV file. Commas in quoted fields cut those too, on both sides alike.
fn columns(csv: &str) -> Vec<Vec<String>> {
    let mut columns = Vec::new();
    for line in csv.lines() {
        for (i, field) in line.split(',').enumerate() {
            if columns.len() <= i {
                columns.push(Vec::new());
            }
            columns[i].push(field.to_owned());
        }
    }
    assert!(columns.len() > 1 && columns[0].len() > 1, "an empty table: {csv}");
    columns
}

#[test]
fn the_emulator_draws_what_the_cpu_draws() {
    let (folder, data, run, photograph) = trained();
    let (data, photograph) = (data.to_str().unwrap(), photograph.to_str().unwrap());
    let draw = |words: &[&str], tables: &[&str]| same_on_both(&run, &folder.path().join(words[0]), words, tables);
    let layers = ["conv1", "pool1", "lrn1", "conv2", "fc3", "fc4"];
    let tables = layers.map(|layer| format!("top9-{layer}.csv"));
    let names = layers.join(",");
    let top9 = ["top9", "--data", data, "--maps", "all", "--layers", &names];
    draw(&top9, &tables.each_ref().map(String::as_str));
    draw(&["evolution", "--data", data, "--epochs", "1,2", "--maps", "random:3"], &["evolution.csv"]);
    draw(&["occlusion", photograph, "--square", "9", "--stride", "5", "--data", data], &["occlusion-one.csv"]);
    draw(&["invariance", photograph], &["invariance.csv"]);
    draw(&["correspondence", "--data", data], &["correspondence.csv"]);
    draw(&["score", "--data", data, "--stride", "6"], &["score.csv"]);
    draw(&["diagnose", "--data", data], &["spectrum.csv"]);
}
