//! Gradient checks: every operation's backward pass and the whole network's, on any backend.
//!
//! Two comparisons, each relative to the gradient's largest component:
//!
//! 1. **Derivation**: the backward pass in f64 against differences of the forward pass in
//!    f64, at most [`DERIVATION`] apart. It tells whether the formula is right.
//! 2. **Backend**: the backward pass on the backend against that in f64, at most
//!    [`Tolerance`] apart. It tells whether the backend computes the formula.
//!
//! | module | what is there |
//! |---|---|
//! | [`difference`] | the derivative of a function by differences |
//! | `ops` | a small case of every operation, with strides, groups and odd sizes |
//! | `net` | a small ZFNet with dropout on |

pub mod difference;
mod net;
mod ops;

use crate::error::Result;
use crate::ops::{Backend, Cpu, Role, Storage};
use crate::philox::{Purpose, Stream};

/// Largest relative distance between derivation and differences: the gradient is compared
/// rounded to f32 (6e-8), the differences err by about 1e-11.
pub const DERIVATION: f64 = 1e-7;

/// Largest relative distance between a backend and f64.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Of one operation. Arguments are numbers that bf16 holds, so operands are exact in every
    /// precision; sums of a hundred terms round a hundred times (6e-8 each, on magnitudes a few
    /// times the largest component), and bf16 rounds what is stored once (2^-8).
    pub op: f64,
    /// Of the whole network, whose products take rounded operands layer after layer: eight
    /// layers up and down, four roundings each.
    pub net: f64,
}

impl Tolerance {
    /// For a backend that rounds the operands of products, and activations, by `operand` (0 for
    /// f32) and stores activations of `element_bytes`.
    pub fn new(operand: f64, element_bytes: usize) -> Self {
        let f32_sums = 5e-5;
        let store = if element_bytes == 2 { 2f64.powi(-8) } else { 0.0 };
        Tolerance { op: f32_sums + store, net: 2.0 * f32_sums + 32.0 * operand }
    }
}

/// The gradient by one argument of one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The operation and its geometry.
    pub case: String,
    /// The argument.
    pub by: String,
    /// Components of the gradient.
    pub components: usize,
    /// Distance between derivation and differences.
    pub derivation: f64,
    /// Distance between backend and f64.
    pub backend: f64,
    /// The largest that it may be.
    pub allowed: f64,
}

impl Row {
    /// Whether both distances are small enough; no number is not.
    pub fn passed(&self) -> bool {
        self.derivation <= DERIVATION && self.backend <= self.allowed
    }
}

/// A function of several arrays to one number, and its gradient on any backend.
trait Case {
    fn name(&self) -> String;

    /// Names and values of the arguments.
    fn arguments(&self) -> Vec<(String, Vec<f64>)>;

    /// The number, in f64.
    fn loss(&mut self, arguments: &[Vec<f64>]) -> Result<f64>;

    /// Its gradient by each argument; none by one that has no gradient.
    fn gradients<B: Backend>(&self, backend: &mut B, arguments: &[Vec<f32>]) -> Result<Vec<Vec<f32>>>;

    /// Which components differences are taken for.
    fn looked_at(&self, len: usize) -> Vec<usize> {
        (0..len).collect()
    }
}

/// Checks every operation on `backend`.
///
/// # Errors
/// Those of the backend. A gradient that is wrong is no error but a [`Row`] that has not passed.
pub fn ops<B: Backend>(backend: &mut B, tolerance: Tolerance) -> Result<Vec<Row>> {
    ops::all(backend, tolerance.op)
}

/// Checks the whole network on `backend`.
///
/// # Errors
/// As [`ops`].
pub fn net<B: Backend>(backend: B, tolerance: Tolerance) -> Result<Vec<Row>> {
    net::check(backend, tolerance.net)
}

fn check<C: Case, B: Backend>(mut case: C, backend: &mut B, allowed: f64) -> Result<Vec<Row>> {
    let (names, arguments): (Vec<String>, Vec<Vec<f64>>) = case.arguments().into_iter().unzip();
    let rounded: Vec<Vec<f32>> = arguments.iter().map(|a| a.iter().map(|&v| v as f32).collect()).collect();
    let exact = case.gradients(&mut Cpu::<f64>::new(), &rounded)?;
    let given = case.gradients(backend, &rounded)?;
    let mut rows = vec![];
    for (i, (by, exact)) in names.into_iter().zip(&exact).enumerate() {
        let mut at = arguments.clone();
        let (mut numeric, mut derived) = (vec![], vec![]);
        for component in case.looked_at(exact.len()) {
            let slope = difference::derivative(arguments[i][component], |x| {
                at[i][component] = x;
                case.loss(&at)
            })?;
            at[i][component] = arguments[i][component];
            numeric.push(slope);
            derived.push(f64::from(exact[component]));
        }
        let widened = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let (derivation, of_backend) = (distance(&derived, &numeric), distance(&widened(&given[i]), &widened(exact)));
        rows.push(Row { case: case.name(), by, components: exact.len(), derivation, backend: of_backend, allowed });
    }
    Ok(rows)
}

/// The largest difference, relative to the largest component; infinite for one that is no
/// number, and where there is nothing to compare: a gradient that is 0 everywhere checks nothing.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let largest = b.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    let worst = apart.fold(0.0, |m: f64, d| if d.is_nan() { f64::INFINITY } else { m.max(d) });
    if a.len() == b.len() && largest > 0.0 { worst / largest } else { f64::INFINITY }
}

/// Normal draws, rounded to 8 significant bits: numbers that every precision holds.
fn draws(lane: u32, len: usize) -> Vec<f64> {
    let stream = Stream::new(20_131_112, Purpose::Test, lane);
    (0..len as u64).map(|i| f64::from(half::bf16::from_f64(stream.normal(0, i)).to_f32())).collect()
}

/// A buffer that holds `values`.
fn filled<B: Storage>(backend: &mut B, role: Role, values: &[f32]) -> Result<B::Buf> {
    let mut buffer = backend.alloc(role, values.len())?;
    backend.upload(values, &mut buffer)?;
    Ok(buffer)
}

/// The first `len` values of a buffer.
fn values<B: Storage>(backend: &mut B, buffer: &B::Buf, len: usize) -> Result<Vec<f32>> {
    let mut values = vec![0.0; len];
    backend.download(buffer, &mut values)?;
    Ok(values)
}

/// Scalar product of `weights` and `values`.
fn projected(weights: &[f64], values: &[f64]) -> f64 {
    weights.iter().zip(values).map(|(w, v)| w * v).sum()
}

/// `values` in f32.
fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}
