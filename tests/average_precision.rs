//! Average precision: by hand, against scikit-learn, against the definition.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use zfnet::data::packed::presence::{ABSENT, DIFFICULT, PRESENT};
use zfnet::data::packed::{Dataset, Labels, PackWriter, Recipe, Split};
use zfnet::paper::voc::{MEAN, TABLE_5, published};
use zfnet::philox::{Purpose, Stream};
use zfnet::train::average_precision::{Curve, mean, per_class};
use zfnet::transfer::split::Examples;

use zfnet::ops::Cpu;
use zfnet::train::evaluate::{Ensemble, TestCrops};
use zfnet::train::model::Model;
use zfnet::train::observer::Silent;

use crate::common::compare::{Tolerance, assert_close};
use crate::fixture::{self, S, outcome, zfnet};

/// Sums of up to a few hundred terms, each rounded a few times.
const ROUNDING: Tolerance = Tolerance { abs: 1e-13, rel: 0.0 };

fn curve(scores: &[f64], presence: &[u8]) -> Curve {
    Curve::new(scores, presence).unwrap().unwrap()
}

#[test]
fn by_hand() {
    // Right, wrong, right, wrong, wrong, right.
    let c = curve(&[0.9, 0.8, 0.7, 0.6, 0.5, 0.4], &[1, 0, 1, 0, 0, 1]);
    let third = 1.0 / 3.0;
    let points =
        [(third, 1.0), (third, 0.5), (2.0 * third, 2.0 * third), (2.0 * third, 0.5), (2.0 * third, 0.4), (1.0, 0.5)];
    let flat = |points: &[(f64, f64)]| points.iter().flat_map(|&(r, p)| [r, p]).collect::<Vec<f64>>();
    assert_close("points", &flat(&c.points), &flat(&points), ROUNDING);
    assert_close("area", &[c.area()], &[(1.0 + 2.0 / 3.0 + 0.5) / 3.0], ROUNDING);
    // Recalls 0 to 0.3 see 1, 0.4 to 0.6 see 2/3, 0.7 to 1 see 1/2.
    assert_close("11-point", &[c.eleven_point()], &[(4.0 + 3.0 * 2.0 / 3.0 + 4.0 * 0.5) / 11.0], ROUNDING);
    // Precision that rises later counts for the lower recalls, too.
    let c = curve(&[0.9, 0.8, 0.7], &[0, 1, 1]);
    assert_close("area", &[c.area()], &[2.0 / 3.0], ROUNDING);
    assert_close("11-point", &[c.eleven_point()], &[2.0 / 3.0], ROUNDING);
}

#[test]
fn equal_scores_are_taken_together() {
    let perfect = curve(&[0.5, 0.5, 0.5, 0.5], &[1, 0, 0, 1]);
    assert_eq!(perfect.points, [(1.0, 0.5)]);
    let orders: [[u8; 4]; 3] = [[1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1]];
    for presence in orders {
        assert_eq!(curve(&[0.5, 0.5, 0.5, 0.5], &presence), perfect);
    }
    assert_eq!(curve(&[0.0, -0.0], &[0, 1]).points, [(1.0, 0.5)], "0 and -0 are the same score");
}

#[test]
fn difficult_images_do_not_count() {
    let with = curve(&[0.9, 0.8, 0.7, 0.6, 0.1], &[DIFFICULT, PRESENT, DIFFICULT, ABSENT, PRESENT]);
    assert_eq!(with, curve(&[0.8, 0.6, 0.1], &[1, 0, 1]));
    assert_eq!(Curve::new(&[0.9, 0.1], &[DIFFICULT, ABSENT]).unwrap(), None, "no image shows it");
    assert_eq!(Curve::new(&[], &[]).unwrap(), None);
}

