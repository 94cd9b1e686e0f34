//! Scores against masks: by hand on a network that is made to see one place, and from the program.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use zfnet::data::packed::{Dataset, Split};
use zfnet::data::synthetic::Synthetic;
use zfnet::net::{Keep, Reverse};
use zfnet::ops::Cpu;
use zfnet::tensor::Extent;
use zfnet::train::Config;
use zfnet::train::model::Model;
use zfnet::train::observer::Silent;
use zfnet::understand::score::{mask, overlaps, recognised};

use crate::common::compare::{Tolerance, assert_close};
use crate::fixture;

const INPUT: Extent = Extent::new(29, 29, 3);
const VAL: usize = 12;

/// Drawn images with masks, and a run that has seen them for two epochs.
fn trained() -> (tempfile::TempDir, Arc<Dataset>, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let synthetic = Synthetic { classes: 2, train: 24, val: VAL, size: 32, ..Synthetic::default() };
    synthetic.pack(&data, &|_| ()).unwrap();
    let data = Arc::new(Dataset::open(data).unwrap());
    let config = fixture::CONFIG.replace("input = 9", "input = 29").replace("epochs = 4", "epochs = 2");
    let out = folder.path().join("run");
    fixture::train(&data, &out, &Config::parse("test", &config).unwrap(), &fixture::options(), &mut Silent).unwrap();
    (folder, data, out)
}

#[test]
fn projections_are_laid_on_the_masks() {
    let (_folder, data, out) = trained();
    let mut net = Model::open(&out, "last").unwrap().net(Cpu::<f32>::new(), 5).unwrap();
    let images: Vec<usize> = (0..VAL).collect();
    let mut seen = Vec::new();
    let found = overlaps(&mut net, &data, Split::Val, &images, "pool1", &Reverse::GUIDED, &mut |n| seen.push(n));
    let found = found.unwrap();
    assert_eq!(seen, [5, 10, 12]);
    for (i, found) in found.iter().enumerate() {
        // One image alone, its mask cut by hand: the crop begins in row and column 1.
        let record = data.split(Split::Val).record(i);
        net.load_records(record, &[1, 1, 0], &[0]).unwrap();
        net.forward_to("pool1").unwrap();
        let y = net.blob("pool1").unwrap();
        let at = (0..y.len()).rev().max_by(|a, b| y[*a].total_cmp(&y[*b])).unwrap();
        let Extent { W: Q, C: K, .. } = net.plan().layers[1].output;
        let unit = Keep::Unit { p: at / (Q * K), q: at / K % Q, k: at % K };
        let pixels = net.project("pool1", &[unit], &Reverse::GUIDED).unwrap();
        let on = |h: usize, w: usize| data.split(Split::Val).mask(i).unwrap()[(h + 1) * 32 + w + 1] == 255;
        let cut = mask(&data, Split::Val, i, INPUT).unwrap();
        let (mut inside, mut total, mut area) = (0.0, 0.0, 0);
        for (j, v) in pixels.iter().enumerate() {
            let (h, w) = (j / (29 * 3), j / 3 % 29);
            assert_eq!(cut[h * 29 + w], on(h, w));
            total += f64::from(v * v);
            inside += if on(h, w) { f64::from(v * v) } else { 0.0 };
            area += usize::from(on(h, w));
        }
        assert!(total > 0.0 && area > 0);
        assert_eq!(found.image, i);
        // Products rounded to f32 here, exact there: twice 2^-24 of a sum of positive terms.
        assert_close("energy", &[found.energy], &[inside / total], Tolerance::abs(4.0 * 2f64.powi(-24)));
        assert_close("area", &[found.area], &[area as f64 / 3.0 / (29.0 * 29.0)], Tolerance::abs(1e-12));
    }
    let inside = found.iter().filter(|f| f.pointing).count();
    assert!(found.iter().any(|f| f.energy > 0.0 && f.energy < 1.0), "{inside} of {VAL} point inside");
}

fn program(run: &Path, data: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    fixture::outcome(fixture::zfnet(["visualize", "score"]).arg(run).arg("--data").arg(data).args(more))
}

#[test]
fn the_program_prints_a_table() {
    let (_folder, data, out) = trained();
    let images: Vec<usize> = (0..VAL).collect();
    let mut net = Model::open(&out, "best").unwrap().net(Cpu::<f32>::new(), 5).unwrap();
    let known = recognised(&mut net, &data, Split::Val, &images, &mut |_| ()).unwrap();
    assert!(!known.is_empty());
    let (status, stdout, stderr) = program(&out, data.root(), &["--json", "--layers", "conv1,fc3", "--square", "9"]);
    assert_eq!(status, Some(0), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&answer["recognised"], &answer["square"]), (&known.len().into(), &9.into()));
    let rows = answer["projections"].as_array().unwrap();
    let names: Vec<(&str, &str)> =
        rows.iter().map(|r| (r["layer"].as_str().unwrap(), r["method"].as_str().unwrap())).collect();
    let methods = ["deconvnet", "guided", "gradient", "deconvnet, random weights"];
    let expected: Vec<_> = ["conv1", "fc3"].into_iter().flat_map(|l| methods.map(|m| (l, m))).collect();
    assert_eq!(names, expected);
    let own = overlaps(&mut net, &data, Split::Val, &known, "conv1", &Reverse::DECONVNET, &mut |_| ()).unwrap();
    let energy = own.iter().map(|o| o.energy).sum::<f64>() / own.len() as f64;
    let told = rows[0]["means"]["energy"].as_f64().unwrap();
    // Only the order of sums may depend on the batch.
    assert_close("energy", &[told], &[energy], Tolerance::rel(100.0 * 2f64.powi(-24)));
    assert_eq!(answer["occlusion"].as_array().unwrap().len(), 2);
    let table = fs::read_to_string(out.join("figures/score.csv")).unwrap();
    let lines = table.lines().skip(1).count();
    // Three methods and three controls a layer, and two occlusion maps, for each image.
    assert_eq!(lines, known.len() * (2 * 6 + 2));
    let (_, stdout, _) = program(&out, data.root(), &["--square", "9"]);
    for word in ["energy inside", "deconvnet, random weights", "minimum inside", "score.csv", "are recognised"] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
}

#[test]
fn what_cannot_be_scored_is_said() {
    let (_folder, data, out) = fixture::trained();
    let (status, stdout, stderr) = program(&out, data.root(), &[]);
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stdout.is_empty() && stderr.contains("no masks") && stderr.contains("zfnet pack synthetic"), "{stderr}");
    let (_folder, data, out) = trained();
    let said = |more: &[&str], words: &[&str]| {
        let (status, _, stderr) = program(&out, data.root(), more);
        assert!(status == Some(2) && words.iter().all(|word| stderr.contains(word)), "{words:?}: {stderr}");
    };
    said(&["--layers", "conv7"], &["no layer `conv7`", "conv1"]);
    said(&["--square", "30"], &["square of 30 px", "29 x 29"]);
    said(&["--images", "0"], &["--images"]);
}
