//! The strongest activations: against brute force, in parts, after a stop, and as figures.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use zfnet::data::packed::{Dataset, Split};
use zfnet::net::{Keep, Net, Pass, Plan, Reverse};
use zfnet::ops::Cpu;
use zfnet::train::model::Model;
use zfnet::understand::projection::project_units;
use zfnet::understand::search::{Search, subject};
use zfnet::understand::top::{KEPT, Peak, Top};
use zfnet::understand::{Maps, Projection};

use crate::common::compare::assert_same_bits;
use crate::fixture::{self, S, TRAIN, VAL};
use crate::net::{CLASSES, TINY, plan};

const SPLIT: Split = Split::Train;

/// A trained fixture: its network for `batch` images, and a new search through `images`.
fn setup(out: &Path, data: &Dataset, batch: usize, images: std::ops::Range<usize>) -> (Net<Cpu<f32>>, Search) {
    let model = Model::open(out, "last").unwrap();
    let layers: Vec<String> = model.plan.layers.iter().map(|layer| layer.name.clone()).collect();
    let search = Search::new(subject(&model, data, SPLIT), &model.plan, &layers, images).unwrap();
    (model.net(Cpu::<f32>::new(), batch).unwrap(), search)
}

fn searched(out: &Path, data: &Dataset, batch: usize, images: std::ops::Range<usize>) -> Search {
    let (mut net, mut search) = setup(out, data, batch, images);
    assert!(search.run(&mut net, data, SPLIT, &mut |_| Ok(true)).unwrap());
    search
}

/// All activations stored, every map's sorted, one an image.
fn brute_force(plan: &Plan, name: &str, y: &[f32]) -> Vec<Vec<Peak>> {
    let layer = &plan.layers[plan.layer_index(name).unwrap()];
    let (Q, K, len) = (layer.output.W, layer.output.C, layer.output.len());
    let of_map = |k: usize| {
        let mut all: Vec<Peak> = (k..y.len())
            .step_by(K)
            .map(|i| Peak { value: y[i], image: i / len, p: i % len / (Q * K), q: i / K % Q })
            .filter(|peak| peak.value > 0.0)
            .collect();
        // A stable sort by value alone: what comes first in the blob stays first.
        all.sort_by(|a, b| b.value.partial_cmp(&a.value).unwrap());
        let mut seen = Vec::new();
        all.retain(|peak| {
            !seen.contains(&peak.image) && {
                seen.push(peak.image);
                true
            }
        });
        all.truncate(9);
        all
    };
    (0..K).map(of_map).collect()
}

#[test]
fn the_search_equals_brute_force() {
    let (_folder, data, out) = fixture::trained();
    let (mut net, _) = setup(&out, &data, TRAIN, 0..TRAIN);
    let records = data.split(SPLIT);
    let pixels: Vec<u8> = (0..TRAIN).flat_map(|i| records.record(i).to_vec()).collect();
    net.load_records(&pixels, &[1, 1, 0].repeat(TRAIN), &[0; TRAIN]).unwrap();
    net.forward(Pass::Eval).unwrap();
    let (mut full, mut negative) = (0, false);
    for batch in [TRAIN, 4] {
        let search = searched(&out, &data, batch, 0..TRAIN);
        for layer in net.plan().layers.clone() {
            let y = net.blob(&layer.name).unwrap();
            let expected = brute_force(net.plan(), &layer.name, &y);
            let found = &search.top(&layer.name).unwrap().maps;
            assert_eq!(found.len(), layer.output.C);
            for (k, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let place = |peaks: &[Peak]| peaks.iter().map(|p| (p.image, p.p, p.q)).collect::<Vec<_>>();
                assert_eq!(place(found), place(expected), "{} map {k}, batch {batch}", layer.name);
                let values = |peaks: &[Peak]| peaks.iter().map(|p| p.value).collect::<Vec<_>>();
                assert_same_bits("values", &values(found), &values(expected));
                full += usize::from(found.len() == KEPT);
            }
            negative |= y.iter().any(|v| *v < 0.0);
        }
    }
    assert!(full > 10, "too few maps have nine: {full}");
    assert!(negative, "no activation is negative: nothing had to be left out");
}

