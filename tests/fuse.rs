//! A fused step is the step: the same bits as its operations one after the other.

use zfnet::device::Device;
use zfnet::error::Result;
use zfnet::net::{Keep, Net, Part, Pass, Reverse, Update};
use zfnet::ops::pool::{Pool, Rounding, UnpoolMode};
use zfnet::ops::relu::ReluRule;
use zfnet::ops::{Backend, Cpu, Gpu, Precision, Real, Role};
use zfnet::tensor::Extent;
use zfnet::train::trainer::Options;

use crate::common::compare::assert_same_bits;
use crate::common::device::{emulator, gpu};
use crate::common::gpu::representable;
use crate::common::on_cpu;
use crate::common::values::normal;
use crate::fixture;
use crate::net::{CLASSES, TINY, batch, he, plan};
use crate::resume::Watcher;

const SEED: u64 = 7;
const UPDATE: Update = Update { lr: 0.01, momentum: 0.9, weight_decay: 5e-4, decay_biases: true, rms_clip: Some(0.3) };

/// A rectified map with everything that a mask may meet: positive numbers, zeros of both signs, ties, a NaN.
fn rectified(len: usize) -> Vec<f32> {
    let mut y: Vec<f32> = normal::<f32>(1, len).into_iter().map(|v| v.max(0.0)).collect();
    y.iter_mut().step_by(13).for_each(|v| *v = -0.0);
    y.iter_mut().step_by(17).for_each(|v| *v = 1.5);
    y[5] = f32::NAN;
    y
}

/// dx by the mask before unpooling, and by the mask behind it.
fn masked<B: Backend>(backend: &mut B, pool: &Pool, N: usize, y: &[f32], da: &[f32]) -> [Vec<f32>; 2] {
    let (image, map) = (N * pool.input().len(), N * pool.output().len());
    let filled = |backend: &mut B, values: &[f32]| {
        let mut buffer = backend.alloc(Role::Activation, values.len()).unwrap();
        backend.upload(values, &mut buffer).unwrap();
        buffer
    };
    let y = filled(backend, y);
    let (mut a, mut switches) = (filled(backend, &vec![f32::NAN; map]), backend.alloc_bytes(map).unwrap());
    backend.pool_forward(pool, N, &y, &mut a, &mut switches).unwrap();
    let mut dx = [false, true].map(|before| {
        let (mut da, mut dx) = (filled(backend, da), filled(backend, &vec![f32::NAN; image]));
        if before {
            backend.relu_backward(ReluRule::Gradient, map, &a, &mut da).unwrap();
        }
        backend.unpool(pool, N, UnpoolMode::Add, &da, &switches, &mut dx).unwrap();
        if !before {
            backend.relu_backward(ReluRule::Gradient, image, &y, &mut dx).unwrap();
        }
        let mut values = vec![0.0; image];
        backend.download(&dx, &mut values).unwrap();
        values
    });
    dx.reverse();
    dx
}

fn assert_mask_may_come_first<B: Backend>(backend: &mut B, round: impl Fn(&B, &[f32]) -> Vec<f32>) {
    for (input, kernel, stride, N) in [([11, 9, 8], 3, 2, 2), ([10, 13, 3], 3, 2, 1), ([7, 6, 5], 2, 3, 2)] {
        let pool = Pool::new(Extent::new(input[0], input[1], input[2]), kernel, stride, Rounding::Ceil).unwrap();
        let y = round(backend, &rectified(N * pool.input().len()));
        let mut da = round(backend, &normal::<f32>(2, N * pool.output().len()));
        da[3] = f32::NAN;
        let [before, behind] = masked(backend, &pool, N, &y, &da);
        assert_same_bits(&format!("{pool:?}"), &before, &behind);
        assert!(before.iter().any(|v| *v != 0.0 && v.is_finite()), "nothing passes");
    }
}

fn the_mask_may_come_before_unpooling<T: Real>()
where
    Cpu<T>: Backend<Buf = Vec<T>>,
{
    assert_mask_may_come_first(&mut Cpu::<T>::new(), |_, values| values.to_vec());
}
on_cpu!(the_mask_may_come_before_unpooling);

fn the_mask_may_come_first_on_a_gpu(gpu: &mut Gpu<impl Device>) {
    assert_mask_may_come_first(gpu, |gpu, values| representable(gpu, values));
}
crate::common::gpu::on_gpus!(the_mask_may_come_first_on_a_gpu);

/// A pool on a convolution without ReLU, which wants no mask.
const UNRECTIFIED: &str = r#"
[net]
name = "unrectified"
input = 17

[[layer]]
conv = "conv1"
filters = 8
kernel = 3
stride = 2
relu = false

[[layer]]
pool = "pool1"
kernel = 3
stride = 2

[[layer]]
linear = "fc2"
"#;

/// Losses of some steps, and all parameters with their momentum behind them.
fn trained<B: Backend>(backend: B, text: &str, fused: bool) -> (Vec<f64>, Vec<f32>) {
    const N: usize = 4;
    let mut net = Net::new(backend, plan(text, CLASSES), N, true, SEED).unwrap();
    net.set_fused(fused);
    net.init(he).unwrap();
    let losses = (0..4).map(|step| {
        let (x, labels) = batch(step % 3, N, net.plan().input.len());
        net.load_input(&x, &labels).unwrap();
        let posted = net.train_step(step, &UPDATE).unwrap();
        net.await_loss(posted).unwrap().loss
    });
    let losses: Vec<f64> = losses.collect();
    assert!(losses[0] != losses[3], "the run stood still: it compares nothing");
    let parts = [Part::Value, Part::Momentum].map(|part| net.export(part).unwrap());
    (losses, parts.into_iter().flatten().flat_map(|tensor| tensor.data).collect())
}

