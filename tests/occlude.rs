use zfnet::device::Device;
use zfnet::ops::occlude::OccludeOp;
use zfnet::ops::{Cpu, Gpu, Real, Role, Version};
use zfnet::tensor::Extent;

use crate::common::compare::{assert_refused, assert_same_bits};
use crate::common::gpu::{
    filled, filled_images, filled_ints, on_gpus, poisoned, poisoned_images, representable, written, written_images,
};
use crate::common::on_cpu;
use crate::common::values::{normal, poison};

const IMAGE: Extent = Extent { H: 7, W: 5, C: 3 };
const M: usize = 2;

/// Rectangles inside, at each corner, over everything, beyond the image, and without rows or columns.
const COPIES: [[i32; 5]; 9] = [
    [0, 2, 1, 3, 2],
    [1, 0, 0, 2, 1],
    [0, 5, 3, 2, 2],
    [1, 0, 4, 7, 1],
    [0, 0, 0, 7, 5],
    [1, 4, 2, i32::MAX, 9],
    [0, 9, 0, 2, 2],
    [1, 2, 2, 0, 3],
    [0, 2, 2, 3, 0],
];

/// What the formula says.
fn expected<T: Copy>(x: &[T], z: &[T]) -> Vec<T> {
    let Extent { H, W, C } = IMAGE;
    let at = |i: usize| {
        let [m, top, left, height, width] = COPIES[i / IMAGE.len()].map(i64::from);
        let (h, w) = ((i / (W * C) % H) as i64, (i / C % W) as i64);
        let hidden = top <= h && h < top + height && left <= w && w < left + width;
        if hidden { z[i % IMAGE.len()] } else { x[m as usize * IMAGE.len() + i % IMAGE.len()] }
    };
    (0..COPIES.len() * IMAGE.len()).map(at).collect()
}

fn matches_formula<T: Real>() {
    let (x, z) = (normal::<T>(1, M * IMAGE.len()), normal::<T>(2, IMAGE.len()));
    let mut y = poison::<T>(COPIES.len() * IMAGE.len() + 3);
    Cpu::new().occlude(IMAGE, M, COPIES.len(), &x, &z, &COPIES.concat(), &mut y).unwrap();
    assert!(y.split_off(COPIES.len() * IMAGE.len()).iter().all(|v| v.is_nan()), "wrote past the end");
    assert_same_bits("y", &y, &expected(&x, &z));
}

on_cpu!(matches_formula);

fn gpu_matches_formula(gpu: &mut Gpu<impl Device>) {
    let x = representable(gpu, &normal::<f32>(1, M * IMAGE.len()));
    let z = representable(gpu, &normal::<f32>(2, IMAGE.len()));
    let expected = expected(&x, &z);
    let [x_images, z_images] = [&x, &z].map(|values| filled_images(gpu, IMAGE, values));
    let (x, z) = (filled(gpu, Role::Activation, &x), filled(gpu, Role::Activation, &z));
    // A rectangle may reach beyond the image, but not beyond what an int counts in elements.
    let copies = COPIES.map(|copy| copy.map(|v| v.min(1 << 20))).concat();
    let copies = filled_ints(gpu, &copies);
    let mut y = poisoned(gpu, Role::Activation, expected.len());
    gpu.occlude(IMAGE, M, COPIES.len(), &x, &z, &copies, &mut y).unwrap();
    assert_same_bits("y", &written(gpu, &y, expected.len()), &expected);
    let mut y = poisoned_images(gpu, IMAGE, COPIES.len());
    gpu.occlude(IMAGE, M, COPIES.len(), &x_images, &z_images, &copies, &mut y).unwrap();
    assert_same_bits("images", &written_images(gpu, &y, IMAGE, COPIES.len()), &expected);
    if gpu.version() != Version::Naive {
        let refused = gpu.occlude(IMAGE, M, COPIES.len(), &x, &z_images, &copies, &mut y);
        assert_refused(refused, "occlude", "the pixels of x, z and y lie 3, 4 and 4 elements apart");
    }
}

fn gpu_refuses_short_buffers(gpu: &mut Gpu<impl Device>) {
    let whole = [M * 105, 105, 5, 105];
    for (short, reason) in ["x needs 210", "z needs 105", "copies needs 20", "y needs 105"].iter().enumerate() {
        let [x, z, copies, y] = [0, 1, 2, 3].map(|i| whole[i] - usize::from(i == short));
        let [x, z, mut y] = [x, z, y].map(|len| filled(gpu, Role::Activation, &vec![0.0; len]));
        let copies = filled_ints(gpu, &vec![0; copies]);
        assert_refused(gpu.occlude(IMAGE, M, 1, &x, &z, &copies, &mut y), "occlude", reason);
    }
}

on_gpus!(gpu_matches_formula, gpu_refuses_short_buffers);

#[test]
fn wrong_arguments_are_refused() {
    let run = |copy: [i32; 5], x: usize, z: usize, y: usize| {
        let (x, z, mut y) = (vec![0.0; x], vec![0.0; z], vec![0.0; y]);
        Cpu::<f32>::new().occlude(IMAGE, M, 1, &x, &z, &copy.to_vec(), &mut y)
    };
    run([1, 0, 0, 1, 1], 210, 105, 105).unwrap();
    assert_refused(run([2, 0, 0, 1, 1], 210, 105, 105), "occlude", "is of image 2, and there are 2");
    assert_refused(run([0, -1, 0, 1, 1], 210, 105, 105), "occlude", "has a number below 0");
    assert_refused(run([0; 5], 209, 105, 105), "occlude", "x needs 210 elements");
    assert_refused(run([0; 5], 210, 104, 105), "occlude", "z needs 105 elements");
    assert_refused(run([0; 5], 210, 105, 104), "occlude", "y needs 105 elements");
}
