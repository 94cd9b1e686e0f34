use std::collections::HashSet;

use zfnet::philox::{Purpose, Stream, unit};

const PURPOSES: [Purpose; 6] =
    [Purpose::Init, Purpose::Dropout, Purpose::Shuffle, Purpose::Augment, Purpose::Synthetic, Purpose::Test];

#[test]
fn every_coordinate_changes_the_draw() {
    let mut seen = HashSet::new();
    let mut draws = 0;
    let mut add = |seed: u64, purpose: Purpose, lane: u32, step: u64, block: u64| {
        draws += 1;
        seen.insert(Stream::new(seed, purpose, lane).block(step, block));
    };
    for purpose in PURPOSES {
        for small in 0..20 {
            add(100 + small, purpose, 0, 0, 0);
            add(0, purpose, 100 + small as u32, 0, 0);
            add(0, purpose, 0, 100 + small, 0);
            add(0, purpose, 0, 0, 100 + small);
        }
        // The upper halves of 64-bit coordinates count too.
        add(1 << 40, purpose, 0, 0, 0);
        add(0, purpose, 0xFF_FFFF, 0, 0);
        add(0, purpose, 0, 1 << 40, 0);
        add(0, purpose, 0, 0, 1 << 50);
    }
    assert_eq!(seen.len(), draws, "two coordinates gave the same block");
}

#[test]
fn words_are_the_elements_of_blocks() {
    let stream = Stream::new(3, Purpose::Test, 1);
    let blocks: Vec<u32> = (0..5).flat_map(|block| stream.block(8, block)).collect();
    let words: Vec<u32> = (0..20).map(|i| stream.word(8, i)).collect();
    assert_eq!(words, blocks);
    let uniforms: Vec<f32> = (0..20).map(|i| stream.uniform(8, i)).collect();
    assert_eq!(uniforms, words.iter().map(|w| unit(*w)).collect::<Vec<_>>());
}

#[test]
fn unit_never_reaches_one() {
    assert_eq!((unit(0), unit(255), unit(256)), (0.0, 0.0, 2.0_f32.powi(-24)));
    assert_eq!(unit(u32::MAX), 1.0 - 2.0_f32.powi(-24));
}

/// Chi-square over an uneven number of bins. The 99.99 % point for 6 degrees of freedom is 27.9.
#[test]
fn below_is_uniform() {
    let stream = Stream::new(11, Purpose::Shuffle, 0);
    let mut counts = [0_u32; 7];
    (0..70_000).for_each(|i| counts[stream.below(2, i, 7) as usize] += 1);
    let chi_square: f64 = counts.iter().map(|c| (f64::from(*c) - 1e4).powi(2) / 1e4).sum();
    assert!(chi_square < 27.9, "{counts:?}: chi-square {chi_square}");
    assert!((0..1000).all(|i| stream.below(3, i, 1) == 0));
}

/// Neighbouring lanes, steps and elements share nothing: correlations stay
/// within four standard errors (1/sqrt(n)) of 0.
#[test]
fn neighbours_are_uncorrelated() {
    let n = 40_000_u64;
    let draws = |lane, step, offset| -> Vec<f64> {
        let stream = Stream::new(5, Purpose::Test, lane);
        (0..n).map(|i| stream.normal(step, i + offset)).collect()
    };
    let first = draws(0, 0, 0);
    for (what, other) in [("lane", draws(1, 0, 0)), ("step", draws(0, 1, 0)), ("element", draws(0, 0, 1))] {
        let correlation = first.iter().zip(&other).map(|(a, b)| a * b).sum::<f64>() / n as f64;
        assert!(correlation.abs() <= 4.0 / (n as f64).sqrt(), "{what}: {correlation}");
    }
}

/// The share of normal draws beyond 1, 2 and 3 standard deviations, within four standard errors.
#[test]
fn normal_has_the_tails_of_a_normal() {
    let n = 100_000;
    let stream = Stream::new(5, Purpose::Init, 3);
    let draws: Vec<f64> = (0..n).map(|i| stream.normal(1, i)).collect();
    for (bound, share) in [(1.0, 0.317_311), (2.0, 0.045_500), (3.0, 0.002_700)] {
        let beyond = draws.iter().filter(|d| d.abs() > bound).count() as f64 / n as f64;
        let allowed = 4.0 * (share * (1.0 - share) / n as f64).sqrt();
        assert!((beyond - share).abs() <= allowed, "{beyond} beyond {bound}, expected {share} +- {allowed}");
    }
    assert!(draws.iter().all(|d| d.is_finite()));
}