fn assert_fused_is_unfused<B: Backend>(what: &str, open: impl Fn() -> B) {
    for text in [TINY, UNRECTIFIED] {
        let [fused, unfused] = [true, false].map(|fused| trained(open(), text, fused));
        assert_same_bits(&format!("{what}: losses"), &fused.0, &unfused.0);
        assert_same_bits(&format!("{what}: parameters and momentum"), &fused.1, &unfused.1);
    }
}

fn trajectories<T: Real>()
where
    Cpu<T>: Backend<Buf = Vec<T>>,
{
    assert_fused_is_unfused(T::NAME, Cpu::<T>::new);
}
on_cpu!(trajectories);

fn trajectories_on<D: Device>(open: impl Fn() -> D) {
    assert_fused_is_unfused("naive", || Gpu::naive(open()));
    assert_fused_is_unfused("portable bf16", || Gpu::portable(open(), Precision::Bf16));
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        assert_fused_is_unfused(&precision.to_string(), || Gpu::new(open(), precision));
    }
}

#[test]
fn trajectories_on_the_emulator() {
    trajectories_on(|| emulator(5));
}

#[test]
fn trajectories_on_a_gpu() {
    if gpu().is_some() {
        trajectories_on(|| gpu().unwrap());
    }
}

/// What a fused step does not write nobody reads: not as a blob, not on the way down; and it is there again
/// after a walk that keeps everything.
#[test]
fn a_blob_that_was_not_kept_is_refused() {
    let mut net = Net::new(Gpu::new(emulator(0), Precision::Bf16), plan(TINY, CLASSES), 2, true, SEED).unwrap();
    net.init(he).unwrap();
    let (x, labels) = batch(0, 2, net.plan().input.len());
    net.load_input(&x, &labels).unwrap();
    let step = |net: &mut Net<_>| {
        let posted = net.train_step(0, &UPDATE).unwrap();
        net.await_loss(posted).unwrap();
    };
    let gradient = |net: &mut Net<_>| net.project("fc4", &[Keep::Layer; 2], &Reverse::GRADIENT).map(|_| ());
    let refused = |result: Result<()>| result.unwrap_err().to_string().contains("did not keep its output");
    step(&mut net);
    assert!(refused(net.blob("conv1").map(|_| ())));
    assert!(refused(gradient(&mut net)));
    assert!(refused(net.backward(Pass::Eval).map(|_| ())));
    assert_eq!(net.first_non_finite().unwrap(), None);
    for kept in ["pool1", "lrn1", "conv2", "fc5"] {
        assert!(net.blob(kept).unwrap().iter().all(|v| v.is_finite()), "{kept}");
    }
    net.forward(Pass::Eval).unwrap();
    assert!(net.blob("conv1").unwrap().iter().any(|v| *v > 0.0));
    gradient(&mut net).unwrap();
    net.set_fused(false);
    step(&mut net);
    net.blob("conv1").unwrap();
}

/// Between steps, somebody may update by himself: a step is recorded with its own table of tensors.
#[test]
fn an_update_between_steps_is_no_harm() {
    let run = |fused: bool| {
        let mut net = Net::new(Gpu::new(emulator(0), Precision::Bf16), plan(TINY, CLASSES), 2, true, SEED).unwrap();
        net.set_fused(fused);
        net.init(he).unwrap();
        let (x, labels) = batch(0, 2, net.plan().input.len());
        net.load_input(&x, &labels).unwrap();
        for step in 0..4 {
            let posted = net.train_step(2 * step, &UPDATE).unwrap();
            net.await_loss(posted).unwrap();
            let pass = Pass::Train { step: 2 * step + 1 };
            net.forward(pass).unwrap();
            net.backward(pass).unwrap();
            net.update(&UPDATE).unwrap();
        }
        net.export(Part::Value).unwrap().into_iter().flat_map(|tensor| tensor.data).collect::<Vec<_>>()
    };
    assert_same_bits("weights", &run(true), &run(false));
}

/// The switch is no part of a run: one that is stopped and goes on the other way is the same run.
#[test]
fn a_run_goes_on_across_the_switch() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let [fused, unfused] = [true, false].map(|fused| Options { fused, ..fixture::options() });
    let weights = |out: &std::path::Path| std::fs::read(out.join("last.safetensors")).unwrap();
    let (whole, resumed) = (folder.path().join("whole"), folder.path().join("resumed"));
    fixture::train(&data, &whole, &fixture::config(), &fused, &mut Watcher::default()).unwrap();
    let mut first = Watcher { stop_after: Some(5), ..Watcher::default() };
    fixture::train(&data, &resumed, &fixture::config(), &fused, &mut first).unwrap_err();
    fixture::resume(&data, &resumed, &unfused, &mut Watcher::default()).unwrap();
    assert!(weights(&whole) == weights(&resumed), "the last checkpoints differ");
}