/// Ties by hand: the larger value, then the smaller image, then the first position.
#[test]
fn ties_do_not_depend_on_the_order_of_images() {
    let layer = plan(TINY, CLASSES).layers[0].clone();
    let (Q, K) = (layer.output.W, layer.output.C);
    let blob = |values: &[(usize, usize, f32)]| {
        let mut y = vec![-1.0; layer.output.len()];
        values.iter().for_each(|&(p, q, v)| y[(p * Q + q) * K + 2] = v);
        y
    };
    let images = [
        blob(&[(3, 1, 5.0), (0, 4, 5.0), (7, 7, 4.0)]),
        blob(&[(0, 0, 5.0)]),
        blob(&[(2, 2, 6.0)]),
        blob(&[(1, 1, 0.0)]),
    ];
    let expected = [(6.0, 2, 2, 2), (5.0, 0, 0, 4), (5.0, 1, 0, 0)];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
        let mut top = Top::new(&layer);
        let y: Vec<f32> = order.iter().flat_map(|&i: &usize| images[i].clone()).collect();
        top.add(&layer, &order, &y).unwrap();
        let found: Vec<_> = top.maps[2].iter().map(|p| (p.value, p.image, p.p, p.q)).collect();
        assert_eq!(found, expected, "images in order {order:?}");
        assert_eq!(top.silent(), K - 1);
    }
    let mut top = Top::new(&layer);
    let mut diverged = images[0].clone();
    diverged[4 * K + 3] = f32::NAN;
    let message = top.add(&layer, &[11], &diverged).unwrap_err().to_string();
    assert!(message.contains("map 3 of conv1") && message.contains("image 11"), "{message}");
}

#[test]
fn shards_merge_to_the_whole() {
    let (_folder, data, out) = fixture::trained();
    let whole = searched(&out, &data, 4, 0..TRAIN);
    let part = |images| searched(&out, &data, 4, images);
    let (low, middle, high) = (part(0..5), part(5..11), part(11..TRAIN));
    for order in [[&low, &middle, &high], [&high, &middle, &low], [&middle, &low, &high]] {
        let mut merged = order[0].clone();
        order[1..].iter().for_each(|part| merged.merge(part).unwrap());
        assert_eq!(merged, whole);
    }
    let refused = |a: &Search, b: &Search| a.clone().merge(b).unwrap_err().to_string();
    assert!(refused(&low, &high).contains("do not follow each other"));
    assert!(refused(&low, &low).contains("do not follow each other"));
    let (_, unfinished) = setup(&out, &data, 4, 5..11);
    assert!(refused(&low, &unfinished).contains("not finished"));
}

#[test]
fn a_stopped_search_goes_on_where_it_stood() {
    let (folder, data, out) = fixture::trained();
    let whole = searched(&out, &data, 3, 0..TRAIN);
    let path = folder.path().join("search.json");
    let (mut net, new) = setup(&out, &data, 3, 0..TRAIN);
    let plan = net.plan().clone();
    assert_eq!(Search::load(&path, &new, &plan).unwrap(), None);
    let mut stopped = new.clone();
    assert!(!stopped.run(&mut net, &data, SPLIT, &mut |search| Ok(search.seen() < 6)).unwrap());
    assert_eq!((stopped.seen(), stopped.finished()), (6, false));
    stopped.save(&path).unwrap();
    let mut resumed = Search::load(&path, &new, &plan).unwrap().unwrap();
    assert_eq!(resumed, stopped);
    let mut batches = 0;
    let mut count = |_: &Search| {
        batches += 1;
        Ok(true)
    };
    assert!(resumed.run(&mut net, &data, SPLIT, &mut count).unwrap());
    assert_eq!(batches, 3, "images 6 to 13 in batches of 3");
    assert_eq!(resumed, whole);

    // Other images or weights: it is not taken up. Damage: it is said.
    let (_, other) = setup(&out, &data, 3, 0..TRAIN - 1);
    assert_eq!(Search::load(&path, &other, &plan).unwrap(), None);
    let model = Model::open(&out, "last").unwrap();
    let val = subject(&model, &data, Split::Val);
    assert_ne!(val, subject(&model, &data, Split::Train));
    let text = fs::read_to_string(&path).unwrap();
    for damage in [text[..text.len() / 2].to_owned(), text.replacen("\"p\":", "\"p\":77", 1)] {
        fs::write(&path, damage).unwrap();
        let message = Search::load(&path, &new, &plan).unwrap_err().to_string();
        assert!(message.contains("search.json") && message.contains("delete it"), "{message}");
    }
}

