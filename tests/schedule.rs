//! The learning rate, epoch by epoch.

use zfnet::train::schedule::{Rate, Schedule, ScheduleConfig, ScheduleState};

const NONE: [usize; 0] = [];

fn plateau(patience: usize, min_delta: f64, max_drops: u32) -> Schedule {
    Schedule::new(ScheduleConfig::Plateau { factor: 10.0, patience, min_delta, max_drops }, 0.01, 100)
}

/// The epochs, counted from 1, after which the rate drops.
fn drops(schedule: &mut Schedule, errors: &[f64]) -> Vec<usize> {
    (1..).zip(errors).filter_map(|(epoch, &error)| schedule.epoch_end(epoch, error).map(|_| epoch)).collect()
}

#[test]
fn plateau_drops_after_patience_epochs_without_improvement() {
    let mut schedule = plateau(3, 0.01, 9);
    let drop = [0.5, 0.4, 0.395, 0.41, 0.40].into_iter().zip(1..).find_map(|(e, epoch)| schedule.epoch_end(epoch, e));
    let drop = drop.expect("0.395 is less than min_delta below 0.4, so three epochs are stale");
    assert_eq!((drop.from, drop.to), (0.01, 0.001));
    assert!(drop.reason.contains("3 epochs"), "{}", drop.reason);
    assert_eq!(schedule.lr(), 0.001);
}

#[test]
fn plateau_waits_again_after_a_drop_and_stops_at_max_drops() {
    assert_eq!(drops(&mut plateau(2, 0.0, 9), &[0.5; 8]), [3, 5, 7]);
    assert_eq!(drops(&mut plateau(2, 0.0, 2), &[0.5; 20]), [3, 5]);
    assert_eq!(drops(&mut plateau(2, 0.0, 9), &[0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), NONE);
}

#[test]
fn plateau_counts_an_error_that_is_no_number_as_no_improvement() {
    assert_eq!(drops(&mut plateau(2, 0.0, 9), &[f64::NAN, f64::NAN, 0.5, 0.4, f64::NAN, f64::NAN]), [2, 6]);
}

#[test]
fn equal_error_is_no_improvement_even_with_min_delta_0() {
    assert_eq!(drops(&mut plateau(1, 0.0, 9), &[0.5, 0.5]), [2]);
}

#[test]
fn steps_drop_at_fractions_of_the_run() {
    let steps = |at: &[f64], epochs| Schedule::new(ScheduleConfig::Steps { at: at.to_vec(), factor: 5.0 }, 1.0, epochs);
    assert_eq!(drops(&mut steps(&[0.5, 0.75], 40), &[0.1; 40]), [20, 30]);
    let mut short = steps(&[0.5, 0.75], 2);
    assert_eq!(drops(&mut short, &[0.1; 2]), [1, 2]);
    assert_eq!(short.lr(), 1.0 / 25.0);
    // Both times fall on the only epoch: one event, two drops.
    let mut single = steps(&[0.1, 0.2], 1);
    assert_eq!(single.epoch_end(1, 0.1).map(|d| d.to), Some(1.0 / 25.0));
}

#[test]
fn constant_never_drops() {
    let mut schedule = Schedule::new(ScheduleConfig::Constant, 0.01, 5);
    assert_eq!(drops(&mut schedule, &[0.5; 30]), NONE);
    assert_eq!(schedule.lr(), 0.01);
}

#[test]
fn a_resumed_schedule_goes_on_as_if_never_stopped() {
    let errors: Vec<f64> = (0..60).map(|e| 0.5 + 0.3 * f64::from((e * 7) % 11) / 11.0).collect();
    let mut whole = plateau(4, 0.001, 30);
    let expected: Vec<f64> = (1..)
        .zip(&errors)
        .map(|(epoch, &e)| {
            whole.epoch_end(epoch, e);
            whole.lr()
        })
        .collect();
    assert!(expected[59] < expected[0], "the run must contain drops");
    for stop in 1..60 {
        let mut first = plateau(4, 0.001, 30);
        drops(&mut first, &errors[..stop]);
        let stored = serde_json::to_string(&first.state()).unwrap();
        let state: ScheduleState = serde_json::from_str(&stored).unwrap();
        let mut second = plateau(4, 0.001, 30).resume(state);
        assert_eq!(second.lr().to_bits(), expected[stop - 1].to_bits());
        for epoch in stop..60 {
            second.epoch_end(epoch + 1, errors[epoch]);
            assert_eq!(second.lr().to_bits(), expected[epoch].to_bits(), "stopped after {stop}, epoch {epoch}");
        }
    }
}

#[test]
fn rates_are_told_in_six_digits() {
    let told = [0.003 / 10.0, 0.01, 1e-7, 0.123456789, 5e9].map(|lr| Rate(lr).to_string());
    assert_eq!(told, ["0.0003", "0.01", "0.0000001", "0.123457", "5000000000"]);
}
