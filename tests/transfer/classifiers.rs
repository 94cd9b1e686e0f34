//! Softmax and SVM: gradients, minima, coordinates, and scikit-learn's answers.

use serde::Deserialize;
use zfnet::ops::{Backend, Cpu, Gpu, Precision};
use zfnet::philox::{Purpose, Stream};
use zfnet::transfer::basis::{Basis, cholesky};
use zfnet::transfer::features::Matrix;
use zfnet::transfer::lbfgs::minimise;
use zfnet::transfer::objective::{Classifier, Objective};
use zfnet::transfer::probe::{COSTS, Probe, TOLERANCE, mean_accuracy};
use zfnet::transfer::product::{Scaled, combine, gram, scores};
use zfnet::transfer::scaling::Scaling;
use zfnet::transfer::split::{Examples, Fold};

use crate::common::compare::{Tolerance, assert_close};
use crate::common::device::{emulator, gpu};
use crate::common::finite_difference::assert_gradient;

fn normal(lane: u32, count: usize) -> Vec<f64> {
    let stream = Stream::new(21, Purpose::Test, lane);
    (0..count as u64).map(|i| stream.normal(0, i)).collect()
}

/// `per_class` training and two test images of each of C classes around a centre far from 0.
fn images(per_class: usize, C: usize, d: usize) -> (Vec<f32>, Vec<u16>, Fold) {
    let (centres, noise) = (normal(1, C * d), normal(2, C * (per_class + 2) * d));
    let labels: Vec<u16> = (0..C * (per_class + 2)).map(|i| (i / (per_class + 2)) as u16).collect();
    let x = (0..labels.len() * d)
        .map(|k| (5.0 + centres[usize::from(labels[k / d]) * d + k % d] + noise[k]) as f32)
        .collect();
    let (train, test) = (0..labels.len()).partition(|i| i % (per_class + 2) < per_class);
    (x, labels, Fold { number: 0, per_class, train, test })
}

#[test]
fn gradients_of_the_objectives() {
    let (n, C, r) = (11, 4, 3);
    let (z, at) = (normal(3, n * r), normal(4, C * r + C));
    let labels: Vec<usize> = (0..n).map(|i| (i * i) % C).collect();
    for classifier in Classifier::ALL {
        let mut objective = Objective::new(classifier, 0.7, &z, &labels, C).unwrap();
        let mut gradient = vec![f64::NAN; objective.parameters()];
        objective.value(&at, &mut gradient).unwrap();
        let mut unused = vec![0.0; gradient.len()];
        assert_gradient(classifier.name(), &at, &gradient, |at| objective.value(at, &mut unused).unwrap());
    }
}

/// f = sum_i i (x_i - i)^2 / 2 + 3, whose curvatures are 1 to 40.
#[test]
fn the_optimiser_finds_a_minimum_and_knows_how_near_it_is() {
    let (n, best) = (40, 3.0);
    for tolerance in [1e-2, 1e-6, 1e-14] {
        let mut evaluations = 0;
        let found = minimise(vec![-1.0; n], tolerance, |x, gradient| {
            evaluations += 1;
            let mut value = best;
            for (i, (x, g)) in x.iter().zip(gradient).enumerate() {
                let (curvature, off) = (i as f64 + 1.0, x - i as f64);
                (*g, value) = (curvature * off, value + 0.5 * curvature * off * off);
            }
            Ok(value)
        })
        .unwrap();
        assert!(found.gap <= tolerance && found.value - best <= found.gap * found.value, "{found:?}");
        assert!((1..80).contains(&evaluations), "{evaluations} evaluations");
    }
    // A value that is no number is no step forward, and no endless search.
    let stuck = minimise(vec![1.0], 1e-6, |x, g| {
        g[0] = 1.0;
        Ok(if x[0] < 1.0 { f64::NAN } else { x[0] })
    });
    assert_eq!(stuck.unwrap().x, [1.0]);
}

