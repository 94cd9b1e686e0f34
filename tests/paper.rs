//! The paper's tables: their networks, what a run of them needs, and a whole one in miniature.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use zfnet::data::packed::{Dataset, Split};
use zfnet::net::Plan;
use zfnet::ops::Cpu;
use zfnet::paper::comparison::Cell;
use zfnet::paper::net::{Scale, VARIANTS, Variant};
use zfnet::paper::runs::Series;
use zfnet::paper::table::{Row, TABLE_1, TABLE_2, Table};
use zfnet::train::evaluate::{Ensemble, TestCrops};
use zfnet::train::model::Model;
use zfnet::train::{Config, TrainEdit};

use crate::common::compare::{Tolerance, assert_close};
use crate::fixture::{outcome, zfnet};

mod transfer;

#[test]
fn at_the_papers_scale_the_networks_are_the_presets() {
    for variant in &VARIANTS {
        assert_eq!(variant.config(Scale::Paper).unwrap(), Config::preset(variant.name).unwrap(), "{}", variant.name);
    }
    let error = Variant::named("zfnet-fc2O48").unwrap_err().to_string();
    assert!(error.contains("did you mean `zfnet-fc2048`"), "{error}");
}

/// The same layers, and the same ratios of widths; every one fits 72-px records.
#[test]
fn in_miniature_they_are_the_same_networks() {
    let base = |name: &str| if name.starts_with("zfnet") { "zfnet" } else { "alexnet" };
    for variant in &VARIANTS {
        let [large, small] =
            [Scale::Paper, Scale::Small].map(|s| Plan::new(&variant.config(s).unwrap().net, 1000).unwrap());
        let [large_base, small_base] = [Scale::Paper, Scale::Small]
            .map(|s| Plan::new(&Variant::named(base(variant.name)).unwrap().config(s).unwrap().net, 1000).unwrap());
        let shape = |plan: &Plan| plan.layers.iter().map(|l| (l.name.clone(), l.kind())).collect::<Vec<_>>();
        assert_eq!(shape(&large), shape(&small), "{}", variant.name);
        for layer in &large.layers {
            let width = |plan: &Plan| plan.layers.iter().find(|l| l.name == layer.name).unwrap().output.C;
            // Products instead of ratios: no rounding.
            let (l, s) = (width(&large) * width(&small_base), width(&small) * width(&large_base));
            assert_eq!(l, s, "{} {}", variant.name, layer.name);
        }
        assert!(small.input.H <= 72 && small.total_params() < 2_000_000, "{}: {}", variant.name, small.total_params());
    }
}

/// Published numbers, as ../shared/spec.md has them: sums catch a slipped row.
#[test]
fn the_published_numbers_are_there() {
    let column = |table: &Table, c: usize| table.rows.iter().filter_map(|row| row.published[c]).sum::<f64>();
    let sums: Vec<f64> = (0..3).map(|c| column(&TABLE_2, c)).collect();
    let train = 35.1 + 41.8 + 27.4 + 27.4 + 71.1 + 40.3 + 26.8 + 33.1 + 38.2 + 22.0 + 18.8 + 10.0;
    let top1 = 40.5 + 45.4 + 40.0 + 44.8 + 71.3 + 41.7 + 40.0 + 38.4 + 40.2 + 38.8 + 37.5 + 38.3;
    let top5 = 18.1 + 22.1 + 18.4 + 22.4 + 50.1 + 18.8 + 18.1 + 16.5 + 17.6 + 17.0 + 16.0 + 16.9;
    assert_close("Table 2", &sums, &[train, top1, top5], Tolerance::abs(1e-9));
    assert_eq!(TABLE_2.rows.len(), 12);
    for table in [&TABLE_1, &TABLE_2] {
        for row in table.rows {
            assert_eq!(row.published.len(), table.measures.len(), "{}", row.label);
            assert!(row.members.iter().all(|(name, _)| Variant::named(name).is_ok()), "{}", row.label);
        }
    }
    assert_eq!(TABLE_1.rows.iter().map(|row| row.members.len()).collect::<Vec<_>>(), [1, 1, 5, 1, 6]);
    assert!(Table::numbered(9).unwrap_err().to_string().contains("table 9"));
}

#[test]
fn mean_and_deviation() {
    let cell = |ours: &[f64]| Cell { measure: "val top-1", published: None, ours: ours.to_vec() };
    assert_eq!(cell(&[]).text(), "-");
    assert_eq!(cell(&[38.44]).text(), "38.4");
    // Squares about the mean 4: 4 + 1 + 9, over 2.
    assert_close("deviation", &[cell(&[2.0, 3.0, 7.0]).deviation().unwrap()], &[7f64.sqrt()], Tolerance::rel(1e-14));
    assert_eq!(cell(&[2.0, 3.0, 7.0]).text(), "4.0 +- 2.6");
}

/// A drawn data set of 72-px records, enough for a few steps.
fn data(folder: &Path) -> Arc<Dataset> {
    let out = folder.join("data");
    let mut command = zfnet(["pack", "synthetic", "--classes", "6", "--train", "70", "--val", "23", "-o"]);
    let (status, _, stderr) = outcome(command.arg(&out));
    assert_eq!(status, Some(0), "{stderr}");
    Arc::new(Dataset::open(out).unwrap())
}

