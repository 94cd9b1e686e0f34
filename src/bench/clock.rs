//! Warm-up, repetition, median.

use std::time::Instant;

use super::process::cpu_seconds;
use crate::error::Result;

/// Times of several runs of the same work, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Timing {
    /// The middle one: what is reported.
    pub median: f64,
    /// The shortest: what an undisturbed machine would come near to.
    pub least: f64,
    /// Processor time of the middle one by that measure, all threads together: what
    /// tells on a machine that others use. `None` where the system does not say.
    pub cpu: Option<f64>,
    /// How many were timed.
    pub runs: usize,
}

impl Timing {
    /// Runs `work` `warm_up` times unobserved, so that buffers have their pages and
    /// clocks their speed, then `runs` times (at least once) against the clock.
    ///
    /// # Errors
    /// The first of `work`.
    pub fn of(warm_up: usize, runs: usize, mut work: impl FnMut() -> Result<()>) -> Result<Self> {
        for _ in 0..warm_up {
            work()?;
        }
        let (mut seconds, mut cpu) = (Vec::with_capacity(runs), Vec::with_capacity(runs));
        for _ in 0..runs.max(1) {
            let (start, cpu_start) = (Instant::now(), cpu_seconds());
            work()?;
            seconds.push(start.elapsed().as_secs_f64());
            cpu.extend(cpu_seconds().zip(cpu_start).map(|(end, start)| end - start));
        }
        let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let cpu = (!cpu.is_empty()).then(|| median(&mut cpu));
        Ok(Timing { median: median(&mut seconds), least, cpu, runs: seconds.len() })
    }
}

/// The values a quarter, half and three quarters of the way through the sorted values; NaN of none. Sorts `values`.
pub fn quartiles(values: &mut [f64]) -> [f64; 3] {
    let middle = median(values);
    let last = values.len().saturating_sub(1);
    let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    // The outer ones are values that were measured, the nearer ones to the ends.
    [at(last / 4), middle, at(last - last / 4)]
}

/// The middle value, or the mean of the middle two; NaN of none. Sorts `values`.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => 0.5 * (values[n / 2 - 1] + values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median(&mut [5.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(&mut [7.0, 1.0, 100.0, 3.0]), 5.0);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn quartiles_are_within() {
        assert_eq!(quartiles(&mut [5.0]), [5.0, 5.0, 5.0]);
        assert_eq!(quartiles(&mut [9.0, 1.0, 3.0, 7.0, 5.0]), [3.0, 5.0, 7.0]);
        assert_eq!(quartiles(&mut [4.0, 2.0]), [2.0, 3.0, 4.0]);
        assert!(quartiles(&mut []).iter().all(|q| q.is_nan()));
    }

    #[test]
    fn warm_up_is_not_timed() {
        let mut calls = 0;
        let timing = Timing::of(2, 3, || {
            calls += 1;
            Ok(())
        });
        assert_eq!((calls, timing.unwrap().runs), (5, 3));
    }
}
