use half::bf16;
use zfnet::device::Device;
use zfnet::device::watched::{Asked, Watched};
use zfnet::error::Result;
use zfnet::ops::sgd::{SgdOp, SgdTensor};
use zfnet::ops::{Cpu, Gpu, GpuBuf, Precision, Real, Role, StepScalars, Storage};

use crate::common::compare::{
    Tolerance, assert_close, assert_close_by, assert_refused, assert_same_bits, assert_thread_independent, roundoff,
};
use crate::common::device::emulator;
use crate::common::goldens::cases;
use crate::common::gpu::{SLACK, filled, on_gpus, written};
use crate::common::on_cpu;
use crate::common::values::{cast, dot, normal};

/// One step of the first `len` values of one tensor, all of which decay.
fn update<T: Real>(scalars: &StepScalars, len: usize, g: &Vec<T>, v: &mut Vec<T>, w: &mut Vec<T>) -> Result<()> {
    let tensor = SgdTensor { K: len, M: 1, decays: true, rms_clip: None, g, v, w };
    Cpu::new().sgd_step(scalars, &mut [tensor])
}

/// Three steps, weights and momentum after each. In the case whose rate drops,
/// Caffe's form of momentum would give other weights: the test tells them apart.
fn goldens<T: Real>() {
    let mut told_apart = false;
    for case in cases("sgd").unwrap_or_default() {
        let mut w = case.values::<T>("p0");
        let mut v = vec![T::ZERO; w.len()];
        for (j, lr) in (1..).zip(case.numbers("lr")) {
            let step = StepScalars {
                step: 0,
                lr,
                momentum: case.number("momentum"),
                weight_decay: case.number("weight_decay"),
            };
            update(&step, w.len(), &case.values(&format!("g{j}")), &mut v, &mut w).unwrap();
            let (p, velocity) = (format!("p{j}"), format!("v{j}"));
            // Each step adds four roundings of values no larger than the largest.
            let tolerance = |name: &str| {
                let roundings = 4.0 * f64::from(j) * roundoff::<T>();
                case.tolerance::<T>(name).and_abs(roundings * case.largest(name).max(1.0))
            };
            assert_close(&format!("{}/{p}", case.name), &w, &case.tensor(&p).values, tolerance(&p));
            // PyTorch keeps no buffer if there is no momentum.
            if step.momentum != 0.0 {
                let expected = &case.tensor(&velocity).values;
                assert_close(&format!("{}/{velocity}", case.name), &v, expected, tolerance(&velocity));
            }
            let caffe = &case.tensor(&format!("{p}_caffe")).values;
            let apart = w.iter().zip(caffe).any(|(w, c)| (w.f64() - c).abs() > 1e-3);
            assert_eq!(apart, j == 3 && case.numbers("lr")[2] != case.numbers("lr")[0], "{}/{p}_caffe", case.name);
            told_apart |= apart;
        }
    }
    assert!(told_apart || cases("sgd").is_none(), "no case drops the rate");
}

/// The formula, over more elements than a task takes at a time.
fn one_step<T: Real>() {
    let len = 40_001;
    let (g, v0, w0) = (normal::<T>(1, len), normal::<T>(2, len), normal::<T>(3, len));
    let (mut v, mut w) = (v0.clone(), w0.clone());
    let step = StepScalars { step: 0, lr: 0.5, momentum: 0.75, weight_decay: 0.125 };
    update(&step, len - 1, &g, &mut v, &mut w).unwrap();
    let expected = (0..len - 1).map(|i| {
        let v = 0.75 * v0[i].f64() + g[i].f64() + 0.125 * w0[i].f64();
        (v, w0[i].f64() - 0.5 * v)
    });
    let (expected_v, expected_w): (Vec<f64>, Vec<f64>) = expected.unzip();
    // The terms are below 8; four roundings each.
    let tolerance = Tolerance::abs(4.0 * 8.0 * roundoff::<T>());
    assert_close("v", &v[..len - 1], &expected_v, tolerance);
    assert_close("w", &w[..len - 1], &expected_w, tolerance);
    assert_same_bits("past the end", &[v[len - 1], w[len - 1]], &[v0[len - 1], w0[len - 1]]);
}

/// A step at rate 0: only the clip changes anything.
fn clip<T: Real>(radius: f64, K: usize, w: &[T]) -> Vec<T> {
    let (g, mut v, mut w) = (vec![T::ZERO; w.len()], vec![T::ZERO; w.len()], w.to_vec());
    let M = w.len() / K;
    let tensor = SgdTensor { K, M, decays: false, rms_clip: Some(radius), g: &g, v: &mut v, w: &mut w };
    Cpu::new().sgd_step(&StepScalars::default(), &mut [tensor]).unwrap();
    w
}

