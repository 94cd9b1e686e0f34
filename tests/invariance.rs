//! Invariance: transforms of images by hand, distances against the features themselves, and the figures.

use std::fs;

use serde_json::Value;
use zfnet::data::packed::Split;
use zfnet::net::Pass;
use zfnet::ops::Cpu;
use zfnet::train::model::Model;
use zfnet::understand::invariance::{Kind, compared, responses};

use crate::fixture::{self, S};

/// A record whose channels tell row, column, and their product.
fn coded(side: usize) -> Vec<u8> {
    (0..side * side).flat_map(|i| [7 * (i / side) as u8, 5 * (i % side) as u8, (i / side * (i % side)) as u8]).collect()
}

#[test]
fn transforms_move_pixels() {
    let side = 11;
    let image = coded(side);
    let at = |image: &[u8], h: usize, w: usize| [0, 1, 2].map(|c| image[(h * side + w) * 3 + c]);
    for kind in Kind::ALL {
        assert_eq!(kind.apply(kind.identity(), &image, side), image, "{kind:?} by nothing");
    }
    assert_eq!(Kind::Rotation.apply(360.0, &image, side), image, "a full turn");
    // Three pixels down: row 3 shows row 0, and the rows above repeat the border.
    let down = Kind::Translation.apply(3.0, &image, side);
    // Twice the size: the centre (5, 5) stays, (7, 9) shows (6, 7), (6, 5) half way between (5, 5) and (6, 5).
    let twice = Kind::Scale.apply(2.0, &image, side);
    // A quarter turn clockwise: what was on top is on the right.
    let turned = Kind::Rotation.apply(90.0, &image, side);
    for (h, w) in (0..side).flat_map(|h| (0..side).map(move |w| (h, w))) {
        assert_eq!(at(&down, h, w), at(&image, h.saturating_sub(3), w));
        assert_eq!(at(&turned, w, side - 1 - h), at(&image, h, w), "({h}, {w})");
    }
    assert_eq!((at(&twice, 5, 5), at(&twice, 7, 9)), (at(&image, 5, 5), at(&image, 6, 7)));
    assert_eq!(at(&twice, 6, 5)[0], 39, "between 35 and 42, rounded up");
}

/// Each response is what one image at a time gives, in batches of any size.
#[test]
fn responses_are_distances() {
    let (_folder, data, out) = fixture::trained();
    let model = Model::open(&out, "last").unwrap();
    assert_eq!(compared(&model.plan).unwrap(), ["conv1", "fc2"]);
    let record = data.split(Split::Val).record(2);
    let mut one = model.net(Cpu::<f32>::new(), 1).unwrap();
    let mut seen = |record: &[u8]| {
        one.load_records(record, &[1, 1, 0], &[0]).unwrap();
        one.forward(Pass::Eval).unwrap();
        ["conv1", "fc2", "fc3"].map(|name| one.blob(name).unwrap())
    };
    let [low, top, _] = seen(record);
    for kind in Kind::ALL {
        let amounts = kind.amounts(9);
        assert!(amounts.is_sorted_by(|a, b| a < b) && amounts.contains(&kind.identity()), "{kind:?}: {amounts:?}");
        let mut net = model.net(Cpu::<f32>::new(), 4).unwrap();
        let found = responses(&mut net, record, S, 1, kind, &amounts).unwrap();
        assert_eq!(found.len(), amounts.len());
        for (response, &amount) in found.iter().zip(&amounts) {
            let [moved_low, moved_top, z] = seen(&kind.apply(amount, record, S));
            let distance = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
            };
            let sum: f64 = z.iter().map(|&z| f64::from(z).exp()).sum();
            let expected = [distance(&moved_low, &low), distance(&moved_top, &top), f64::from(z[1]).exp() / sum];
            for (found, expected) in [response.low, response.top, response.p].into_iter().zip(expected) {
                // Batches of other sizes may round sums in another order.
                assert!((found - expected).abs() <= 1e-4 * expected.max(1.0), "{kind:?} {amount}: {found}, {expected}");
            }
            let moved = amount != kind.identity() && amount != 360.0;
            assert_eq!(response.low != 0.0, moved, "{kind:?} {amount}: {}", response.low);
        }
    }
}

#[test]
fn the_program_draws_charts() {
    let (folder, _data, out) = fixture::trained();
    let image = folder.path().join("green").join("b.png");
    fs::create_dir_all(image.parent().unwrap()).unwrap();
    image::save_buffer(&image, &coded(13), 13, 13, image::ColorType::Rgb8).unwrap();
    let program = |arguments: &[&str]| {
        fixture::outcome(fixture::zfnet(["visualize", "invariance"]).arg(&out).arg(&image).args(arguments))
    };
    let (status, stdout, stderr) = program(&["--json"]);
    assert_eq!(status, Some(0), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["images"][0], "b.png (green)");
    let figures = out.join("figures");
    let values: usize =
        answer["kinds"].as_array().unwrap().iter().map(|k| k["amounts"].as_array().unwrap().len()).sum();
    let csv = fs::read_to_string(figures.join("invariance.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + values);
    assert!(image::open(figures.join("invariance.png")).unwrap().width() > 1000);

    let said = |arguments: &[&str], status: i32, words: &[&str]| {
        let (found, _, stderr) = program(arguments);
        assert!(found == Some(status) && words.iter().all(|word| stderr.contains(word)), "{words:?}: {stderr}");
    };
    let small = folder.path().join("small.png");
    image::save_buffer(&small, &coded(8), 8, 8, image::ColorType::Rgb8).unwrap();
    said(&[small.to_str().unwrap()], 1, &["small.png", "8 x 8", "9 x 9"]);
    said(&[folder.path().join("none.jpg").to_str().unwrap()], 1, &["none.jpg"]);
    said(&["--checkpoint", "epoch-7"], 2, &["no checkpoint epoch-7"]);
}