/// Images of which some are sums of others: as many coordinates as they span, all products kept.
#[test]
fn coordinates_keep_every_product() {
    let (n, rank) = (13, 5);
    let a = normal(5, n * rank);
    let dot = |z: &[f64], r: usize, i: usize, j: usize| (0..r).map(|k| z[i * r + k] * z[j * r + k]).sum::<f64>();
    let G: Vec<f64> = (0..n * n).map(|k| dot(&a, rank, k / n, k % n)).collect();
    let (z, pivots) = cholesky(&G, n);
    assert_eq!(pivots.len(), rank);
    let again: Vec<f64> = (0..n * n).map(|k| dot(&z, rank, k / n, k % n)).collect();
    assert_close("G", &again, &G, Tolerance::abs(1e-12));
    for (k, &p) in pivots.iter().enumerate() {
        let row = &z[p * rank..][..rank];
        assert!(row[k] > 0.0 && row[k + 1..].iter().all(|&v| v == 0.0), "pivot {k}: {row:?}");
    }
    assert!(cholesky(&vec![0.0; n * n], n).1.is_empty());
}

/// The products over all features, in chunks of which the last is shorter, on whatever runs them.
fn check_products<B: Backend>(mut backend: B) {
    let (d, C, labels, rows) = (2057, 2, 6, [4, 0, 3]);
    let x: Vec<f32> = normal(7, labels * d).into_iter().map(|v| v as f32).collect();
    let x = Matrix { d, values: &x };
    let scaling = Scaling::fit(x, &rows);
    let scaled = scaling.gather(x, &rows, 0..d);
    let (a, w): (Vec<f32>, Vec<f32>) =
        (normal(8, 3 * C).iter().map(|&v| v as f32).collect(), normal(9, C * d).iter().map(|&v| v as f32).collect());
    let at = |v: &[f32], width: usize, i: usize, k: usize| f64::from(v[i * width + k]);
    let dot = |v: &[f32], i: usize, j: usize| (0..d).map(|k| at(&scaled, d, i, k) * at(v, d, j, k)).sum::<f64>();
    let images = Scaled { x, rows: &rows, scaling: &scaling };
    // Rows of length 1: 33 chunks of 64 terms of 1/d, each off by 64 roundings of its sum at most.
    let rounding = Tolerance::abs(64.0 * 6e-8);
    let expected: Vec<f64> = (0..9).map(|k| dot(&scaled, k / 3, k % 3)).collect();
    assert_close("gram", &gram(&mut backend, images).unwrap(), &expected, rounding);
    let expected: Vec<f64> = (0..3 * C).map(|k| dot(&w, k / C, k % C)).collect();
    // Weights of length sqrt(d), 45.
    assert_close(
        "scores",
        &scores(&mut backend, images, &w, C).unwrap(),
        &expected,
        Tolerance::abs(45.0 * rounding.abs),
    );
    let sum = |c: usize, k: usize| (0..3).map(|i| at(&a, C, i, c) * at(&scaled, d, i, k)).sum::<f64>();
    let expected: Vec<f64> = (0..C * d).map(|k| sum(k / d, k % d)).collect();
    assert_close("combine", &combine(&mut backend, images, &a, C).unwrap(), &expected, Tolerance::abs(1e-6));
}

#[test]
fn products_over_all_features() {
    check_products(Cpu::<f32>::new());
    check_products(Cpu::<f64>::new());
    check_products(Gpu::new(emulator(0), Precision::F32));
    if let Some(gpu) = gpu() {
        check_products(Gpu::new(gpu, Precision::F32));
    }
}