fn norm<T: Real>(w: &[T]) -> f64 {
    w.iter().map(|v| v.f64() * v.f64()).sum::<f64>().sqrt()
}

/// The paper's radius on the filters of conv1 to conv5: the caps on their L2 norms.
fn rms_clip_caps<T: Real>() {
    let filters = [(7 * 7 * 3, 1.2124), (5 * 5 * 96, 4.8990), (3 * 3 * 256, 4.8000), (3 * 3 * 384, 5.8788)];
    for (M, cap) in filters {
        let w = normal::<T>(M as u32, 3 * M);
        let clipped = clip(0.1, 3, &w);
        for (before, after) in w.chunks(M).zip(clipped.chunks(M)) {
            assert_close("norm", &[norm(after)], &[cap], Tolerance::abs(0.5e-4));
            let (before, after) = (cast::<T, f64>(before), cast::<T, f64>(after));
            let cosine = dot(&before, &after) / (norm(&before) * norm(&after));
            // The three sums round as well, at most once a term.
            let tolerance = Tolerance::abs(4.0 * roundoff::<T>() + 3.0 * M as f64 * roundoff::<f64>());
            assert_close("direction", &[cosine], &[1.0], tolerance);
        }
        // In f32 a clipped filter misses the radius by less than its elements can
        // show. In f64 the sum's own roundings (eight interleaved ones) remain.
        let again = clip(0.1, 3, &clipped);
        let roundings = if size_of::<T>() == 4 { 0.0 } else { M as f64 / 8.0 + 12.0 };
        assert_close("idempotent", &again, &cast(&clipped), Tolerance::rel(roundings * roundoff::<T>()));
    }
}

/// Only filters above the radius change: others keep their bits, also exactly at it.
fn rms_clip_keeps_what_is_within<T: Real>() {
    let M = 19;
    let small = normal::<T>(1, M).into_iter().map(|v| v * T::of(0.01));
    let exact = [T::of(0.5), T::of(-0.5)].into_iter().cycle().take(M);
    let large = normal::<T>(2, M).into_iter().map(|v| v + T::of(3.0));
    let w: Vec<T> = small.chain(exact).chain(large).collect();
    let clipped = clip(0.5, 3, &w);
    assert_same_bits("within", &clipped[..2 * M], &w[..2 * M]);
    let (rms, expected) = ([norm(&clipped[2 * M..]) / (M as f64).sqrt()], [0.5]);
    assert_close("rms", &rms, &expected, Tolerance::rel(2.0 * roundoff::<T>()));
    assert!(clip(0.5, 1, &[T::of(f64::NAN), T::ZERO])[0].is_nan(), "NaN is not hidden");
}

on_cpu!(goldens, one_step, rms_clip_caps, rms_clip_keeps_what_is_within);

/// A tensor of the updates below: its shape, whether it decays, its radius, and the spread of its weights.
#[derive(Clone, Copy)]
struct Shape {
    K: usize,
    M: usize,
    decays: bool,
    rms_clip: Option<f64>,
    spread: f32,
}

/// Filters that are all clipped, at odd addresses; filters well within the radius; biases; several chunks and a rest.
const SHAPES: [Shape; 4] = [
    Shape { K: 5, M: 147, decays: true, rms_clip: Some(0.1), spread: 1.0 },
    Shape { K: 3, M: 36, decays: true, rms_clip: Some(100.0), spread: 1.0 },
    Shape { K: 7, M: 1, decays: false, rms_clip: None, spread: 0.1 },
    Shape { K: 2, M: 4099, decays: true, rms_clip: None, spread: 0.05 },
];

/// g, v and w of a tensor on a device, with NaNs behind what belongs to it, and what v and w hold.
struct OnDevice<M> {
    shape: Shape,
    buffers: [GpuBuf<M>; 3],
    values: [Vec<f32>; 3],
}

fn on_device<D: Device>(gpu: &mut Gpu<D>, lane: u32, shape: Shape) -> OnDevice<D::Buffer> {
    let len = shape.K * shape.M;
    let draw = |i: u32| normal::<f32>(lane + i, len).into_iter().map(|v| v * shape.spread).collect::<Vec<_>>();
    let values = [0, 1, 2].map(draw);
    let roles = [Role::Full, Role::Full, Role::Weight];
    let buffers = [0, 1, 2].map(|i| filled(gpu, roles[i], &[&values[i][..], &[f32::NAN; SLACK]].concat()));
    OnDevice { shape, buffers, values }
}

