//! Tables 3, 4 and 6 and Figure 7: published numbers, what is missing, and a whole one in miniature.

use std::fs;
use std::path::Path;

use serde_json::Value;
use zfnet::paper::transfer::{FIGURE_7, Learner, TABLES, TransferTable, accuracies, commands, missing};
use zfnet::report::probe::{Method, Outcome, Probe};
use zfnet::transfer::objective::Classifier::{self, Softmax, Svm};

use crate::common::compare::{Tolerance, assert_close};
use crate::fixture::{outcome, zfnet};

/// As ../shared/spec.md has them.
#[test]
fn the_published_numbers_are_there() {
    let published = |number: u32| {
        let table = TransferTable::numbered(number).unwrap();
        table.rows.iter().flat_map(|row| row.published.iter().map(|p| p.unwrap())).collect::<Vec<f64>>()
    };
    assert_eq!(published(3), [22.8, 46.5, 83.8, 86.5]);
    assert_eq!(published(4), [9.0, 22.5, 31.2, 38.8, 65.7, 70.6, 72.7, 74.2]);
    let by_layer = [44.8, 24.6, 66.2, 39.6, 72.3, 46.0, 76.6, 51.3, 86.2, 65.6, 85.5, 71.7, 82.9, 65.7, 85.4, 72.6];
    assert_eq!(published(6), by_layer);
    for table in TABLES.iter().chain([&FIGURE_7]) {
        assert!(table.rows.iter().all(|row| row.published.len() == table.columns.len()), "{}", table.title);
        assert!(table.columns.iter().all(|column| column.set < table.sets.len()), "{}", table.title);
    }
    assert!(TransferTable::numbered(1).is_none());
}

fn probe(outcomes: Vec<Outcome>) -> Probe {
    let text = || String::from("any");
    Probe { subject: text(), run: text(), data: text(), classes: 3, images: 99, max_test: 50, seed: 1, outcomes }
}

fn frozen(classifier: Classifier, layer: usize, per_class: usize, fold: usize, accuracy: f64) -> Outcome {
    let method = Method::Probe { classifier, layer, blob: "any".into(), d: 7 };
    Outcome { method, per_class, fold, accuracy, training: None }
}

#[test]
fn only_what_is_missing_is_asked_for() {
    let table = TransferTable::numbered(3).unwrap();
    let rows: Vec<_> = table.rows.iter().collect();
    let wanted = table.wants(&rows, 0);
    let all = [(Learner::Scratch, 15), (Learner::Frozen(Softmax, 7), 15)];
    assert_eq!(wanted[..2], all);
    assert_eq!(missing(None, &wanted, 2), wanted);
    let words = |commands: Vec<Vec<String>>| commands.iter().map(|words| words.join(" ")).collect::<Vec<_>>();
    let expected = ["--from-scratch --per-class 15,30", "--classifier softmax --layers 7 --per-class 15,30"];
    assert_eq!(words(commands(&wanted)), expected);

    // One fold of what wants two is not enough; another classifier or layer is something else.
    let scratch = |fold| Outcome { method: Method::Scratch, per_class: 15, fold, accuracy: 0.25, training: None };
    let there = probe(vec![
        scratch(0),
        scratch(1),
        frozen(Softmax, 7, 15, 0, 0.5),
        frozen(Softmax, 7, 30, 0, 0.5),
        frozen(Softmax, 7, 30, 1, 0.75),
        frozen(Svm, 7, 15, 1, 0.5),
        frozen(Softmax, 6, 15, 1, 0.5),
    ]);
    let left = missing(Some(&there), &wanted, 2);
    assert_eq!(left, [(Learner::Frozen(Softmax, 7), 15), (Learner::Scratch, 30)]);
    let expected = ["--from-scratch --per-class 30", "--classifier softmax --layers 7 --per-class 15"];
    assert_eq!(words(commands(&left)), expected);
    assert!(commands(&[]).is_empty());
    assert_eq!(accuracies(&there, (Learner::Frozen(Softmax, 7), 30)), [0.5, 0.75]);

    let lines = table.fill(&rows, &[there]);
    assert_eq!((lines[0].cells[0].ours.as_slice(), lines[0].cells[1].ours.len()), (&[25.0, 25.0][..], 0));
    assert_close("mean", &[lines[1].cells[1].mean().unwrap()], &[62.5], Tolerance::abs(1e-12));

    // Each data set is asked for its own columns.
    let table = TransferTable::numbered(6).unwrap();
    let rows: Vec<_> = table.rows.iter().take(2).collect();
    let of = |set| words(commands(&table.wants(&rows, set)));
    assert_eq!(of(0), ["--classifier svm --layers 1,2 --per-class 30"]);
    assert_eq!(of(1), ["--classifier svm --layers 1,2 --per-class 60"]);
}