#[test]
fn what_cannot_be_scored_is_refused() {
    for (scores, presence, words) in [
        (&[0.1, 0.2][..], &[1u8][..], "2 scores for 1 images"),
        (&[0.1, 0.2], &[1, 3], "image 1 has presence 3"),
        (&[0.1, f64::NAN], &[1, 0], "image 1 has no score"),
    ] {
        let error = Curve::new(scores, presence).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// scikit-learn takes the sum under the curve's own steps, without the envelope: the same from the same points.
#[test]
fn the_curve_is_that_of_scikit_learn() {
    let golden: Value = serde_json::from_str(include_str!("average_precision.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 5);
    let mut coincide = 0;
    for case in cases {
        let numbers = |key: &str| case[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
        let presence: Vec<u8> = numbers("present").iter().map(|p| *p as u8).collect();
        let c = curve(&numbers("scores"), &presence);
        let mut below = 0.0;
        let steps =
            c.points.iter().map(|(recall, precision)| (recall - std::mem::replace(&mut below, *recall)) * precision);
        let expected = case["average_precision"].as_f64().unwrap();
        assert_close("steps", &[steps.sum::<f64>()], &[expected], ROUNDING);
        // The envelope only adds, and nothing where precision never rises.
        assert!(c.area() >= expected - 1e-13, "{} < {expected}", c.area());
        if c.points.is_sorted_by(|p, q| p.1 >= q.1) {
            assert_close("area", &[c.area()], &[expected], ROUNDING);
            coincide += 1;
        }
    }
    assert!(coincide >= 1, "no case in which both definitions are the same");
}

/// Envelope and area from their definitions, at every threshold and every recall anew.
#[test]
fn area_and_eleven_points_are_the_devkits() {
    let stream = Stream::new(2012, Purpose::Test, 40);
    for case in 0..60u64 {
        let n = 1 + stream.below(case, 0, 90) as usize;
        let draw = |i: usize, k: u64, bound: u32| stream.below(case, 1 + 3 * i as u64 + k, bound);
        let levels = [3, 20, 1000][case as usize % 3];
        let scores: Vec<f64> = (0..n).map(|i| f64::from(draw(i, 0, levels))).collect();
        let presence: Vec<u8> = (0..n).map(|i| [0, 0, 0, 1, 1, 2][draw(i, 1, 6) as usize]).collect();
        let Some(c) = Curve::new(&scores, &presence).unwrap() else { continue };
        let count = |keep: &dyn Fn(usize) -> bool| (0..n).filter(|&i| keep(i)).count() as f64;
        let all = count(&|i| presence[i] == 1);
        let at = |s: f64| {
            let right = count(&|i| presence[i] == 1 && scores[i] >= s);
            (right / all, right / count(&|i| presence[i] != 2 && scores[i] >= s))
        };
        let curve: Vec<(f64, f64)> = (0..n).filter(|&i| presence[i] != 2).map(|i| at(scores[i])).collect();
        let envelope = |r: f64| curve.iter().filter(|p| p.0 >= r).map(|p| p.1).fold(0.0, f64::max);
        // The envelope changes only at multiples of 1 / all: the value in between is that at the upper end.
        let area = (1..=all as usize).map(|k| envelope(k as f64 / all) / all).sum::<f64>();
        assert_close("area", &[c.area()], &[area], ROUNDING);
        let eleven = (0..=10).map(|k| envelope(f64::from(k) / 10.0)).sum::<f64>() / 11.0;
        assert_close("11-point", &[c.eleven_point()], &[eleven], ROUNDING);
    }
}

#[test]
fn the_published_column_has_the_published_mean() {
    assert_close("mean", &[TABLE_5.iter().map(|row| row.1).sum::<f64>() / 20.0], &[MEAN], Tolerance::abs(0.05));
    assert_eq!((published("tvmonitor"), published("television")), (Some(76.1), None));
}

#[test]
fn every_class_has_its_own() {
    let classes: Vec<String> = ["aeroplane", "bicycle", "bird"].map(String::from).to_vec();
    let scores = [0.7, 0.1, 0.2, 0.3, 0.6, 0.1, 0.5, 0.3, 0.2, 0.1, 0.1, 0.8];
    let presence = [1, 0, 0, 1, 1, 0, 0, 2, 0, 1, 0, 0];
    let found = per_class(&scores, &presence, &classes).unwrap();
    let of = |c: usize| {
        curve(&[scores[c], scores[3 + c], scores[6 + c], scores[9 + c]], &[0, 3, 6, 9].map(|i| presence[i + c]))
    };
    assert_eq!(
        (found[0].images, found[0].area, found[0].eleven_point),
        (3, Some(of(0).area()), Some(of(0).eleven_point()))
    );
    assert_eq!((found[1].images, found[1].area), (1, Some(1.0)));
    assert_eq!((found[2].class.as_str(), found[2].images, found[2].area), ("bird", 0, None));
    let expected = (of(0).area() + 1.0) / 2.0;
    assert_close("mean", &[mean(found.iter().map(|c| c.area)).unwrap()], &[expected], ROUNDING);
    assert_eq!(mean([None, None].into_iter()), None);
}

/// Table 5 in miniature: images of VOC's twenty classes, two in each, and a class in a single one.
#[test]
fn table_5_is_made_from_frozen_features() {
    let (folder, _, run) = fixture::trained();
    let at = folder.path().join("voc");
    let recipe = Recipe {
        classes: TABLE_5.iter().map(|(class, _)| class.to_string()).collect(),
        size: S,
        masks: false,
        multi_label: true,
        source: "twenty".into(),
        preprocessing: "none".into(),
    };
    let shows = |i: usize| (0..20).map(move |c| u8::from(c == i % 20 || c == (i + 7) % 20)).collect::<Vec<_>>();
    let stream = Stream::new(6, Purpose::Test, 42);
    let mut writer = PackWriter::create(&at, recipe, false).unwrap();
    for (split, lane, n) in [(Split::Train, 0, 39), (Split::Val, 1, 20)] {
        let images: Vec<u8> = (0..n * S * S * 3).map(|i| stream.below(lane, i as u64, 256) as u8).collect();
        let presence: Vec<u8> = (0..n).flat_map(shows).collect();
        let names: Vec<String> = (0..n).map(|i| format!("{i}.jpg")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        writer.write_named_shard(split, &images, Labels::Several(&presence), &names).unwrap();
    }
    writer.finish().unwrap();

    // Every image once for each class that it shows, sorted by class: 13 of class 0 are 0, 20, and 13, 33.
    let examples = Examples::present(&Dataset::open(&at).unwrap()).unwrap();
    assert_eq!(
        (examples.rows.len(), &examples.rows[..4], &examples.labels[..5]),
        (78, &[0, 13, 20, 33][..], &[0, 0, 0, 0, 1][..])
    );
    assert!(examples.labels.is_sorted());
    let table = |more: &[&str]| {
        let out = folder.path().join("out");
        outcome(zfnet(["table", "5", "--data"]).arg(&at).arg("--run").arg(&run).arg("--out").arg(out).args(more))
    };
    let (status, text, stderr) = table(&["--dry-run"]);
    assert!(status == Some(0) && text.contains("78 examples in 39 images, judged on 20"), "{text}{stderr}");
    let (status, text, stderr) = table(&[]);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(text.contains("tvmonitor") && text.contains("79.0"), "{text}");
    let (_, json, _) = table(&["--json"]);
    let answer: Value = serde_json::from_str(&json).unwrap();
    let ours: Vec<f64> = (0..21).map(|row| answer["rows"][row]["cells"][0]["ours"][0].as_f64().unwrap()).collect();
    assert!(ours.iter().all(|area| (0.0..=100.0).contains(area)), "{ours:?}");
    assert_close("mean", &[ours[20]], &[ours[..20].iter().sum::<f64>() / 20.0], Tolerance::abs(1e-10));

    // One class an image, or other classes: no Table 5.
    let several = several(&folder.path().join("three"));
    let refused = |data: &Path, said: &str| {
        let (status, _, stderr) = outcome(zfnet(["table", "5", "--data"]).arg(data).arg("--run").arg(&run));
        assert!(status == Some(2) && stderr.contains(said), "{stderr}");
    };
    refused(&folder.path().join("data"), "show one class each");
    refused(several.root(), "a row for \"boat\"");
}

/// A data set of VOC's first three classes, with several of them in an image, and one that is difficult.
fn several(out: &Path) -> Arc<Dataset> {
    let recipe = Recipe {
        classes: ["aeroplane", "bicycle", "bird"].map(String::from).to_vec(),
        size: S,
        masks: false,
        multi_label: true,
        source: "test".into(),
        preprocessing: "none".into(),
    };
    let presence: Vec<u8> = [[1, 0, 0], [1, 2, 0], [0, 1, 1], [0, 0, 1], [0, 1, 0]].concat();
    let names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"];
    let stream = Stream::new(5, Purpose::Test, 41);
    let mut writer = PackWriter::create(out, recipe, false).unwrap();
    for (split, lane) in [(Split::Train, 0), (Split::Val, 1)] {
        let images: Vec<u8> = (0..5 * S * S * 3).map(|i| stream.below(lane, i as u64, 256) as u8).collect();
        writer.write_named_shard(split, &images, Labels::Several(&presence), &names).unwrap();
    }
    writer.finish().unwrap();
    Arc::new(Dataset::open(out).unwrap())
}

#[test]
fn eval_prints_it_where_images_show_several_classes() {
    let folder = tempfile::tempdir().unwrap();
    let (data, run) = (several(&folder.path().join("data")), folder.path().join("run"));
    fixture::train(&data, &run, &fixture::config(), &fixture::options(), &mut Silent).unwrap();
    let mut ensemble = Ensemble::new(&data, Split::Val, TestCrops::Centre);
    let mut net = Model::open(&run, "last").unwrap().net(Cpu::<f32>::new(), 4).unwrap();
    ensemble.add(&mut net, &mut |_| ()).unwrap();
    let p = ensemble.probabilities();
    let column = |c: usize| p.iter().skip(c).step_by(3).copied().collect::<Vec<f64>>();
    let found = ensemble.average_precision().unwrap().unwrap();
    assert_eq!(found.iter().map(|c| c.images).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(found[1].area, Some(curve(&column(1), &[0, 2, 1, 0, 1]).area()));

    let mut command = zfnet(["eval", "--checkpoint", "last", "--data"]);
    command.arg(data.root()).arg(&run);
    let (status, text, stderr) = outcome(&mut command);
    assert_eq!(status, Some(0), "{stderr}");
    let line = text.lines().find(|line| line.starts_with("bicycle") && line.ends_with("77.1"));
    let line = line.unwrap_or_else(|| panic!("no line of the bicycle beside the paper's: {text}"));
    assert!(line.contains(&format!("{:.1}", 100.0 * found[1].area.unwrap())), "{line}");
    assert!(text.trim_end().ends_with("79.0"), "{text}");
    let (_, json, _) = outcome(command.arg("--json"));
    let answer: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(answer["average_precision"][1]["area"].as_f64(), found[1].area);

    // Where an image shows one class only there is no such thing.
    let (_folder, data, _) = fixture::trained();
    let ensemble = Ensemble::new(&data, Split::Val, TestCrops::Centre);
    assert_eq!(ensemble.average_precision().unwrap(), None);
}