fn sgd_tensors<'a, M>(tensors: &'a mut [OnDevice<M>]) -> Vec<SgdTensor<'a, GpuBuf<M>>> {
    let tensor = |OnDevice { shape, buffers: [g, v, w], .. }: &'a mut OnDevice<M>| {
        let Shape { K, M, decays, rms_clip, .. } = *shape;
        SgdTensor { K, M, decays, rms_clip, g, v, w }
    };
    tensors.iter_mut().map(tensor).collect()
}

fn gpu_step<D: Device>(gpu: &mut Gpu<D>, step: &StepScalars, tensors: &mut [OnDevice<D::Buffer>]) {
    let mut scalars = gpu.alloc_scalars().unwrap();
    gpu.set_scalars(step, &mut scalars).unwrap();
    gpu.sgd_step(&scalars, &mut sgd_tensors(tensors)).unwrap();
}

/// One step of a tensor in f64, with the errors that f32 may add to v and w: the rates are rounded too.
fn oracle(step: &StepScalars, shape: &Shape, [g, v, w]: [&[f32]; 3]) -> [(Vec<f64>, Vec<f64>); 2] {
    let u = roundoff::<f32>();
    let decay = if shape.decays { step.weight_decay } else { 0.0 };
    let (mut vs, mut ws) = ((vec![], vec![]), (vec![], vec![]));
    for ((&g, &v), &w) in g.iter().zip(v).zip(w) {
        let (g, v, w) = (f64::from(g), f64::from(v), f64::from(w));
        let v1 = step.momentum * v + g + decay * w;
        let error = 5.0 * u * ((step.momentum * v).abs() + g.abs() + (decay * w).abs());
        vs.0.push(v1);
        vs.1.push(error);
        ws.0.push(w - step.lr * v1);
        ws.1.push(step.lr * error + 3.0 * u * (w.abs() + (step.lr * v1).abs()));
    }
    if let Some(radius) = shape.rms_clip {
        for (w, error) in ws.0.chunks_mut(shape.M).zip(ws.1.chunks_mut(shape.M)) {
            let rms = norm(w) / (shape.M as f64).sqrt();
            if rms > radius {
                // The RMS errs by no more than the largest error of a weight.
                let largest = error.iter().copied().fold(0.0, f64::max);
                w.iter_mut().for_each(|w| *w *= radius / rms);
                error.iter_mut().zip(w).for_each(|(e, w)| *e = *e * radius / rms + w.abs() * (largest / rms + 2.0 * u));
            }
        }
    }
    [vs, ws]
}

/// Three steps over all tensors, each from what the device held before it; another list of tensors in between.
fn gpu_agrees_with_oracle(gpu: &mut Gpu<impl Device>) {
    let mut tensors: Vec<_> = (0..).zip(SHAPES).map(|(i, shape)| on_device(gpu, 10 * i, shape)).collect();
    for (step, lr) in [(0, 0.05), (1, 0.05), (2, 0.01)] {
        let step = StepScalars { step, lr, momentum: 0.9, weight_decay: 5e-4 };
        if step.step == 2 {
            tensors.remove(1);
            tensors[0].shape.rms_clip = None;
        }
        gpu_step(gpu, &step, &mut tensors);
        for OnDevice { shape, buffers: [_, v, w], values } in &mut tensors {
            let len = shape.K * shape.M;
            let what = format!("step {}, ({}, {})", step.step, shape.K, shape.M);
            let [vs, ws] = oracle(&step, shape, [&values[0], &values[1], &values[2]]);
            values[1] = written(gpu, v, len);
            values[2] = written(gpu, w, len);
            assert_close_by(&format!("v, {what}"), &values[1], &vs.0, |i| vs.1[i]);
            assert_close_by(&format!("w, {what}"), &values[2], &ws.0, |i| ws.1[i]);
            let mut copy = vec![f32::NAN; len];
            gpu.download_rounded(w, &mut copy).unwrap();
            let rounds = gpu.precision() == Precision::Bf16;
            let rounded = values[2].iter().map(|&w| if rounds { bf16::from_f32(w).to_f32() } else { w });
            assert_same_bits(&format!("copy, {what}"), &copy, &rounded.collect::<Vec<_>>());
        }
    }
}

