//! Filters and diagnoses: against counts made here, and from the program.

use std::fs;
use std::path::Path;

use serde_json::Value;
use zfnet::data::packed::Split;
use zfnet::net::{Net, Part, Pass};
use zfnet::ops::{Backend, Cpu, Real};
use zfnet::tensor::NamedTensor;
use zfnet::train::model::Model;
use zfnet::understand::diagnose::{Diagnosis, diagnose, first_filters};

use crate::common::compare::{Tolerance, assert_close};
use crate::common::on_cpu;
use crate::fixture::{self, VAL};

/// The fixture's weights with map 1 of conv1 silenced, map 4 always on, and filter 2 ten
/// times as strong.
fn altered(out: &Path) -> Vec<NamedTensor> {
    let mut weights = Model::open(out, "last").unwrap().checkpoint.weights;
    let (filters, bias) = (0, 1);
    assert_eq!((&*weights[filters].name, &*weights[bias].name), ("conv1.weight", "conv1.bias"));
    let len = weights[filters].data.len() / 5;
    weights[filters].data[len..2 * len].fill(0.0);
    weights[filters].data[2 * len..3 * len].iter_mut().for_each(|w| *w *= 10.0);
    weights[filters].data[4 * len..].fill(0.0);
    (weights[bias].data[1], weights[bias].data[4]) = (-1.0, 1.0);
    weights
}

fn net<T: Real>(out: &Path, weights: &[NamedTensor], batch: usize) -> Net<Cpu<T>>
where
    Cpu<T>: Backend<Buf = Vec<T>>,
{
    let mut net = Model::open(out, "last").unwrap().net(Cpu::<T>::new(), batch).unwrap();
    net.import(Part::Value, weights).unwrap();
    net
}

fn what_is_counted_is_there<T: Real>()
where
    Cpu<T>: Backend<Buf = Vec<T>>,
{
    let (_folder, data, out) = fixture::trained();
    let weights = altered(&out);
    let mut net = net::<T>(&out, &weights, 3);
    let mut seen = Vec::new();
    let found = diagnose(&mut net, &weights, &data, Split::Val, &mut |n| seen.push(n)).unwrap();
    assert_eq!((seen, found.images), (vec![3, 6, 7], VAL));
    let names: Vec<&str> = found.layers.iter().map(|fate| fate.layer.as_str()).collect();
    assert_eq!(names, ["conv1", "fc2"]);
    for fate in &found.layers {
        let layer = net.plan().layers[net.plan().layer_index(&fate.layer).unwrap()].clone();
        let K = layer.output.C;
        let mut active = vec![0; K];
        for i in 0..VAL {
            net.load_records(data.split(Split::Val).record(i), &[1, 1, 0], &[0]).unwrap();
            net.forward(Pass::Eval).unwrap();
            let y = net.blob(&fate.layer).unwrap();
            y.iter().enumerate().filter(|(_, y)| **y > 0.0).for_each(|(at, _)| active[at % K] += 1);
        }
        let places = VAL * layer.output.len() / K;
        assert_eq!((fate.maps, fate.dead), (K, active.iter().filter(|n| **n == 0).count()), "{}", fate.layer);
        assert_eq!(fate.saturated, active.iter().filter(|n| **n * 100 >= places * 99).count(), "{}", fate.layer);
        let zeros = 1.0 - active.iter().sum::<usize>() as f64 / (K * places) as f64;
        assert_close("sparsity", &[fate.sparsity], &[zeros], Tolerance::abs(1e-12));
    }
    assert!(found.layers[0].dead >= 1 && found.layers[0].saturated >= 1, "{:?}", found.layers[0]);
    let Diagnosis { dominance, bands, aliasing, .. } = found;
    assert_eq!(dominance.len(), 1);
    // The median is one of the untouched filters, or between them: 0, 0, r, r', 10 r''.
    assert!(dominance[0].1.is_some_and(|d| d > 4.0), "{dominance:?}");
    assert_close("bands", &[bands.iter().sum::<f64>()], &[1.0], Tolerance::abs(1e-12));
    assert_eq!(aliasing, None, "there is no second convolution");
}