/// In batches of any size each unit gets what the whole-image walk says, cut to its box,
/// and the pixels of the record there.
#[test]
fn units_are_cut_to_their_boxes() {
    let (_folder, data, out) = fixture::trained();
    let search = searched(&out, &data, 4, 0..TRAIN);
    let (mut net, _) = setup(&out, &data, 4, 0..TRAIN);
    let image = net.plan().input;
    let top = search.top("pool1").unwrap();
    let units: Vec<(usize, Peak)> =
        top.maps.iter().enumerate().flat_map(|(k, peaks)| peaks.iter().map(move |&peak| (k, peak))).collect();
    assert!(units.len() > 20);
    let mut made: Vec<Projection> = Vec::new();
    let reverse = Reverse::DECONVNET;
    project_units(&mut net, &data, SPLIT, "pool1", &units, &reverse, &mut |i, projection| {
        assert_eq!(i, made.len());
        made.push(projection);
        Ok(())
    })
    .unwrap();
    assert_eq!(made.len(), units.len());
    let mut clipped = 0;
    for ((k, peak), made) in units.into_iter().zip(&made) {
        let record = data.split(SPLIT).record(peak.image);
        net.load_records(record, &[1, 1, 0], &[0]).unwrap();
        net.forward(Pass::Eval).unwrap();
        let pixels = net.project("pool1", &[Keep::Unit { p: peak.p, q: peak.q, k }], &reverse).unwrap();
        // conv 3 / 2 without padding, pool 3 / 2: 7 pixels, 4 apart.
        let field = made.field;
        assert_eq!((field.top, field.left), (4 * peak.p, 4 * peak.q));
        assert_eq!((field.height, field.width), ((9 - field.top).min(7), (9 - field.left).min(7)));
        clipped += usize::from(field.height < 7);
        for i in 0..field.height * field.width * 3 {
            let (h, w, c) = (field.top + i / (field.width * 3), field.left + i / 3 % field.width, i % 3);
            let (seen, expected) = (made.projection[i], pixels[(h * image.W + w) * 3 + c]);
            assert!((seen - expected).abs() <= 1e-5 * expected.abs(), "{seen} is not {expected}");
            assert_eq!(made.patch[i], record[((h + 1) * S + w + 1) * 3 + c]);
        }
        assert!(made.projection.iter().any(|v| *v != 0.0));
    }
    assert!(clipped > 0, "no unit at a border");
}

