//! The minimum of a smooth convex function: L-BFGS (Nocedal 1980) with a line search for the
//! weak Wolfe conditions by bisection (Lewis & Overton 2013).
//!
//! A direction is -H g, where H approximates the inverse Hessian from the last `PAIRS`
//! steps s and changes of gradient y. Along it a step a is taken with
//!
//! ```text
//! f(x + a p) <= f(x) + 1e-4 a p.g   and   p.g(x + a p) >= 0.9 p.g
//! ```
//!
//! which keeps s.y > 0 and so H positive definite.
//!
//! **When it is done.** Regularisation makes f strongly convex: f - |x|^2/2 is convex. For
//! such a function f(x) - min f <= |g|^2 / 2, so
//!
//! ```text
//! gap = |g|^2 / 2f <= tolerance
//! ```
//!
//! bounds the relative error of the value itself. (The free bias of softmax is left out of
//! |x|^2; the bound then holds for the weights, at the best bias.)

use std::collections::VecDeque;

use crate::error::Result;

/// Steps that are remembered.
const PAIRS: usize = 16;
/// Iterations after which the search gives up.
const ITERATIONS: usize = 3000;
/// Trials of one line search: below 2^-50 a step is lost in rounding.
const TRIALS: usize = 50;
/// Share of the first-order decrease that a step must reach.
const DECREASE: f64 = 1e-4;
/// Share of the slope that may be left.
const SLOPE: f64 = 0.9;

/// Where the search ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Minimum {
    /// The point.
    pub x: Vec<f64>,
    /// f there.
    pub value: f64,
    /// Bound on the relative error of `value`: see the module's documentation. At most the
    /// tolerance, unless rounding or the number of iterations ended the search before.
    pub gap: f64,
    /// Iterations.
    pub iterations: usize,
}

/// A point with value and gradient.
struct Point {
    x: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// Minimises `f`, which gives its value at a point and writes the gradient there, from `start`.
pub fn minimise(
    start: Vec<f64>,
    tolerance: f64,
    mut f: impl FnMut(&[f64], &mut [f64]) -> Result<f64>,
) -> Result<Minimum> {
    let mut gradient = vec![0.0; start.len()];
    let value = f(&start, &mut gradient)?;
    let mut at = Point { x: start, value, gradient };
    let mut memory = Memory::default();
    let mut iterations = 0;
    while gap(&at) > tolerance && iterations < ITERATIONS {
        let mut p = memory.direction(&at.gradient);
        if dot(&p, &at.gradient) >= 0.0 {
            // Rounding has spoilt the memory.
            memory = Memory::default();
            p = memory.direction(&at.gradient);
        }
        // Nothing is known of the curvature at first but that of the regularisation, 1.
        let first = if memory.pairs.is_empty() { 1.0 / (1.0 + dot(&p, &p).sqrt()) } else { 1.0 };
        match search(&at, &p, first, &mut f)? {
            Some(next) => {
                memory.remember(&at, &next);
                at = next;
            }
            // Rounding hides every decrease along p: try steepest descent, then rest.
            None if memory.pairs.is_empty() => break,
            None => memory = Memory::default(),
        }
        iterations += 1;
    }
    Ok(Minimum { gap: gap(&at), x: at.x, value: at.value, iterations })
}

/// Bound on the relative distance to the minimum.
fn gap(at: &Point) -> f64 {
    match 0.5 * dot(&at.gradient, &at.gradient) {
        0.0 => 0.0,
        square => square / at.value.abs(),
    }
}

/// A point along `p` that meets both conditions; `None` if there is none that rounding lets see.
fn search(
    from: &Point,
    p: &[f64],
    first: f64,
    f: &mut impl FnMut(&[f64], &mut [f64]) -> Result<f64>,
) -> Result<Option<Point>> {
    let slope = dot(p, &from.gradient);
    let (mut low, mut high, mut step) = (0.0, f64::INFINITY, first);
    let mut to = Point { x: from.x.clone(), value: 0.0, gradient: vec![0.0; p.len()] };
    for _ in 0..TRIALS {
        to.x.iter_mut().zip(&from.x).zip(p).for_each(|((to, from), p)| *to = from + step * p);
        to.value = f(&to.x, &mut to.gradient)?;
        if to.value.is_nan() || to.value > from.value + DECREASE * step * slope {
            high = step;
        } else if dot(p, &to.gradient) < SLOPE * slope {
            low = step;
        } else {
            return Ok(Some(to));
        }
        step = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * low };
    }
    Ok(None)
}

/// The last steps, oldest first.
#[derive(Default)]
struct Memory {
    pairs: VecDeque<Pair>,
}

struct Pair {
    s: Vec<f64>,
    y: Vec<f64>,
    sy: f64,
}

impl Memory {
    fn remember(&mut self, from: &Point, to: &Point) {
        let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
        let (s, y) = (difference(&to.x, &from.x), difference(&to.gradient, &from.gradient));
        let sy = dot(&s, &y);
        if sy > 0.0 {
            if self.pairs.len() == PAIRS {
                self.pairs.pop_front();
            }
            self.pairs.push_back(Pair { s, y, sy });
        }
    }

    /// -H g by the two-loop recursion.
    fn direction(&self, g: &[f64]) -> Vec<f64> {
        let mut q: Vec<f64> = g.iter().map(|g| -g).collect();
        let mut shares = Vec::with_capacity(self.pairs.len());
        for Pair { s, y, sy } in self.pairs.iter().rev() {
            let share = dot(s, &q) / sy;
            add(&mut q, -share, y);
            shares.push(share);
        }
        if let Some(Pair { y, sy, .. }) = self.pairs.back() {
            let scale = sy / dot(y, y);
            q.iter_mut().for_each(|q| *q *= scale);
        }
        for (Pair { s, y, sy }, share) in self.pairs.iter().zip(shares.into_iter().rev()) {
            let other = dot(y, &q) / sy;
            add(&mut q, share - other, s);
        }
        q
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// to += scale v.
fn add(to: &mut [f64], scale: f64, v: &[f64]) {
    to.iter_mut().zip(v).for_each(|(to, v)| *to += scale * v);
}
