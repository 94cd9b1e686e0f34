//! Evolution: similarities by hand, and the figures of a run.

use std::fs;
use std::path::Path;

use serde_json::Value;
use zfnet::data::packed::{Dataset, Split};
use zfnet::net::{Field, Part};
use zfnet::ops::Cpu;
use zfnet::train::model::Model;
use zfnet::train::observer::Silent;
use zfnet::train::run::kept_epochs;
use zfnet::train::trainer::Options;
use zfnet::understand::evolution::{LayerEvolution, Sight};
use zfnet::understand::search::{Search, subject};
use zfnet::understand::{Peak, Projection};

use crate::fixture;
use crate::net::{CLASSES, TINY, plan};

/// A unit of conv1 of `TINY` (5 x 5 field, stride 2, pad 1) whose projection is `value(row, column)`
/// of the field, before it is cut at the border.
fn sight(image: usize, p: usize, q: usize, value: impl Fn(usize, usize) -> f32) -> Sight {
    let plan = plan(TINY, CLASSES);
    let field = plan.layers[0].field(p, q, plan.input);
    let Field { top, left, height, width } = field;
    // Rows and columns that the border cuts off.
    let (above, before) = (top + 1 - 2 * p, left + 1 - 2 * q);
    let pixel = |i: usize| value(above + i / 3 / width, before + i / 3 % width);
    let projection = Projection {
        field,
        projection: (0..height * width * 3).map(pixel).collect(),
        patch: vec![0; height * width * 3],
    };
    Sight { peak: Peak { value: 1.0, image, p, q }, projection }
}

/// What a map looks like is compared in the field's own frame: a unit elsewhere whose
/// projection is the same pattern has similarity 1, and what the border cuts counts as 0.
#[test]
fn similarity_follows_the_unit() {
    let mut evolution = LayerEvolution::new(&plan(TINY, CLASSES), "conv1", vec![3, 4, 5]).unwrap();
    let pattern = |row: usize, column: usize| (row * 5 + column) as f32 - 7.0;
    let single = |at: usize| move |row: usize, column: usize| f32::from(u8::from(row * 5 + column == at));
    evolution.sights = vec![
        vec![Some(sight(0, 0, 3, pattern)), None, Some(sight(1, 5, 5, single(3)))],
        vec![Some(sight(0, 4, 6, |r, c| 3.0 * pattern(r, c))), Some(sight(2, 1, 1, single(12))), None],
        vec![Some(sight(5, 7, 2, pattern)), Some(sight(2, 9, 9, |r, c| -single(12)(r, c))), None],
        vec![Some(sight(5, 7, 2, pattern)), Some(sight(6, 8, 2, single(12))), None],
    ];
    // conv1 has pad 1: in row 0 the field's first row lies outside.
    let all: f64 = (0..25).map(|i| f64::from(i - 7).powi(2)).sum();
    let inside: f64 = (5..25).map(|i| f64::from(i - 7).powi(2)).sum();
    let expected = [(inside / all).sqrt(), 1.0, 1.0, 1.0];
    for (epoch, expected) in expected.into_iter().enumerate() {
        let found = evolution.similarity(epoch, 0).unwrap();
        assert!((found - expected).abs() <= 1e-12, "epoch {epoch}: {found} is not {expected}");
    }
    let second: Vec<f64> = (0..4).map(|epoch| evolution.similarity(epoch, 1).unwrap()).collect();
    assert_eq!(second, [0.0, 1.0, -1.0, 1.0], "silent, the same, the negative, the last");
    assert!((0..4).all(|epoch| evolution.similarity(epoch, 2).is_none()), "silent at the end");
    // The mean leaves out the map that is silent at the end: from the third epoch on (1 - 1) / 2, 1.
    assert_eq!((evolution.mean_similarity(2), evolution.mean_similarity(3)), (Some(0.0), Some(1.0)));
    assert_eq!(evolution.converged(), Some(3), "1 in the second epoch does not last");
    let jumps = |epoch| (0..3).filter(|&row| evolution.jumped(epoch, row)).collect::<Vec<_>>();
    assert_eq!([jumps(0), jumps(1), jumps(2), jumps(3)], [vec![], vec![], vec![0], vec![1]]);
}

/// A run that has kept epochs 1, 2 and 4.
fn kept() -> (tempfile::TempDir, std::sync::Arc<Dataset>, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let out = folder.path().join("run");
    let options = Options { keep_epochs: vec![1, 2, 4], ..fixture::options() };
    fixture::train(&data, &out, &fixture::config(), &options, &mut Silent).unwrap();
    (folder, data, out)
}

fn program(run: &Path, data: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    fixture::outcome(fixture::zfnet(["visualize", "evolution"]).arg(run).arg("--data").arg(data).args(more))
}

