//! Correspondence: what a hidden part changes, and the program's table and refusals.

use std::fs;

use serde_json::Value;
use zfnet::data::decode::decode_file;
use zfnet::data::packed::Split;
use zfnet::data::resize::centre_square;
use zfnet::ops::Cpu;
use zfnet::train::model::Model;
use zfnet::understand::correspondence::{Mark, changes, compared, hamming, square_at};

use crate::fixture::{self, S};

/// A square whose pixels are what is beneath changes nothing; the same image twice changes
/// alike; and batches of any size agree.
#[test]
fn changes_are_those_of_the_hidden_part() {
    let (_folder, data, out) = fixture::trained();
    let model = Model::open(&out, "last").unwrap();
    let layers = compared(&model.plan).unwrap();
    assert_eq!(layers, ["lrn1", "fc2"]);
    let records = data.split(Split::Val);
    let square = |row, column| square_at(row, column, 4, model.plan.input).unwrap();
    let mark = |image: usize, row, column| Mark { record: records.record(image), square: square(row, column) };
    let marks = [mark(0, 2.0, 3.0), mark(0, 2.0, 3.0), mark(1, 6.5, 4.0), mark(2, 8.9, 0.0), mark(0, 6.0, 6.0)];
    let grey = vec![128; S * S * 3];
    let found: Vec<_> = [1, 3, 8]
        .map(|batch| changes(&mut model.net(Cpu::<f32>::new(), batch).unwrap(), &marks, S, &grey, &layers).unwrap())
        .to_vec();
    assert!(found.iter().all(|other| *other == found[0]), "batches differ");
    for layer in &found[0] {
        assert_eq!(layer.len(), marks.len());
        assert_eq!(layer[0], layer[1]);
        assert!(layer.iter().flatten().any(|sign| *sign != 0), "no square changes anything");
        assert_eq!(hamming(&layer[..2]).unwrap().raw, 0.0);
        let all = hamming(layer).unwrap();
        assert!(0.0 < all.raw && all.raw <= all.normalised && all.normalised <= 1.0, "{all:?}");
    }
    let signs = |sign| found[0].iter().flatten().flatten().any(|s| *s == sign);
    assert!(signs(1) && signs(-1), "one direction only");
    let mut net = model.net(Cpu::<f32>::new(), 4).unwrap();
    let same = changes(&mut net, &[marks[2]], S, marks[2].record, &layers).unwrap();
    assert!(same.iter().flatten().flatten().all(|sign| *sign == 0), "its own pixels hide nothing");
}

#[test]
fn the_program_reads_marks() {
    let (folder, data, out) = fixture::trained();
    let record = |i: usize| data.split(Split::Val).record(i);
    // Twice as large as a record: marks are in pixels of the file.
    for i in 0..3 {
        let large = image::imageops::resize(
            &image::RgbImage::from_raw(S as u32, S as u32, record(i).to_vec()).unwrap(),
            2 * S as u32,
            2 * S as u32,
            image::imageops::FilterType::Nearest,
        );
        large.save(folder.path().join(format!("{i}.png"))).unwrap();
    }
    let image = |i: usize, parts: &str| format!("[[image]]\nfile = \"{i}.png\"\nparts = {{ {parts} }}\n");
    let file = folder.path().join("marks.toml");
    let program = |text: &str, more: &[&str]| {
        fs::write(&file, text).unwrap();
        fixture::outcome(fixture::zfnet(["visualize", "correspondence"]).arg(&out).arg(&file).args(more))
    };
    let good = [image(0, "eye = [6, 7], ear = [4, 18]"), image(1, "eye = [9, 12.5]"), image(2, "ear = [15, 3]")];
    let (status, stdout, stderr) = program(&good.concat(), &["--json", "--square", "3"]);
    assert_eq!(status, Some(0), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    let rows = answer["rows"].as_array().unwrap();
    let key = |row: &Value| (row["part"].as_str().unwrap().to_owned(), row["layer"].as_str().unwrap().to_owned());
    let keys: Vec<_> = rows.iter().map(key).collect();
    let expected = [("ear", "lrn1"), ("ear", "fc2"), ("eye", "lrn1"), ("eye", "fc2")];
    assert_eq!(keys, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    // The eye's squares by hand: half of the file's pixels, less the margin of one.
    let model = Model::open(&out, "best").unwrap();
    let seen = [0, 1].map(|i| {
        let mut pixels = vec![0; S * S * 3];
        centre_square(&decode_file(&folder.path().join(format!("{i}.png"))).unwrap(), S, &mut pixels).unwrap();
        pixels
    });
    let mark = |i: usize, row: f64, column: f64| Mark {
        record: &seen[i],
        square: square_at(row / 2.0 - 1.0, column / 2.0 - 1.0, 3, model.plan.input).unwrap(),
    };
    let mut net = model.net(Cpu::<f32>::new(), 2).unwrap();
    let layers = compared(&model.plan).unwrap();
    let found = changes(&mut net, &[mark(0, 6.0, 7.0), mark(1, 9.0, 12.5)], S, &[128; S * S * 3], &layers).unwrap();
    for (row, layer) in rows[2..].iter().zip(&found) {
        let score = hamming(layer).unwrap();
        assert_eq!((row["raw"].as_f64(), row["normalised"].as_f64()), (Some(score.raw), Some(score.normalised)));
        assert!(row["raw_random"][0].as_f64().unwrap() > 0.0);
    }
    assert_eq!(fs::read_to_string(out.join("figures/correspondence.csv")).unwrap().lines().count(), 5);

    let said = |text: &str, more: &[&str], status: i32, words: &[&str]| {
        let (found, stdout, stderr) = program(text, more);
        assert_eq!(found, Some(status), "{stderr}");
        assert!(stdout.is_empty() && words.iter().all(|word| stderr.contains(word)), "{words:?}: {stderr}");
    };
    said(&good[0], &[], 2, &["ear is marked on one image"]);
    said("[[image]]\nname = 3", &[], 1, &["marks.toml", "[[image]] tables"]);
    said(&[image(0, "eye = [0, 0]"), image(1, "eye = [9, 9]")].concat(), &[], 2, &["outside the 9 x 9"]);
    said(&[image(7, "eye = [3, 3]"), image(1, "eye = [9, 9]")].concat(), &[], 1, &["7.png"]);
    said(&good.concat(), &["--square", "10"], 2, &["a square of 10 px", "--square"]);
    let (status, _, stderr) =
        fixture::outcome(fixture::zfnet(["visualize", "correspondence"]).arg(&out).arg("--data").arg(data.root()));
    assert!(status == Some(2) && stderr.contains("has no masks"), "{stderr}");
}