/// As on the CPU: [`rms_clip_keeps_what_is_within`]; and the same bits twice.
fn gpu_keeps_what_is_within(gpu: &mut Gpu<impl Device>) {
    let M = 19;
    let small = normal::<f32>(1, M).into_iter().map(|v| v * 0.01);
    let exact = [0.5, -0.5].into_iter().cycle().take(M);
    let large = normal::<f32>(2, M).into_iter().map(|v| v + 3.0);
    let nan = [f32::NAN].into_iter().cycle().take(M);
    let w: Vec<f32> = small.chain(exact).chain(large).chain(nan).collect();
    let shape = Shape { K: 4, M, decays: false, rms_clip: Some(0.5), spread: 0.0 };
    let mut run = || {
        let mut tensor = on_device(gpu, 1, shape);
        gpu.upload(&w, &mut tensor.buffers[2]).unwrap();
        gpu_step(gpu, &StepScalars::default(), std::slice::from_mut(&mut tensor));
        written(gpu, &tensor.buffers[2], 4 * M)
    };
    let clipped = run();
    assert_same_bits("twice", &run(), &clipped);
    assert_same_bits("within", &clipped[..2 * M], &w[..2 * M]);
    let rms = norm(&clipped[2 * M..3 * M]) / (M as f64).sqrt();
    assert_close("rms", &[rms], &[0.5], Tolerance::rel(2.0 * roundoff::<f32>()));
    assert!(clipped[3 * M..].iter().all(|w| w.is_nan()), "NaN is not hidden");
}

fn gpu_refuses_short_buffers(gpu: &mut Gpu<impl Device>) {
    let scalars = gpu.alloc_scalars().unwrap();
    for (short, name) in [(0, "g"), (1, "v"), (2, "w")] {
        let [g, mut v, mut w] = [0, 1, 2].map(|i| filled(gpu, Role::Full, &vec![0.0; 11 - usize::from(i == short)]));
        let tensor = SgdTensor { K: 11, M: 1, decays: true, rms_clip: None, g: &g, v: &mut v, w: &mut w };
        let refusal = gpu.sgd_step(&scalars, &mut [tensor]);
        assert_refused(refusal, "sgd", &format!("{name} needs 11 elements but its buffer holds 10"));
    }
}

on_gpus!(gpu_agrees_with_oracle, gpu_keeps_what_is_within, gpu_refuses_short_buffers);

/// The first step writes the table down; those after it launch one kernel, until the list changes.
#[test]
fn a_step_is_one_launch() {
    let (device, asked) = Watched::new(emulator(0));
    let mut gpu = Gpu::new(device, Precision::Bf16);
    let mut tensors: Vec<_> = SHAPES.into_iter().map(|shape| on_device(&mut gpu, 1, shape)).collect();
    let scalars = gpu.alloc_scalars().unwrap();
    let mut asked_for = |tensors: &mut [_]| {
        asked.try_iter().for_each(drop);
        gpu.sgd_step(&scalars, &mut sgd_tensors(tensors)).unwrap();
        let calls: Vec<Asked> = asked.try_iter().collect();
        [
            calls.iter().filter(|&&c| c == Asked::Memory).count(),
            calls.iter().filter(|&&c| c == Asked::HostCopy).count(),
            calls.iter().filter(|c| c.kernel().is_some()).count(),
        ]
    };
    assert_eq!(asked_for(&mut tensors), [1, 1, 1], "allocations, copies, launches");
    assert_eq!(asked_for(&mut tensors), [0, 0, 1]);
    tensors[1].shape.decays = false;
    assert_eq!(asked_for(&mut tensors), [1, 1, 1], "decay was turned off");
    tensors.swap(0, 1);
    assert_eq!(asked_for(&mut tensors), [1, 1, 1], "another order");
    assert_eq!(asked_for(&mut tensors), [0, 0, 1]);
    assert_eq!(asked_for(&mut tensors[..0]), [1, 1, 0], "nothing to update");
}

#[test]
fn does_not_depend_on_threads() {
    let len = 70_001;
    let (g, w) = (normal::<f32>(1, len), normal::<f32>(2, len));
    assert_thread_independent("w", || {
        let (mut v, mut w) = (vec![0.0; len], w.clone());
        let step = StepScalars { step: 0, lr: 0.01, momentum: 0.9, weight_decay: 5e-4 };
        (0..2).for_each(|_| update(&step, len, &g, &mut v, &mut w).unwrap());
        w
    });
    assert_thread_independent("clipped", || clip(0.1, 7, &w[..7 * 9001]));
}

#[test]
fn short_buffers_are_refused() {
    let step = StepScalars { step: 0, lr: 0.01, momentum: 0.9, weight_decay: 0.0 };
    for (short, name) in [(0, "g"), (1, "v"), (2, "w")] {
        let [g, mut v, mut w] = [0, 1, 2].map(|i| vec![0.0_f32; 11 - usize::from(i == short)]);
        let refusal = update(&step, 11, &g, &mut v, &mut w);
        assert_refused(refusal, "sgd", &format!("{name} needs 11 elements but its buffer holds 10"));
    }
}