#[test]
fn tables_share_their_runs() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let edit = TrainEdit { seed: Some(5), ..TrainEdit::default() };
    let series = Series { out: folder.path(), data: &data, scale: Scale::Small, edit: &edit, repetitions: 2 };
    let rows: Vec<&Row> = TABLE_1.rows.iter().collect();
    let runs = series.plan(&rows).unwrap();
    let names: Vec<&str> = runs.iter().map(|run| run.folder.file_name().unwrap().to_str().unwrap()).collect();
    let of_one = ["alexnet-5", "zfnet-5", "zfnet-6", "zfnet-7", "zfnet-8", "zfnet-9", "zfnet-wide-5"];
    assert_eq!(names[..7], of_one);
    assert_eq!((names.len(), names[7], names[13]), (14, "alexnet-105", "zfnet-wide-105"));
    let seeds: Vec<u64> = runs.iter().map(|run| run.config.train.seed).collect();
    assert_eq!(seeds[..3], [5, 5, 6]);
    assert!(runs.iter().all(|run| !run.begun && !run.is_finished() && run.state() == "missing"));
    assert_eq!(runs[0].images_left(&data), 40 * 70);
    // At the paper's scale the records are too small, and nothing is made.
    let series = Series { scale: Scale::Paper, ..series };
    assert!(series.plan(&rows).unwrap_err().to_string().contains("224") || !folder.path().join("runs").exists());
    assert!(!folder.path().join("runs").exists());
}

/// `zfnet table` on the drawn data, one epoch a network.
fn table(folder: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = zfnet(["table"]);
    let (data, out) = (folder.join("data"), folder.join("out"));
    command.args(more).arg("--data").arg(data).arg("--out").arg(out).args(["--scale", "small", "--batch", "7"]);
    outcome(&mut command)
}

#[test]
fn a_table_is_made_gathered_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let make = |more: &[&str]| table(folder.path(), &[&["1", "--epochs", "1", "--only", "1,5"], more].concat());
    let runs = folder.path().join("out/runs");

    let (status, stdout, stderr) = make(&["--dry-run", "--json"]);
    assert_eq!(status, Some(0), "{stderr}");
    let forecast: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(forecast["runs"].as_array().unwrap().len(), 7);
    assert_eq!(
        (forecast["runs"][0]["state"].as_str(), forecast["runs"][0]["images_left"].as_u64()),
        (Some("missing"), Some(70))
    );
    assert!(forecast["seconds"].as_f64().unwrap() > 0.0 && !runs.exists(), "{forecast}");

    let (status, stdout, stderr) = make(&["--json"]);
    assert_eq!(status, Some(0), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    let line = &answer["rows"][1];
    assert_eq!((line["networks"].as_array().unwrap().len(), line["cells"][1]["published"].as_f64()), (6, Some(14.7)));
    assert!(line["cells"][2]["ours"].as_array().unwrap().is_empty(), "nobody can measure the test error");
    let stored: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("out/table1.json")).unwrap()).unwrap();
    assert_eq!(stored, answer);

    // The ensemble's error is that of the mean of its parts' probabilities.
    let mut ensemble = Ensemble::new(&data, Split::Val, TestCrops::Ten);
    for run in ["zfnet-1", "zfnet-2", "zfnet-3", "zfnet-4", "zfnet-5", "zfnet-wide-1"] {
        let mut net = Model::open(&runs.join(run), "last").unwrap().net(Cpu::<f32>::new(), 7).unwrap();
        ensemble.add(&mut net, &mut |_| ()).unwrap();
    }
    let scores = ensemble.finish();
    let ours = [0, 1].map(|c| line["cells"][c]["ours"][0].as_f64().unwrap());
    assert_close("errors", &ours, &[100.0 * (1.0 - scores.top1), 100.0 * (1.0 - scores.top5)], Tolerance::abs(1e-9));

    // Made again it is gathered: no checkpoint is written, and the answer is the same.
    let last = runs.join("zfnet-1/last.safetensors");
    let before = fs::metadata(&last).unwrap().modified().unwrap();
    let (status, again, stderr) = make(&["--json"]);
    assert_eq!((status, again, stderr.contains("run 1 of")), (Some(0), stdout, false), "{stderr}");
    assert_eq!(fs::metadata(&last).unwrap().modified().unwrap(), before);

    // A run that is lost is trained again, to the same bits, and one that was cut short goes on.
    let bytes = fs::read(&last).unwrap();
    fs::remove_dir_all(runs.join("zfnet-1")).unwrap();
    fs::remove_file(runs.join("zfnet-2/metrics.jsonl")).unwrap();
    fs::remove_file(runs.join("zfnet-2/last.safetensors")).unwrap();
    let (status, text, stderr) = make(&[]);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stderr.contains("zfnet-1, missing") && stderr.contains("zfnet-2, at epoch 0 of 1"), "{stderr}");
    assert!(fs::read(&last).unwrap() == bytes, "the same seed gave another network");
    assert!(text.contains("val top-1: paper") && text.contains("6 convnets"), "{text}");
    let csv = fs::read_to_string(folder.path().join("out/table1.csv")).unwrap();
    assert!(
        csv.contains("\"6 convnets, (a) and (b) together\",zfnet zfnet zfnet zfnet zfnet zfnet-wide,val top-5,14.7"),
        "{csv}"
    );

    // Other settings do not mix with what is there.
    let (status, _, stderr) = table(folder.path(), &["1", "--epochs", "2", "--only", "1"]);
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.contains("alexnet-1 holds a run with other settings") && stderr.contains("epochs = 2"), "{stderr}");
}

#[test]
fn what_makes_no_table_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    for (words, said) in [
        (&["9"][..], "table 9"),
        (&["2", "--only", "13"], "rows 1 to 12"),
        (&["2", "--epochs", "0"], "epochs"),
        (&["2", "--only", "0"], "--only 0"),
    ] {
        let (status, _, stderr) = table(folder.path(), words);
        assert_eq!(status, Some(2), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
    assert!(!folder.path().join("out").exists());
}
