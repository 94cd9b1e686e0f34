//! Devices under test: the emulator always, a GPU where there is one.

use std::env;

use zfnet::device::cuda::Cuda;
use zfnet::device::emulator::{Emulated, Emulator, Entry};
use zfnet::device::{Device, Memory};

include!(concat!(env!("OUT_DIR"), "/emulated_tests.rs"));

/// The tests' kernels as nvcc compiled them; what they take of a GPU interests no one.
#[allow(dead_code)]
mod images {
    use zfnet::device::image::{Image, Usage};
    include!(concat!(env!("OUT_DIR"), "/test_images.rs"));
}

/// Orders of threads and blocks that tests run in: the natural one and two shuffled ones.
pub const SEEDS: [u64; 3] = [0, 1, 20130];

/// An emulator that knows the tests' own kernels too.
pub fn emulator(seed: u64) -> Emulator {
    Emulator::new(seed).with_kernels(emulated())
}

/// The first GPU, which knows the tests' own kernels too. None, having said SKIP, where there is none; `ZFNET_REQUIRE_GPU=1` makes that a failure.
pub fn gpu() -> Option<Cuda> {
    match Cuda::new(0).and_then(|gpu| gpu.with_images(images::IMAGES)) {
        Ok(gpu) => Some(gpu),
        Err(error) => {
            assert!(env::var("ZFNET_REQUIRE_GPU").as_deref() != Ok("1"), "ZFNET_REQUIRE_GPU=1, but {error}");
            println!("SKIP: {error}");
            None
        }
    }
}

/// A buffer that holds `values`.
pub fn upload<D: Device, T: bytemuck::NoUninit>(device: &D, values: &[T]) -> D::Buffer {
    let bytes: &[u8] = bytemuck::cast_slice(values);
    let mut buffer = device.alloc(bytes.len()).unwrap();
    device.upload(bytes, &mut buffer, 0).unwrap();
    buffer
}

/// A buffer for `n` values of T whose bits are all set: NaNs.
pub fn poisoned<D: Device, T>(device: &D, n: usize) -> D::Buffer {
    let bytes = n * size_of::<T>();
    let mut buffer = device.alloc(bytes).unwrap();
    device.fill(&mut buffer, 0..bytes, 0xff).unwrap();
    buffer
}

/// What a buffer holds.
pub fn download<D: Device, T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(device: &D, from: &D::Buffer) -> Vec<T> {
    let mut values = vec![T::zeroed(); from.bytes() / size_of::<T>()];
    device.download(from, 0, bytemuck::cast_slice_mut(&mut values)).unwrap();
    values
}

/// Registers a generic test `fn name(device: &impl Device)` for the emulator, once a seed, and for a GPU.
macro_rules! on_devices {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn emulator() {
                for seed in crate::common::device::SEEDS {
                    super::$name(&crate::common::device::emulator(seed));
                }
            }

            #[test]
            fn gpu() {
                if let Some(gpu) = crate::common::device::gpu() {
                    super::$name(&gpu);
                }
            }
        }
    )+};
}
pub(crate) use on_devices;
