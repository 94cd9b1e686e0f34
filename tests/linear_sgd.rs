//! The weight gradient with its update: the bits of the two one after the other.

use zfnet::device::Device;
use zfnet::ops::linear::Linear;
use zfnet::ops::linear_sgd::{LinearSgdOp, Trained};
use zfnet::ops::sgd::SgdTensor;
use zfnet::ops::{Backend, Cpu, Gpu, GpuBuf, Precision, Real, Role, StepScalars, Storage, Version};

use crate::common::compare::{assert_refused, assert_same_bits};
use crate::common::gpu::{SLACK, filled, on_gpus, representable};
use crate::common::on_cpu;
use crate::common::values::normal;

const STEP: StepScalars = StepScalars { step: 0, lr: 0.03, momentum: 0.9, weight_decay: 0.01 };

/// One vector and less; several tiles of rows and of columns, in vectors and not; several steps of the product.
const SIZES: [[usize; 3]; 5] = [[1, 1, 1], [5, 3, 71], [131, 24, 136], [129, 131, 10], [3, 536, 8]];

/// g, v and value of the weights, then of the biases, with NaNs behind what belongs to them and in g.
fn parameters<B: Backend>(backend: &mut B, linear: &Linear) -> [[B::Buf; 3]; 2] {
    let mut buffer = |role, values: &[f32]| {
        let values = [values, &[f32::NAN; SLACK]].concat();
        let mut buffer = backend.alloc(role, values.len()).unwrap();
        backend.upload(&values, &mut buffer).unwrap();
        buffer
    };
    [(linear.weights(), Role::Weight, 1), (linear.outputs, Role::Full, 4)].map(|(len, role, lane)| {
        let poison = vec![f32::NAN; len];
        [
            buffer(Role::Full, &poison),
            buffer(Role::Full, &normal::<f32>(lane, len)),
            buffer(role, &normal::<f32>(lane + 1, len)),
        ]
    })
}

fn contents<B: Backend>(backend: &mut B, buffers: &[[B::Buf; 3]; 2], linear: &Linear) -> Vec<Vec<f32>> {
    let lens = [linear.weights(), linear.outputs];
    let mut contents = vec![];
    for (of, len) in buffers.iter().zip(lens) {
        for buffer in &of[1..] {
            let mut values = vec![0.0; len + SLACK];
            backend.download(buffer, &mut values).unwrap();
            assert!(values.split_off(len).iter().all(|v| v.is_nan()), "wrote past the end");
            contents.push(values);
        }
    }
    contents
}

/// Two steps fused and two unfused, from the same parameters; gives the parameters' buffers of both.
fn both_ways<B: Backend>(
    backend: &mut B,
    linear: &Linear,
    N: usize,
    [x, dy]: [&B::Buf; 2],
    bias_decays: bool,
) -> [[[B::Buf; 3]; 2]; 2] {
    let mut scalars = backend.alloc_scalars().unwrap();
    [true, false].map(|fused| {
        let mut buffers = parameters(backend, linear);
        for lr in [0.03, 0.01] {
            backend.set_scalars(&StepScalars { lr, ..STEP }, &mut scalars).unwrap();
            let [[g, v, w], [bias_g, bias_v, bias]] = &mut buffers;
            if fused {
                let weights = Trained { decays: true, g, v, w };
                let biases = Trained { decays: bias_decays, g: bias_g, v: bias_v, w: bias };
                backend.linear_wgrad_sgd(linear, N, x, dy, &scalars, weights, biases).unwrap();
            } else {
                backend.linear_wgrad(linear, N, x, dy, g, bias_g).unwrap();
                let Linear { inputs, outputs } = *linear;
                let weights = SgdTensor { K: outputs, M: inputs, decays: true, rms_clip: None, g, v, w };
                let biases =
                    SgdTensor { K: outputs, M: 1, decays: bias_decays, rms_clip: None, g: bias_g, v: bias_v, w: bias };
                backend.sgd_step(&scalars, &mut [weights, biases]).unwrap();
            }
        }
        buffers
    })
}

fn assert_same<B: Backend>(backend: &mut B, linear: &Linear, ways: &[[[B::Buf; 3]; 2]; 2]) {
    let [fused, unfused] = [0, 1].map(|way| contents(backend, &ways[way], linear));
    for (name, (fused, unfused)) in ["v", "w", "v of bias", "bias"].iter().zip(fused.iter().zip(&unfused)) {
        assert!(unfused.iter().all(|v| v.is_finite()), "{name}");
        assert_same_bits(&format!("{linear:?}: {name}"), fused, unfused);
    }
    let start = parameters(backend, linear);
    assert!(contents(backend, &start, linear)[1] != fused[1], "{linear:?}: nothing moved");
}

