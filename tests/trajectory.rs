//! One network trained on every backend: they follow one another.

use zfnet::device::Device;
use zfnet::device::watched::{Asked, Watched};
use zfnet::net::{Net, Param, Part, Pass, Update};
use zfnet::ops::{Backend, Cpu, Gpu, Precision, Version};
use zfnet::philox::{Purpose, Stream};

use crate::common::compare::assert_same_bits;
use crate::common::device::{emulator, gpu};
use crate::net::{CLASSES, TINY, batch, he, plan};

const STEPS: u64 = 20;
const N: usize = 4;
const SEED: u64 = 20_131_112;
/// A rate at which units stay alive: at 0.01 they fall silent within 12 steps, and a silent network follows anything.
const UPDATE: Update =
    Update { lr: 0.003, momentum: 0.9, weight_decay: 5e-4, decay_biases: false, rms_clip: Some(0.3) };

fn fresh<B: Backend>(backend: B) -> Net<B> {
    let mut net = Net::new(backend, plan(TINY, CLASSES), N, true, SEED).unwrap();
    net.init(he).unwrap();
    net
}

/// Mean losses of `STEPS` steps on three batches in turn, and the weights behind them. The steps are
/// asked for as the trainer does: each loss is read when the next step is under way.
fn train<B: Backend>(net: &mut Net<B>) -> (Vec<f64>, Vec<f32>) {
    let (mut losses, mut pending) = (vec![], None);
    for step in 0..STEPS {
        let (x, labels) = batch(step % 3, N, net.plan().input.len());
        net.load_input(&x, &labels).unwrap();
        let posted = net.train_step(step, &UPDATE).unwrap();
        if let Some(before) = pending.replace(posted) {
            losses.push(net.await_loss(before).unwrap().loss / N as f64);
        }
    }
    losses.push(net.await_loss(pending.unwrap()).unwrap().loss / N as f64);
    (losses, net.export(Part::Value).unwrap().into_iter().flat_map(|t| t.data).collect())
}

fn reference() -> Vec<f64> {
    let (losses, _) = train(&mut fresh(Cpu::<f64>::new()));
    // The last round of the batches is below chance: something is learned, or nothing is compared.
    let last = losses[17..].iter().sum::<f64>() / 3.0;
    assert!(last < 0.97 * (CLASSES as f64).ln(), "{losses:?}");
    losses
}

/// The relative size of the roundings of a precision's products: of the operands, or, in f32, of
/// sums of up to 200 terms, whose roundings have random signs.
fn roundoff(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 200f64.sqrt() * 2f64.powi(-24),
        other => other.operand_roundoff(),
    }
}

/// A random part of every weight, up to `roundoff` of its size.
fn shift(net: &Net<Cpu<f64>>, precision: Precision, step: u64, run: u32) -> Vec<Vec<f64>> {
    let of = |(p, param): (usize, &Param<Cpu<f64>>)| {
        let stream = Stream::new(SEED, Purpose::Test, 1000 + 100 * run + p as u32);
        let part = |i: usize| roundoff(precision) * (2.0 * f64::from(stream.uniform(step, i as u64)) - 1.0);
        param.value.iter().enumerate().map(|(i, v)| v * part(i)).collect()
    };
    net.params().iter().enumerate().map(of).collect()
}

fn move_by(net: &mut Net<Cpu<f64>>, shift: &[Vec<f64>], sign: f64) {
    for (param, shift) in net.params_mut().iter_mut().zip(shift) {
        param.value.iter_mut().zip(shift).for_each(|(v, by)| *v += sign * by);
    }
}

/// Runs in f64 from which it is measured how far roundings lead.
const DISTURBED: u32 = 4;