/// With many more features than images: the classifier's gradient on the features themselves,
/// by hand in f64, is 0 to the tolerance, and its objective is that of a search among them all.
#[test]
fn the_minimum_on_coordinates_is_that_on_features() {
    let (C, d) = (3, 5003); // more than one chunk of features
    let (x, labels, fold) = images(7, C, d);
    let x = Matrix { d, values: &x };
    let mut backend = Cpu::<f32>::new();
    let learn = Examples::of(&fold.train, &labels);
    let probe = Probe::new(&mut backend, x, &learn, C).unwrap();
    let scaled: Vec<f64> = probe.scaling().gather(x, &fold.train, 0..d).into_iter().map(f64::from).collect();
    let classes: Vec<usize> = fold.train.iter().map(|&i| labels[i].into()).collect();
    for classifier in Classifier::ALL {
        for cost in [0.1, 10.0] {
            let fit = probe.fit(&mut backend, classifier, cost).unwrap();
            assert!(fit.gap <= TOLERANCE, "{fit:?}");
            let mut objective = Objective::new(classifier, cost, &scaled, &classes, C).unwrap();
            let at: Vec<f64> = fit.weights.iter().map(|&w| w.into()).chain(fit.bias.iter().copied()).collect();
            let mut gradient = vec![0.0; at.len()];
            let value = objective.value(&at, &mut gradient).unwrap();
            let square: f64 = gradient.iter().map(|g| g * g).sum();
            // The optimiser's own gap, and the rounding of weights and Gram matrix to f32: each
            // error e of a weight leaves C e |x|^2 in the gradient.
            let allowed = 4.0 * TOLERANCE;
            assert!(0.5 * square / value <= allowed, "{classifier}, C {cost}: |g|^2 / 2f = {:e}", 0.5 * square / value);
            assert!((value / fit.objective - 1.0).abs() <= 1e-6, "{value} on features, {} said", fit.objective);
            let direct = minimise(vec![0.0; at.len()], TOLERANCE, |x, g| objective.value(x, g)).unwrap();
            assert!((value / direct.value - 1.0).abs() <= 1e-5, "{value}, by a search of all {}", direct.value);
        }
    }
}

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    d: usize,
    train: usize,
    labels: Vec<u16>,
    features: Vec<f32>,
    fits: Vec<Theirs>,
}

#[derive(Deserialize)]
struct Theirs {
    classifier: Classifier,
    cost: f64,
    objective: f64,
    accuracy: f64,
    weight: Vec<f64>,
    bias: Vec<f64>,
}

/// More features than images, and fewer; C from weak to strong.
#[test]
fn scikit_learn_finds_the_same_classifiers() {
    let golden: Golden = serde_json::from_str(include_str!("sklearn.json")).unwrap();
    let mut backend = Cpu::<f32>::new();
    for Case { d, train, labels, features, fits } in &golden.cases {
        let part = |rows: std::ops::Range<usize>| Examples::of(&rows.collect::<Vec<_>>(), labels);
        let (learn, judge) = (part(0..*train), part(*train..labels.len()));
        let probe = Probe::new(&mut backend, Matrix { d: *d, values: features }, &learn, 3).unwrap();
        for theirs in fits {
            let what = format!("{} of {d} features, C {}", theirs.classifier, theirs.cost);
            let fit = probe.fit(&mut backend, theirs.classifier, theirs.cost).unwrap();
            // Both are within 1e-6 of the minimum; features in f32 move it by about as much.
            assert_close(&what, &[fit.objective], &[theirs.objective], Tolerance::rel(1e-5));
            // f - min f <= 1e-6 f bounds the distance to the minimum by sqrt(2e-6 f).
            let away = (2e-6 * theirs.objective).sqrt();
            assert_close(&what, &fit.weights, &theirs.weight, Tolerance::abs(2.0 * away));
            assert_close(&what, &fit.bias, &theirs.bias, Tolerance::rel(0.01).and_abs(2.0 * away));
            let accuracy = probe.judge(&mut backend, &fit, &judge).unwrap();
            assert_close(&what, &[accuracy], &[theirs.accuracy], Tolerance::abs(1e-12));
        }
    }
}

#[test]
fn scaled_features_have_mean_zero_and_length_one() {
    let (x, _, fold) = images(6, 3, 17);
    let x = Matrix { d: 17, values: &x };
    let scaling = Scaling::fit(x, &fold.train);
    let scaled = scaling.gather(x, &fold.train, 0..17);
    let column = |k: usize| scaled.iter().skip(k).step_by(17).map(|&v| f64::from(v)).sum::<f64>();
    assert_close("means", &(0..17).map(column).collect::<Vec<_>>(), &[0.0; 17], Tolerance::abs(1e-5));
    let square = scaled.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / fold.train.len() as f64;
    assert_close("square", &[square], &[1.0], Tolerance::abs(1e-6));
    assert_eq!(scaling.gather(x, &fold.train[2..5], 3..9), scaled_part(&scaled, 2..5, 3..9));
}