#[test]
fn maps_are_chosen() {
    let layer = plan(TINY, CLASSES).layers[0].clone(); // 6 maps
    let of = |text: &str, seed| text.parse::<Maps>().unwrap().of(&layer, seed).map_err(|e| e.to_string());
    assert_eq!(of("all", 0), Ok(vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(of("random:9", 0), Ok(vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(of("4,0,4", 0), Ok(vec![0, 4]));
    assert!(of("2,6", 0).unwrap_err().contains("no map 6 in conv1: its maps are 0 to 5"));
    let mut counts = BTreeMap::new();
    for seed in 0..600 {
        let three = of("random:3", seed).unwrap();
        assert_eq!(three, of("random:3", seed).unwrap());
        assert!(three.len() == 3 && three.is_sorted_by(|a, b| a < b), "{three:?}");
        three.into_iter().for_each(|k| *counts.entry(k).or_insert(0) += 1);
    }
    // Each map in half of 600 draws; five standard deviations of sqrt(600)/2 = 12.2.
    assert!(counts.len() == 6 && counts.values().all(|n: &i32| (n - 300).abs() <= 61), "{counts:?}");
    for bad in ["", "some", "random:", "random:0", "random:-1", "1,,2", "1.5"] {
        let message = bad.parse::<Maps>().unwrap_err().to_string();
        assert!(message.contains("random:16"), "{message}");
    }
}

fn program(run: &Path, data: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    fixture::outcome(fixture::zfnet(["visualize", "top9"]).arg(run).arg("--data").arg(data).args(more))
}

#[test]
fn the_program_draws_grids_and_tables() {
    let (folder, data, out) = fixture::trained();
    let (status, stdout, stderr) = program(&out, data.root(), &["--json", "--maps", "all", "--layers", "all"]);
    assert_eq!(status, Some(0), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((answer["images"].as_u64(), &answer["split"]), (Some(VAL as u64), &"val".into()));
    let figures = answer["figures"].as_array().unwrap();
    let names: Vec<&str> = figures.iter().map(|f| f["layer"].as_str().unwrap()).collect();
    assert_eq!(names, ["conv1", "pool1", "lrn1", "fc2", "fc3"]);
    for figure in figures {
        let maps = figure["maps"].as_array().unwrap().len();
        let file = |key: &str| Path::new(figure[key].as_str().unwrap()).to_path_buf();
        assert_eq!(file("png").parent().unwrap(), out.join("figures"));
        let picture = image::open(file("png")).unwrap().to_rgb8();
        assert!(picture.height() as usize > maps * 9, "{figure}");
        let table = fs::read_to_string(file("csv")).unwrap();
        let mut lines = table.lines();
        assert_eq!(lines.next(), Some("layer,map,rank,value,image,class,p,q,top,left,height,width"));
        let shown = lines.inspect(|line| assert_eq!(line.split(',').count(), 12, "{line}")).count();
        assert!(shown > 0 && shown <= maps * VAL, "{shown} of {maps} maps");
    }
    // Fewer layers and other maps: the search stands, in the same folder or not at all.
    let more = ["--layers", "conv1", "--maps", "1,3", "--method", "guided", "--unpool", "set"];
    let (status, stdout, stderr) = program(&out, data.root(), &more);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stderr.contains("taken as it is"), "{stderr}");
    assert_eq!(stdout.lines().next().unwrap().split("  ").next(), out.join("figures/top9-conv1.png").to_str());
    let table = fs::read_to_string(out.join("figures/top9-conv1.csv")).unwrap();
    assert!(table.lines().skip(1).all(|line| line.starts_with("conv1,1,") || line.starts_with("conv1,3,")), "{table}");
    let elsewhere = folder.path().join("elsewhere");
    let (status, _, stderr) = program(&out, data.root(), &["--out", elsewhere.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(!stderr.contains("taken as it is"), "{stderr}");
    assert!(elsewhere.join("top9-conv1.png").is_file() && !elsewhere.join("top9-fc2.png").exists());
}

#[test]
fn what_cannot_be_drawn_is_said() {
    let (folder, data, out) = fixture::trained();
    let said = |run: &Path, data: &Path, more: &[&str], status: i32, words: &[&str]| {
        let (found, stdout, stderr) = program(run, data, more);
        assert_eq!(found, Some(status), "{stderr}");
        assert!(stdout.is_empty() && words.iter().all(|word| stderr.contains(word)), "{words:?}: {stderr}");
    };
    let root = data.root();
    said(&out, root, &["--layers", "conv1,conv9"], 2, &["conv9", "there are conv1, pool1"]);
    said(&out, root, &["--layers", "conv1", "--maps", "0,5"], 2, &["no map 5 in conv1"]);
    said(&out, root, &["--maps", "every"], 2, &["random:16"]);
    said(&out, root, &["--method", "saliency"], 2, &["guided"]);
    said(&out, root, &["--checkpoint", "epoch-3"], 2, &["no checkpoint epoch-3", "best, last"]);
    let other = fixture::pack_with(&folder.path().join("other"), &["red", "green", "pink"], 3);
    said(&out, other.root(), &[], 2, &["only in the data: pink"]);
    let best = out.join("best.safetensors");
    let mut bytes = fs::read(&best).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&best, bytes).unwrap();
    said(&out, root, &[], 1, &["best.safetensors", "damaged"]);
}
