//! The GPU backend under test: every precision, and the naive kernels, on the emulator and on a GPU.

use half::bf16;
use zfnet::device::Device;
use zfnet::ops::conv::{Conv, ConvOp};
use zfnet::ops::{Gpu, GpuBuf, Precision, Role, Storage};
use zfnet::tensor::Extent;

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

/// A buffer of `values`, images whose pixels lie as the backend likes.
pub fn filled_images<D: Device>(gpu: &mut Gpu<D>, image: Extent, values: &[f32]) -> GpuBuf<D::Buffer> {
    let mut buffer = gpu.alloc_images(values.len() / image.len(), image).unwrap();
    gpu.upload(values, &mut buffer).unwrap();
    buffer
}

/// A convolution that sees one pixel at a time.
fn of_pixels(image: Extent) -> Conv {
    Conv::new(image, 1, (1, 1), 1, 0, 1).unwrap()
}

/// A buffer of `N` images and one more, all NaNs. An upload would put zeros behind the channels of
/// padded pixels; a data gradient of infinities (0 times infinity) leaves NaNs there too.
pub fn poisoned_images<D: Device>(gpu: &mut Gpu<D>, image: Extent, N: usize) -> GpuBuf<D::Buffer> {
    let mut images = gpu.alloc_images(N + 1, image).unwrap();
    let dy = filled(gpu, Role::Activation, &vec![f32::INFINITY; (N + 1) * image.H * image.W]);
    let w = filled(gpu, Role::Weight, &vec![0.0; image.C]);
    gpu.conv_dgrad(&of_pixels(image), N + 1, &dy, &w, &mut images).unwrap();
    images
}

/// The `N` images of a buffer that [`poisoned_images`] made; the one behind must be as it was, and
/// behind the channels of these there must be no NaN.
#[track_caller]
pub fn written_images<D: Device>(gpu: &mut Gpu<D>, buffer: &GpuBuf<D::Buffer>, image: Extent, N: usize) -> Vec<f32> {
    let mut values = vec![0.0; (N + 1) * image.len()];
    gpu.download(buffer, &mut values).unwrap();
    assert!(values.split_off(N * image.len()).iter().all(|v| v.is_nan()), "wrote past the end");
    let (w, bias) = (filled(gpu, Role::Weight, &vec![0.0; image.C]), filled(gpu, Role::Full, &[0.0]));
    let pixels = N * image.H * image.W;
    let mut sums = poisoned(gpu, Role::Activation, pixels);
    gpu.conv_fprop(&of_pixels(image), N, buffer, &w, &bias, false, &mut sums).unwrap();
    assert!(written(gpu, &sums, pixels).iter().all(|v| *v == 0.0), "a NaN behind the channels of a pixel");
    values
}
