//! The operations at ZFNet's shapes, one at a time: `cargo bench --bench ops [-- FILTER]`.
//!
//! Each is verified before it is timed: f32 on a batch of one against f64, which
//! the tests hold against direct loops and finite differences. Rates are in
//! elements (floating-point operations) or in bytes of memory traffic. For
//! the same operations inside a training step, see `zfnet bench step --profile`.
#![allow(non_snake_case)]

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use zfnet::bench::Cost;
use zfnet::error::Result;
use zfnet::net::{Layer, LayerOp, Plan};
use zfnet::ops::conv::{Conv, ConvOp};
use zfnet::ops::linear::{Linear, LinearOp};
use zfnet::ops::lrn::{Lrn, LrnOp};
use zfnet::ops::pool::{Pool, PoolOp, UnpoolMode};
use zfnet::ops::{Cpu, Real};
use zfnet::philox::{Purpose, Stream};
use zfnet::train::Config;

/// Images of a timed call: the tiles are full, and the whole takes a minute.
const BATCH: usize = 4;

/// Relative to the largest value of the result: sums of up to N P Q = 12100 terms
/// (conv1's weight gradient) in f32, each rounded to 6e-8 of a partial sum, with
/// random signs; a wrong index is off by about 1.
const TOLERANCE: f64 = 1e-4;

/// One operation of one layer.
#[derive(Clone, Copy)]
enum Case {
    Fprop(Conv),
    Dgrad(Conv),
    Wgrad(Conv),
    LinearFprop(Linear),
    LinearDgrad(Linear),
    LinearWgrad(Linear),
    Pool(Pool),
    Unpool(Pool),
    Lrn(Lrn, usize, usize),         // rows of one image, C
    LrnBackward(Lrn, usize, usize), // rows of one image, C
}

/// What a case reads and writes.
struct Operands<T> {
    a: Vec<T>,    // x, or dy of a data gradient, or the pooled values
    b: Vec<T>,    // weights, or the other operand of a weight gradient
    bias: Vec<T>, // (K), read or written
    y: Vec<T>,    // the result
    switches: Vec<u8>,
}

impl Case {
    fn all_of(layer: &Layer, is_first: bool) -> Vec<(&'static str, Case)> {
        let mut cases = match layer.op {
            LayerOp::Conv { conv, .. } => {
                vec![("fprop", Case::Fprop(conv)), ("dgrad", Case::Dgrad(conv)), ("wgrad", Case::Wgrad(conv))]
            }
            LayerOp::Pool(pool) => vec![("forward", Case::Pool(pool)), ("backward", Case::Unpool(pool))],
            LayerOp::Lrn(lrn) => {
                let (rows, C) = (layer.input.H * layer.input.W, layer.input.C);
                vec![("forward", Case::Lrn(lrn, rows, C)), ("backward", Case::LrnBackward(lrn, rows, C))]
            }
            LayerOp::Linear { linear, .. } => vec![
                ("fprop", Case::LinearFprop(linear)),
                ("dgrad", Case::LinearDgrad(linear)),
                ("wgrad", Case::LinearWgrad(linear)),
            ],
        };
        // Nothing below the first layer wants a gradient.
        cases.retain(|(name, _)| !(is_first && *name == "dgrad"));
        cases
    }

    fn cost(&self, N: usize) -> Cost {
        match self {
            Case::Fprop(conv) | Case::Dgrad(conv) | Case::Wgrad(conv) => Cost::conv(conv, N),
            Case::LinearFprop(fc) | Case::LinearDgrad(fc) | Case::LinearWgrad(fc) => Cost::linear(fc, N),
            Case::Pool(pool) | Case::Unpool(pool) => Cost::pool(pool, N),
            Case::Lrn(_, rows, C) => Cost::memory(2 * N * rows * C),
            Case::LrnBackward(_, rows, C) => Cost::memory(3 * N * rows * C),
        }
    }

    /// Elements of a, b, bias and y.
    fn sizes(&self, N: usize) -> [usize; 4] {
        match self {
            Case::Fprop(c) => [N * c.input().len(), c.weights(), c.K, N * c.output().len()],
            Case::Dgrad(c) => [N * c.output().len(), c.weights(), 0, N * c.input().len()],
            Case::Wgrad(c) => [N * c.input().len(), N * c.output().len(), c.K, c.weights()],
            Case::LinearFprop(l) => [N * l.inputs, l.weights(), l.outputs, N * l.outputs],
            Case::LinearDgrad(l) => [N * l.outputs, l.weights(), 0, N * l.inputs],
            Case::LinearWgrad(l) => [N * l.inputs, N * l.outputs, l.outputs, l.weights()],
            Case::Pool(p) => [N * p.input().len(), 0, 0, N * p.output().len()],
            Case::Unpool(p) => [N * p.output().len(), 0, 0, N * p.input().len()],
            Case::Lrn(_, rows, C) => [N * rows * C, 0, 0, N * rows * C],
            Case::LrnBackward(_, rows, C) => [N * rows * C, N * rows * C, 0, N * rows * C],
        }
    }