fn run(arguments: &[&str], at: &Path) -> (Option<i32>, String, String) {
    outcome(zfnet(arguments).current_dir(at))
}

/// A network trained on some drawn classes, tried on others.
#[test]
fn a_table_of_features_is_made_and_gathered() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let (status, stdout, stderr) = run(arguments, folder.path());
        assert_eq!(status, Some(0), "{arguments:?}: {stderr}");
        (stdout, stderr)
    };
    run(&["pack", "synthetic", "-o", "known", "--classes", "3", "--train", "60", "--val", "9"]);
    run(&["pack", "synthetic", "-o", "others", "--classes", "2", "--first", "5", "--train", "126", "--val", "6"]);
    let short = ["--scale", "small", "--epochs", "1", "--out", "out"];
    run(&[&["table", "1", "--only", "2", "--crops", "1", "--data", "known"], &short[..]].concat());

    let table = ["table", "3", "--data", "others", "--out", "out", "--folds", "2"];
    let (dry, _) = run(&[&table[..], &["--dry-run"]].concat());
    assert_eq!(dry.lines().count(), 2, "{dry}");
    assert!(dry.contains("zfnet probe out/runs/zfnet-1 --data others") && dry.contains("--from-scratch"), "{dry}");
    assert!(!folder.path().join("out/probes").exists());

    let (text, said) = run(&table);
    assert!(said.contains("$ zfnet probe"), "{said}");
    assert!(text.contains("ImageNet-pretrained convnet") && text.contains("86.5"), "{text}");
    let stored = || -> Value {
        serde_json::from_str(&fs::read_to_string(folder.path().join("out/table3.json")).unwrap()).unwrap()
    };
    let first = stored();
    for (row, cell) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let ours = first["rows"][row]["cells"][cell]["ours"].as_array().unwrap();
        assert_eq!(ours.len(), 2, "{first}");
        assert!(ours.iter().all(|v| (0.0..=100.0).contains(&v.as_f64().unwrap())), "{first}");
    }
    let (again, said) = run(&table);
    assert!(again == text && said.is_empty() && stored() == first, "{said}");

    let figure =
        ["figure", "7", "--data", "others", "--out", "out", "--folds", "1", "--run", "out/runs/zfnet-1", "--json"];
    let (json, said) = run(&figure);
    assert!(said.contains("--layers 7 --per-class 6,45,60"), "what Table 3 found out was not taken: {said}");
    let answer: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(answer["rows"][0]["cells"].as_array().unwrap().len(), 5);
    assert!(image::open(folder.path().join("out/figure7.png")).unwrap().width() >= 640);
}

#[test]
fn what_makes_no_table_of_features_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, said) in [
        (&["table", "6", "--data", "a"][..], "--data caltech-101 --data caltech-256"),
        (&["table", "3", "--data", "a"], "name another one with --run"),
        (&["figure", "2", "--data", "a"], "only 7"),
    ] {
        let (status, _, stderr) = run(arguments, folder.path());
        assert_eq!(status, Some(2), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
}