/// The figures say what the library says of each checkpoint by itself.
#[test]
fn the_program_draws_the_epochs() {
    let (_folder, data, out) = kept();
    assert_eq!(kept_epochs(&out).unwrap(), [1, 2, 4]);
    let (status, stdout, stderr) =
        program(&out, data.root(), &["--json", "--epochs", "1,2,4", "--maps", "all", "--layers", "conv1,fc2"]);
    assert_eq!(status, Some(0), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["epochs"], serde_json::json!([1, 2, 4]));
    let csv = fs::read_to_string(out.join("figures/evolution.csv")).unwrap();
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("layer,map,epoch,value,image,class,p,q,jump,similarity"));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), (5 + 7) * 3);
    let mut shown = 0;
    for epoch in [1, 2, 4] {
        let model = Model::open(&out, &format!("epoch-{epoch}")).unwrap();
        let mut net = model.net(Cpu::<f32>::new(), 4).unwrap();
        net.import(Part::Value, &model.checkpoint.weights).unwrap();
        let layers = ["conv1".to_owned(), "fc2".to_owned()];
        let subject = subject(&model, &data, Split::Train);
        let mut search = Search::new(subject, &model.plan, &layers, 0..fixture::TRAIN).unwrap();
        search.run(&mut net, &data, Split::Train, &mut |_| Ok(true)).unwrap();
        for layer in layers {
            for (map, peaks) in search.top(&layer).unwrap().maps.iter().enumerate() {
                let key = [layer.clone(), map.to_string(), epoch.to_string()];
                let row = rows.iter().find(|row| row[..3] == key).unwrap();
                match peaks.first() {
                    Some(peak) => {
                        let place = [peak.image, peak.p, peak.q].map(|i| i.to_string());
                        assert_eq!((row[3], row[4]), (peak.value.to_string().as_str(), place[0].as_str()));
                        assert_eq!(row[6..8], place[1..]);
                        shown += 1;
                    }
                    None => assert_eq!(row[3..8], [""; 5]),
                }
                if epoch == 4 && !peaks.is_empty() {
                    let similarity: f64 = row[9].parse().unwrap();
                    assert!((similarity - 1.0).abs() <= 1e-12, "the last epoch resembles itself: {similarity}");
                }
            }
        }
    }
    assert!(shown > 20, "too little is active: {shown}");
    for figure in answer["layers"].as_array().unwrap() {
        let picture = image::open(out.join("figures").join(figure["png"].as_str().unwrap())).unwrap().to_rgb8();
        let layout = |key: &str| figure["layout"][key].as_u64().unwrap() as u32;
        let end = layout("left") + 5 * layout("step") + layout("gap") + layout("side");
        assert!(picture.width() >= end && picture.height() >= layout("top") + layout("rows") * layout("step") - 2);
        let similarity = figure["similarity"].as_array().unwrap();
        assert!((similarity[2].as_f64().unwrap() - 1.0).abs() <= 1e-12, "{figure}");
        assert!(figure["converged"].is_u64(), "{figure}");
    }
    // The searches stand: drawn again they are not made again.
    let (status, stdout, stderr) = program(&out, data.root(), &["--layers", "conv1"]);
    assert_eq!((status, stderr.matches("taken as it is").count()), (Some(0), 2), "{stderr}");
    assert!(stdout.contains("evolution-conv1.png") && stdout.contains("converged"), "{stdout}");
}

#[test]
fn what_has_no_epochs_is_said() {
    let (folder, data, out) = kept();
    let said = |run: &Path, more: &[&str], status: i32, words: &[&str]| {
        let (found, stdout, stderr) = program(run, data.root(), more);
        assert_eq!(found, Some(status), "{stderr}");
        assert!(stdout.is_empty() && words.iter().all(|word| stderr.contains(word)), "{words:?}: {stderr}");
    };
    said(&out, &["--epochs", "1,3,7"], 2, &["only 1, 2, 4", "epoch 3, 7 cannot be shown", "--keep-epochs 3,7"]);
    said(&out, &["--epochs", "2"], 2, &["epoch 2 alone", "--epochs"]);
    said(&out, &["--layers", "conv7"], 2, &["conv7", "conv1, pool1"]);
    said(&folder.path().join("none"), &[], 2, &["not the folder of a run"]);
    let epoch = |n: u64| out.join(format!("epoch-{n:03}.safetensors"));
    let bytes = fs::read(epoch(2)).unwrap();
    fs::write(epoch(2), &bytes[..bytes.len() / 2]).unwrap();
    said(&out, &["--epochs", "1,2"], 1, &["epoch-002", "not a whole"]);
    [1, 2, 4].iter().for_each(|&n| fs::remove_file(epoch(n)).unwrap());
    said(&out, &[], 2, &["has kept no epoch", "--keep-epochs 1,2,5,10"]);
}