/// Where each unit of layer 2 shows one dot every stride, the index says so; and it does
/// not depend on how strong the projections are.
#[test]
fn aliasing_is_seen() {
    let config = r#"
[[layer]]
conv = "conv1"
filters = 2
kernel = 4
stride = 4

[[layer]]
conv = "conv2"
filters = 3
kernel = 5
pad = 2

[[layer]]
linear = "fc3"
"#;
    let config = fixture::CONFIG.split("[[layer]]").next().unwrap().replace("input = 9", "input = 32") + config;
    let plan = crate::net::plan(&config, 3);
    let (_folder, data) = drawn();
    let index = |filter: &dyn Fn(usize) -> f32| {
        let mut net = Net::new(Cpu::<f32>::new(), plan.clone(), 4, false, 1).unwrap();
        net.set_source(32, &vec![0.0; 32 * 32 * 3]).unwrap();
        let mut weights = net.export(Part::Value).unwrap();
        for tensor in &mut weights {
            match tensor.name.as_str() {
                "conv1.weight" => tensor.data.iter_mut().enumerate().for_each(|(i, w)| *w = filter(i % 48)),
                "conv2.weight" => tensor.data.fill(0.1),
                _ => (),
            }
        }
        net.import(Part::Value, &weights).unwrap();
        diagnose(&mut net, &weights, &data, Split::Val, &mut |_| ()).unwrap().aliasing.unwrap()
    };
    let dot = |i: usize| if i / 3 == 5 { 1.0 } else { 0.0 };
    // 5 dots in a row, as in all lines that have any. Their spectrum, (sin 5x / sin x)^2, has
    // 0.839 of its energy in the cores: the index is four times that.
    let dots = index(&dot);
    assert!((dots - 3.36).abs() < 0.05, "{dots}");
    assert_close("ten times as strong", &[index(&|i| 10.0 * dot(i))], &[dots], Tolerance::rel(1e-5));
    // A flat filter tiles a smooth square: at the lattice's frequencies it has next to nothing.
    let flat = index(&|_| 1.0);
    assert!(flat < 1.0, "{flat}");
}

fn drawn() -> (tempfile::TempDir, zfnet::data::packed::Dataset) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let synthetic = zfnet::data::synthetic::Synthetic { classes: 3, train: 3, val: 6, size: 32, ..Default::default() };
    synthetic.pack(&path, &|_| ()).unwrap();
    let data = zfnet::data::packed::Dataset::open(path).unwrap();
    (folder, data)
}

#[test]
fn the_program_compares_runs() {
    let (folder, data, out) = fixture::trained();
    let other = folder.path().join("other");
    fixture::train(&data, &other, &fixture::config(), &fixture::options(), &mut zfnet::train::observer::Silent)
        .unwrap();
    let program = |more: &[&str]| {
        fixture::outcome(
            fixture::zfnet(["visualize", "diagnose"]).args([&out, &other]).arg("--data").arg(data.root()).args(more),
        )
    };
    let (status, stdout, stderr) = program(&["--json"]);
    assert_eq!(status, Some(0), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    let runs = answer["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    let model = Model::open(&out, "best").unwrap();
    let weights = &model.checkpoint.weights;
    let mut net = net::<f32>(&out, weights, 7);
    let expected = diagnose(&mut net, weights, &data, Split::Val, &mut |_| ()).unwrap();
    for run in runs {
        assert_eq!(run["diagnosis"], serde_json::to_value(&expected).unwrap(), "two runs of one seed are one");
    }
    assert!(image::open(out.join("figures/spectrum.png")).unwrap().width() > 1000);
    let table = fs::read_to_string(out.join("figures/spectrum.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 3 * expected.spectrum.len());
    let (_, stdout, _) = program(&[]);
    let page = fixture::outcome(fixture::zfnet(["report"]).arg(&out)).0;
    assert_eq!(page, Some(0));
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("id=\"diagnose\"") && page.contains("fc2  sparsity"), "no diagnosis on the page");
    for word in ["conv1  dominance", "conv1  dead maps", "fc2  sparsity", "aliasing", "above 1/4", "spectrum.png"] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
    let line = stdout.lines().find(|line| line.contains("images")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["images", "7", "7"]);
}

#[test]
fn the_program_draws_filters() {
    let (_folder, _, out) = fixture::trained();
    let (status, stdout, stderr) = fixture::outcome(fixture::zfnet(["visualize", "filters"]).arg(&out).arg("--json"));
    assert_eq!(status, Some(0), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["filters"], 5);
    let picture = image::open(answer["png"].as_str().unwrap()).unwrap().to_rgb8();
    // Two grids of 8 columns; the first filter of each begins at (24, 66), 37 apart, and a
    // pixel of 3 x 3 is 34 / 3 units, two pixels of the picture each.
    let filters = &Model::open(&out, "best").unwrap().checkpoint.weights[0];
    let strongest = filters.data[..27].iter().fold(0f32, |m, v| m.max(v.abs()));
    let at = (0..27).find(|i| filters.data[*i].abs() == strongest).unwrap();
    let right = 24.0 + 24.0 + 8.0 * 37.0 - 3.0;
    let middle = |i: usize| (i as f64 + 0.5) * 34.0 / 3.0;
    let (x, y) = (2.0 * (right + middle(at / 3 % 3)), 2.0 * (66.0 + middle(at / 9)));
    let level = picture.get_pixel(x as u32, y as u32)[at % 3];
    assert!(if filters.data[at] > 0.0 { level >= 250 } else { level <= 5 }, "{level} for {}", filters.data[at]);
    let table = fs::read_to_string(out.join("figures/filters.csv")).unwrap();
    assert!(table.starts_with("filter,rms,min,max\n0,") && table.lines().count() == 6, "{table}");

    // A network that begins otherwise has none to draw.
    let begins = fixture::CONFIG.split("[[layer]]").next().unwrap().to_owned() + "[[layer]]\nlinear = \"fc1\"\n";
    let message = first_filters(&crate::net::plan(&begins, 3), &[]).unwrap_err().to_string();
    assert!(message.contains("fixture is no convolution"), "{message}");
}

on_cpu!(what_is_counted_is_there);