    /// Random operands, the same in every T, and a result of NaN.
    fn operands<T: Real>(&self, N: usize) -> Operands<T> {
        let [a, b, bias, y] = self.sizes(N);
        let switches = match self {
            Case::Pool(p) | Case::Unpool(p) => draws(3, N * p.output().len(), |u| (9.0 * u) as u8),
            _ => Vec::new(),
        };
        let values = |lane, len| draws(lane, len, |u| T::of(f64::from(u - 0.5)));
        Operands { a: values(0, a), b: values(1, b), bias: values(2, bias), y: vec![T::of(f64::NAN); y], switches }
    }

    fn run<T: Real>(&self, cpu: &mut Cpu<T>, N: usize, o: &mut Operands<T>) -> Result<()> {
        let Operands { a, b, bias, y, switches } = o;
        match self {
            Case::Fprop(conv) => cpu.conv_fprop(conv, N, a, b, bias, true, y),
            Case::Dgrad(conv) => cpu.conv_dgrad(conv, N, a, b, y),
            Case::Wgrad(conv) => cpu.conv_wgrad(conv, N, a, b, y, bias),
            Case::LinearFprop(linear) => cpu.linear_fprop(linear, N, a, b, bias, true, y),
            Case::LinearDgrad(linear) => cpu.linear_dgrad(linear, N, a, b, y),
            Case::LinearWgrad(linear) => cpu.linear_wgrad(linear, N, a, b, y, bias),
            Case::Pool(pool) => cpu.pool_forward(pool, N, a, y, switches),
            Case::Unpool(pool) => cpu.unpool(pool, N, UnpoolMode::Add, a, switches, y),
            Case::Lrn(lrn, rows, C) => cpu.lrn_forward(lrn, N * rows, *C, a, y),
            Case::LrnBackward(lrn, rows, C) => cpu.lrn_backward(lrn, N * rows, *C, a, b, y),
        }
    }

    /// The largest error of f32 against f64, relative to the largest value.
    fn error(&self) -> Result<f64> {
        let (mut single, mut double) = (self.operands::<f32>(1), self.operands::<f64>(1));
        self.run(&mut Cpu::new(), 1, &mut single)?;
        self.run(&mut Cpu::new(), 1, &mut double)?;
        let results = || single.y.iter().chain(&single.bias).zip(double.y.iter().chain(&double.bias));
        let largest = results().fold(0.0, |m: f64, (_, d)| m.max(d.abs()));
        // f64::max would pass over a NaN.
        let error = results().map(|(s, d)| (f64::from(*s) - d).abs());
        Ok(error.fold(0.0, |m: f64, e| if e <= m { m } else { e }) / largest)
    }
}

/// `len` values made of uniform draws in [0, 1).
fn draws<V>(lane: u32, len: usize, value: impl Fn(f32) -> V) -> Vec<V> {
    let stream = Stream::new(1, Purpose::Test, lane);
    (0..len as u64).map(|i| value(stream.uniform(0, i))).collect()
}

fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    let plan = Plan::new(&Config::preset("zfnet")?.net, 1000)?;
    let mut cpu = Cpu::<f32>::new();
    for (i, layer) in plan.layers.iter().enumerate() {
        let mut group = criterion.benchmark_group(&layer.name);
        group.sampling_mode(SamplingMode::Flat);
        for (name, case) in Case::all_of(layer, i == 0) {
            let cost = case.cost(BATCH);
            group.throughput(match cost.flops {
                0 => Throughput::Bytes(cost.traffic(std::mem::size_of::<f32>())),
                flops => Throughput::Elements(flops),
            });
            let mut operands = None;
            group.bench_function(name, |bencher| {
                // Here, so that what the filter leaves out costs nothing.
                let operands = operands.get_or_insert_with(|| {
                    let error = case.error().unwrap_or_else(|e| panic!("{} {name}: {e}", layer.name));
                    assert!(error <= TOLERANCE, "{} {name} is wrong by {error}", layer.name);
                    case.operands::<f32>(BATCH)
                });
                bencher.iter(|| case.run(&mut cpu, BATCH, operands).unwrap_or_else(|e| panic!("{name}: {e}")));
            });
        }
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}