/// How far losses may be from f64's, as the root of the mean square over the steps: descent magnifies a
/// disturbance, by how much depends on network and data, so it is measured. Runs in f64 make every step with
/// weights that are off by up to `roundoff` of their size, as rounded operands are; a root of 3 for
/// the three operands that are rounded (weights, activations, gradients), and another for what one run
/// may be above the mean of a few.
fn allowed(precision: Precision, reference: &[f64]) -> f64 {
    let mut squares = vec![];
    for run in 0..DISTURBED {
        let mut net = fresh(Cpu::<f64>::new());
        for step in 0..STEPS {
            let shift = shift(&net, precision, step, run);
            move_by(&mut net, &shift, 1.0);
            let (x, labels) = batch(step % 3, N, net.plan().input.len());
            net.load_input(&x, &labels).unwrap();
            let posted = net.train_step(step, &UPDATE).unwrap();
            let loss = net.await_loss(posted).unwrap().loss / N as f64;
            squares.push((loss - reference[step as usize]).powi(2));
            move_by(&mut net, &shift, -1.0);
        }
    }
    3.0 * (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}

/// The root of the mean square of the losses' differences, which must be `allowed`.
#[track_caller]
fn assert_follows(what: &str, losses: &[f64], reference: &[f64], allowed: f64) -> f64 {
    assert_eq!(losses.len(), reference.len());
    let squares = losses.iter().zip(reference).map(|(loss, expected)| (loss - expected).powi(2));
    let apart = (squares.sum::<f64>() / losses.len() as f64).sqrt();
    println!("{what}: {apart:.1e} apart over 20 steps, {allowed:.1e} allowed");
    assert!(apart <= allowed, "{what}: {apart:e} apart, {allowed:e} allowed; {losses:?}, f64 has {reference:?}");
    apart
}

#[test]
fn cpu_f32_follows_f64() {
    let (losses, _) = train(&mut fresh(Cpu::<f32>::new()));
    let reference = reference();
    assert_follows("f32", &losses, &reference, allowed(Precision::F32, &reference));
}

/// Every precision and the naive kernels follow, none so closely that a coarser one could pass for it; two
/// runs give the same bits, under another order of threads too.
fn follows<D: Device>(open: impl Fn(u64) -> D) {
    let reference = reference();
    let backends = |seed: u64| {
        let fast = |precision| Gpu::new(open(seed), precision);
        [Gpu::naive(open(seed)), fast(Precision::F32), fast(Precision::Tf32), fast(Precision::Bf16)]
    };
    let mut finer = 0.0;
    for (first, second) in backends(0).into_iter().zip(backends(7)) {
        let (precision, version) = (first.precision(), first.version());
        let what = format!("{precision}, {version:?}");
        let (losses, weights) = train(&mut fresh(first));
        let allowed = allowed(precision, &reference);
        let apart = assert_follows(&what, &losses, &reference, allowed);
        if precision != Precision::F32 {
            assert!(apart > finer, "{what} is {apart:e} apart, which the next finer precision may be: {finer:e}");
        }
        finer = allowed;
        if version != Version::Naive {
            let (again, same_weights) = train(&mut fresh(second));
            assert_same_bits(&format!("{what}: losses"), &again, &losses);
            assert_same_bits(&format!("{what}: weights"), &same_weights, &weights);
        }
    }
}

#[test]
fn on_the_emulator() {
    follows(emulator);
}

#[test]
fn on_a_gpu() {
    if gpu().is_some() {
        follows(|_| gpu().unwrap());
    }
}

/// A recorded step is the step: 20 of them, replayed from the third on, and 20 walked one operation
/// at a time give the same bits. Replaying allocates and copies nothing.
fn a_replayed_step_is_the_step<D: Device>(open: impl Fn() -> D) {
    let (device, asked) = Watched::new(open());
    let mut recorded = fresh(Gpu::new(device, Precision::F32));
    let (losses, weights) = train(&mut recorded);

    let mut walked = fresh(Gpu::new(open(), Precision::F32));
    let mut walked_losses = vec![];
    for step in 0..STEPS {
        let (x, labels) = batch(step % 3, N, walked.plan().input.len());
        walked.load_input(&x, &labels).unwrap();
        let pass = Pass::Train { step };
        walked.forward(pass).unwrap();
        walked_losses.push(walked.backward(pass).unwrap().loss / N as f64);
        walked.update(&UPDATE).unwrap();
    }
    assert_same_bits("losses", &losses, &walked_losses);
    let walked_weights: Vec<f32> = walked.export(Part::Value).unwrap().into_iter().flat_map(|t| t.data).collect();
    assert_same_bits("weights", &weights, &walked_weights);

    let (x, labels) = batch(0, N, recorded.plan().input.len());
    recorded.load_input(&x, &labels).unwrap();
    asked.try_iter().for_each(drop);
    let posted = recorded.train_step(STEPS, &UPDATE).unwrap();
    // The scalars, the replay, and the loss on its way to the host.
    assert_eq!(asked.try_iter().collect::<Vec<_>>(), [Asked::Launch("scalars_set_1"), Asked::HostCopy]);
    recorded.await_loss(posted).unwrap();
}

#[test]
fn replayed_on_the_emulator() {
    a_replayed_step_is_the_step(|| emulator(3));
}

#[test]
fn replayed_on_a_gpu() {
    if gpu().is_some() {
        a_replayed_step_is_the_step(|| gpu().unwrap());
    }
}