fn cpu_gives_the_same_bits<T: Real>()
where
    Cpu<T>: Backend<Buf = Vec<T>>,
{
    let mut cpu = Cpu::<T>::new();
    for [N, inputs, outputs] in SIZES {
        let linear = Linear::new(inputs, outputs).unwrap();
        let (x, dy) = (normal::<T>(7, N * inputs), normal::<T>(8, N * outputs));
        let ways = both_ways(&mut cpu, &linear, N, [&x, &dy], true);
        assert_same(&mut cpu, &linear, &ways);
    }
}
on_cpu!(cpu_gives_the_same_bits);

/// The same bits in values, momentum and copy, and a gradient that nobody wrote.
fn gives_the_same_bits(gpu: &mut Gpu<impl Device>) {
    for (case, [N, inputs, outputs]) in SIZES.into_iter().enumerate() {
        let linear = Linear::new(inputs, outputs).unwrap();
        let [x, dy] = [(7, N * inputs), (8, N * outputs)].map(|(lane, len)| {
            let values = representable(gpu, &normal::<f32>(lane, len));
            filled(gpu, Role::Activation, &values)
        });
        let ways = both_ways(gpu, &linear, N, [&x, &dy], case % 2 == 0);
        assert_same(gpu, &linear, &ways);
        let copies = [0, 1].map(|way: usize| {
            let mut copy = vec![0.0; linear.weights()];
            gpu.download_rounded(&ways[way][0][2], &mut copy).unwrap();
            copy
        });
        assert_same_bits(&format!("{linear:?}: copy"), &copies[0], &copies[1]);
        for (g, len) in [(&ways[0][0][0], linear.weights()), (&ways[0][1][0], outputs)] {
            assert!(values_of(gpu, g, len).iter().all(|g| g.is_nan()), "{linear:?}: the gradient was written");
        }
    }
}

fn values_of<D: Device>(gpu: &mut Gpu<D>, buffer: &GpuBuf<D::Buffer>, len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    gpu.download(buffer, &mut values).unwrap();
    values
}

/// Tiles of every width of one generation of GPUs: on three multiprocessors three rows of tiles are a wave, so
/// the inputs choose the narrowest that holds them.
fn every_tile_gives_the_same_bits(gpu: &mut Gpu<impl Device>) {
    if (gpu.precision(), gpu.version()) != (Precision::Bf16, Version::Fast) {
        return;
    }
    for inputs in [90, 128, 188, 252] {
        let (linear, N) = (Linear::new(inputs, 260).unwrap(), 70);
        let [x, dy] = [(7, N * inputs), (8, N * 260)].map(|(lane, len)| {
            let values = representable(gpu, &normal::<f32>(lane, len));
            filled(gpu, Role::Activation, &values)
        });
        let ways = both_ways(gpu, &linear, N, [&x, &dy], false);
        assert_same(gpu, &linear, &ways);
    }
}

fn refuses_short_buffers(gpu: &mut Gpu<impl Device>) {
    let linear = Linear::new(4, 3).unwrap();
    let scalars = gpu.alloc_scalars().unwrap();
    for (short, name) in ["x", "dy", "w", "the momentum of w", "bias", "the momentum of bias"].iter().enumerate() {
        let lens = [8, 6, 12, 12, 3, 3];
        let roles = [Role::Activation, Role::Activation, Role::Weight, Role::Full, Role::Full, Role::Full];
        let [x, dy, mut w, mut v, mut bias, mut bias_v] =
            [0, 1, 2, 3, 4, 5].map(|i| filled(gpu, roles[i], &vec![0.0; lens[i] - usize::from(i == short)]));
        let [mut g, mut bias_g] = [12, 3].map(|len| filled(gpu, Role::Full, &vec![0.0; len]));
        let weights = Trained { decays: true, g: &mut g, v: &mut v, w: &mut w };
        let biases = Trained { decays: true, g: &mut bias_g, v: &mut bias_v, w: &mut bias };
        let refused = gpu.linear_wgrad_sgd(&linear, 2, &x, &dy, &scalars, weights, biases);
        assert_refused(refused, "linear_wgrad_sgd", &format!("{name} needs"));
    }
}

on_gpus!(gives_the_same_bits, every_tile_gives_the_same_bits, refuses_short_buffers);
