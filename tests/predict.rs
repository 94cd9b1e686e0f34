//! `zfnet predict`: from image files to names.

use std::fs;
use std::path::Path;

use image::RgbImage;
use serde_json::Value;
use zfnet::data::packed::Split;
use zfnet::ops::Cpu;
use zfnet::train::evaluate::{TestCrops, probabilities};
use zfnet::train::model::Model;
use zfnet::train::score::most_probable;

use crate::common::compare::{Tolerance, assert_close};
use crate::fixture::{self, CLASSES, S};

fn program(run: &Path, images: &[&Path], more: &[&str]) -> (Option<i32>, String, String) {
    fixture::outcome(fixture::zfnet(["predict"]).arg(run).args(images).args(more))
}

/// Image files of the records' own size come through decoding and resizing as they
/// are, so the program must say what the library says about the records.
#[test]
fn a_file_is_judged_as_its_record() {
    let (folder, data, out) = fixture::trained();
    let records = data.split(Split::Val);
    let files: Vec<_> = (0..3).map(|i| folder.path().join(format!("{i}.png"))).collect();
    for (i, file) in files.iter().enumerate() {
        RgbImage::from_raw(S as u32, S as u32, records.record(i).to_vec()).unwrap().save(file).unwrap();
    }
    let paths: Vec<&Path> = files.iter().map(|f| f.as_path()).collect();
    for (crops, flag) in [(TestCrops::Centre, "1"), (TestCrops::Ten, "10")] {
        let (status, stdout, stderr) = program(&out, &paths, &["--json", "--crops", flag]);
        assert_eq!(status, Some(0), "{stderr}");
        let answers: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), 3);
        let mut net = Model::open(&out, "best").unwrap().net(Cpu::<f32>::new(), 3).unwrap();
        let images: Vec<u8> = (0..3).flat_map(|i| records.record(i).to_vec()).collect();
        let windows = crops.windows(S, 9, 9).unwrap();
        let p = probabilities(&mut net, &images, &[0; 3], &windows).unwrap();
        for ((answer, p), file) in answers.iter().zip(p.chunks(3)).zip(&files) {
            assert_eq!(answer["file"].as_str(), file.to_str());
            let order = most_probable(p, 5);
            let list = answer["predictions"].as_array().unwrap();
            assert_eq!(list.len(), 3);
            for (entry, c) in list.iter().zip(order) {
                assert_eq!(entry["class"], CLASSES[c]);
                let found = entry["probability"].as_f64().unwrap();
                assert_close("probability", &[found], &[p[c]], Tolerance::EXACT);
            }
        }
    }
    let (status, words, _) = program(&out, &paths[..1], &[]);
    assert_eq!(status, Some(0));
    assert!(words.starts_with(files[0].to_str().unwrap()) && words.lines().count() == 4, "{words}");
}

#[test]
fn a_bad_file_is_named_and_the_others_are_judged() {
    let (folder, data, out) = fixture::trained();
    let at = |name: &str| folder.path().join(name);
    let good = at("good.png");
    RgbImage::from_raw(S as u32, S as u32, data.split(Split::Val).record(0).to_vec()).unwrap().save(&good).unwrap();
    fs::write(at("broken.jpg"), b"\xff\xd8\xff\xe0 and no more").unwrap();
    let (broken, missing) = (at("broken.jpg"), at("missing.png"));
    let files = [broken.as_path(), &good, &missing, &good];
    let (status, stdout, stderr) = program(&out, &files, &["--json"]);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("broken.jpg") && stderr.contains("missing.png"), "{stderr}");
    let answers: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 4);
    assert!(answers[0]["error"].is_string() && answers[2]["error"].is_string());
    assert!(answers[1]["predictions"].is_array());
    assert_eq!(answers[1], answers[3], "a bad file between them changed the answer");
}
