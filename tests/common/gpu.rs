//! The GPU backend under test: every precision, and the naive kernels, on the emulator and on a GPU.

use half::bf16;
use zfnet::device::Device;
use zfnet::ops::{Gpu, GpuBuf, Precision, Role, Storage};

use super::compare::roundoff;

/// Every way to run an operation on the device that `open` opens.
pub fn backends<D: Device>(open: impl Fn() -> D) -> [Gpu<D>; 6] {
    let fast = |precision| Gpu::new(open(), precision);
    let (portable, gathering) = (Gpu::portable(open(), Precision::Bf16), Gpu::gathering(open(), Precision::Bf16));
    [Gpu::naive(open()), fast(Precision::F32), fast(Precision::Tf32), fast(Precision::Bf16), portable, gathering]
}

/// Registers a generic test `fn name(gpu: &mut Gpu<impl Device>)` for every way to run an
/// operation, on the emulator, once a seed, and on a GPU.
macro_rules! on_gpus {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn emulator() {
                for seed in crate::common::device::SEEDS {
                    for mut gpu in crate::common::gpu::backends(|| crate::common::device::emulator(seed)) {
                        super::$name(&mut gpu);
                    }
                }
            }

            #[test]
            fn gpu() {
                if crate::common::device::gpu().is_none() {
                    return;
                }
                for mut gpu in crate::common::gpu::backends(|| crate::common::device::gpu().unwrap()) {
                    super::$name(&mut gpu);
                }
            }
        }
    )+};
}
pub(crate) use on_gpus;

/// Elements behind what an operation may write: they must keep their NaNs.
pub const SLACK: usize = 5;

/// `values` as the backend stores activations, so that oracle and kernel see the same numbers.
pub fn representable<D: Device>(gpu: &Gpu<D>, values: &[f32]) -> Vec<f32> {
    match gpu.precision() {
        Precision::F32 | Precision::Tf32 => values.to_vec(),
        Precision::Bf16 => values.iter().map(|&v| bf16::from_f32(v).to_f32()).collect(),
    }
}

/// What a product sees of an operand: rounded to tf32 (to nearest, ties away from zero) or bf16.
pub fn operand<D: Device>(gpu: &Gpu<D>, values: &[f32]) -> Vec<f32> {
    match gpu.precision() {
        Precision::Tf32 => values.iter().map(|v| f32::from_bits((v.to_bits() + 0x1000) & !0x1fff)).collect(),
        Precision::F32 | Precision::Bf16 => representable(gpu, values),
    }
}

/// The relative error of storing an activation: none beyond the arithmetic's own in f32, half of
/// the last of 8 bits in bf16.
pub fn store_roundoff<D: Device>(gpu: &Gpu<D>) -> f64 {
    if gpu.precision() == Precision::Bf16 { 2f64.powi(-8) } else { 0.0 }
}

/// What one product and addition of a sum may err by, relative to the terms' magnitudes: a
/// rounding in f32 on CUDA cores; a tensor core truncates where it adds, so two.
pub fn accumulation<D: Device>(gpu: &Gpu<D>) -> f64 {
    let once = roundoff::<f32>();
    if gpu.precision() == Precision::F32 { once } else { 2.0 * once }
}

/// A buffer that holds `values`.
pub fn filled<D: Device>(gpu: &mut Gpu<D>, role: Role, values: &[f32]) -> GpuBuf<D::Buffer> {
    let mut buffer = gpu.alloc(role, values.len()).unwrap();
    gpu.upload(values, &mut buffer).unwrap();
    buffer
}

/// Device bytes that hold `values`.
pub fn filled_bytes<D: Device>(gpu: &mut Gpu<D>, values: &[u8]) -> D::Buffer {
    let mut buffer = gpu.alloc_bytes(values.len()).unwrap();
    gpu.upload_bytes(values, &mut buffer).unwrap();
    buffer
}

/// Device integers that hold `values`.
pub fn filled_ints<D: Device>(gpu: &mut Gpu<D>, values: &[i32]) -> D::Buffer {
    let mut buffer = gpu.alloc_ints(values.len()).unwrap();
    gpu.upload_ints(values, &mut buffer).unwrap();
    buffer
}

/// A buffer of NaNs for `len` values and [`SLACK`] more.
pub fn poisoned<D: Device>(gpu: &mut Gpu<D>, role: Role, len: usize) -> GpuBuf<D::Buffer> {
    filled(gpu, role, &vec![f32::NAN; len + SLACK])
}

/// The first `len` values of a buffer that [`poisoned`] made; what lies behind must be as it was.
#[track_caller]
pub fn written<D: Device>(gpu: &mut Gpu<D>, buffer: &GpuBuf<D::Buffer>, len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len + SLACK];
    gpu.download(buffer, &mut values).unwrap();
    assert!(values.split_off(len).iter().all(|v| v.is_nan()), "wrote past the end");
    values
}