fn scaled_part(scaled: &[f32], rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> Vec<f32> {
    rows.flat_map(|i| columns.clone().map(move |k| scaled[i * 17 + k])).collect()
}

/// The regularisation is the one that does best on what was held out, the smallest of equals.
#[test]
fn the_regularisation_is_chosen_on_what_is_held_out() {
    let (C, d) = (4, 23);
    let (x, labels, fold) = images(6, C, d);
    let mut backend = Cpu::<f32>::new();
    let matrix = Matrix { d, values: &x };
    let learn = Examples::of(&fold.train, &labels);
    let probe = Probe::new(&mut backend, matrix, &learn, C).unwrap();
    let (learned, held) = learn.held_out();
    let basis = Basis::new(&mut backend, Scaled { x: matrix, rows: &fold.train, scaling: probe.scaling() }).unwrap();
    let (z, z_held) = (basis.some(&learned), basis.some(&held));
    let of = |part: &[usize]| part.iter().map(|&i| usize::from(labels[fold.train[i]])).collect::<Vec<_>>();
    for classifier in Classifier::ALL {
        let accuracy = |cost: f64| {
            let classes = of(&learned);
            let mut objective = Objective::new(classifier, cost, &z, &classes, C).unwrap();
            let found = minimise(vec![0.0; objective.parameters()], 1e-9, |x, g| objective.value(x, g)).unwrap();
            let (w, b) = found.x.split_at(C * basis.r);
            let dot = |w: &[f64], z: &[f64]| w.iter().zip(z).map(|(w, z)| w * z).sum::<f64>();
            let scores: Vec<f64> = z_held
                .chunks(basis.r)
                .flat_map(|z| w.chunks(basis.r).zip(b).map(|(w, b)| dot(w, z) + b).collect::<Vec<_>>())
                .collect();
            mean_accuracy(&scores, &of(&held), C)
        };
        let all = COSTS.map(accuracy);
        let best = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let first = all.iter().position(|&a| a == best).unwrap();
        assert_eq!(probe.choose(classifier, &COSTS).unwrap(), (COSTS[first], best), "{classifier}: {all:?}");
    }
}

/// Features that are the same for all images: nothing to learn, and nothing that is not a number.
#[test]
fn dead_features_are_worth_chance() {
    for d in [5, 50] {
        let (_, labels, fold) = images(3, 4, d);
        let x = vec![0.25; labels.len() * d];
        let mut backend = Cpu::<f32>::new();
        let [learn, judge] = [&fold.train, &fold.test].map(|rows| Examples::of(rows, &labels));
        let probe = Probe::new(&mut backend, Matrix { d, values: &x }, &learn, 4).unwrap();
        for classifier in Classifier::ALL {
            let fit = probe.fit(&mut backend, classifier, 1.0).unwrap();
            assert!(fit.objective.is_finite() && fit.weights.iter().all(|&w| w == 0.0), "{fit:?}");
            assert_eq!(probe.judge(&mut backend, &fit, &judge).unwrap(), 0.25);
        }
    }
}

#[test]
fn accuracy_is_the_mean_over_classes() {
    let scores = [0.1, 0.3, 0.2, /**/ 0.5, 0.5, 0.1, /**/ 0.0, 0.1, 0.1, /**/ 0.2, 0.1, 0.0];
    // Class 1: its image is right. Class 0: two images, one (of equals the first) right.
    assert_eq!(mean_accuracy(&scores[..6], &[1, 0], 3), 1.0);
    assert_eq!(mean_accuracy(&scores, &[1, 0, 0, 2], 3), (1.0 + 0.5 + 0.0) / 3.0);
}
