//! The machine's limits, as a backend measures them.

use zfnet::device::Device;
use zfnet::ops::roof::RoofOp;
use zfnet::ops::{Cpu, Gpu, Version};

use crate::common::gpu::on_gpus;

/// Numbers a machine could have: above a millionth of the fastest there is, below a thousand times that.
fn measured(backend: &mut impl RoofOp) {
    let roof = backend.roof().unwrap();
    assert!((1e5..1e18).contains(&roof.flops), "{roof:?}");
    assert!((1e6..1e16).contains(&roof.bandwidth), "{roof:?}");
}

#[test]
fn of_the_cpu() {
    measured(&mut Cpu::<f32>::new());
}

fn of_a_gpu(gpu: &mut Gpu<impl Device>) {
    if gpu.version() != Version::Naive {
        measured(gpu);
    }
}

on_gpus!(of_a_gpu);
