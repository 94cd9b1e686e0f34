use proptest::prelude::*;
use zfnet::device::Device;
use zfnet::ops::crop::{Crop, CropOp};
use zfnet::ops::{Cpu, Gpu, Real, Role};
use zfnet::philox::{Purpose, Stream};
use zfnet::tensor::Extent;

use crate::common::compare::{Tolerance, assert_close, assert_refused, assert_same_bits, assert_thread_independent};
use crate::common::gpu::{
    filled, filled_bytes, filled_ints, on_gpus, poisoned, poisoned_images, representable, written, written_images,
};
use crate::common::on_cpu;
use crate::common::values::{normal, poison};

fn bytes(lane: u32, len: usize) -> Vec<u8> {
    let stream = Stream::new(5, Purpose::Test, lane);
    (0..len as u64).map(|i| stream.below(0, i, 256) as u8).collect()
}

fn mean<T: Real>(crop: &Crop) -> Vec<T> {
    normal::<T>(1, crop.input().len()).into_iter().map(|v| v * T::of(20.0) + T::of(117.0)).collect()
}

fn cut<T: Real>(crop: &Crop, images: &Vec<u8>, windows: &[[i32; 3]], mean: &Vec<T>) -> Vec<T> {
    let (N, len) = (windows.len(), windows.len() * crop.output.len());
    let mut y = poison::<T>(len + 3);
    Cpu::new().crop_forward(crop, N, images, &windows.concat(), mean, &mut y).unwrap();
    assert!(y.split_off(len).iter().all(|v| v.is_nan()), "wrote past the end");
    y
}

/// The order of the pixels in each row reversed.
fn mirrored<E: Copy>(image: &[E], W: usize, C: usize) -> Vec<E> {
    image.chunks(W * C).flat_map(|row| row.chunks(C).rev().flatten().copied()).collect()
}

fn matches_formula<T: Real>() {
    let crop = Crop::new(13, Extent::new(7, 9, 3)).unwrap();
    let windows = [[0, 0, 0], [6, 4, 1], [6, 4, 0], [3, 1, 1], [2, 3, 0]];
    let (images, mean) = (bytes(1, windows.len() * crop.input().len()), mean::<T>(&crop));
    let Extent { H, W, C } = crop.output;
    let expected: Vec<f64> = (0..windows.len() * H * W * C)
        .map(|i| {
            let (n, h, w, c) = (i / (H * W * C), i / (W * C) % H, i / C % W, i % C);
            let [top, left, flipped] = windows[n].map(|v| v as usize);
            let column = left + if flipped == 1 { W - 1 - w } else { w };
            let at = ((top + h) * 13 + column) * C + c;
            f64::from(images[n * crop.input().len() + at]) - mean[at].f64()
        })
        .collect();
    // One rounding of a number below 256; none in f64, where both sides subtract alike.
    let tolerance =
        if size_of::<T>() == 4 { Tolerance::abs(256.0 * f64::from(f32::EPSILON) / 2.0) } else { Tolerance::EXACT };
    assert_close("y", &cut(&crop, &images, &windows, &mean), &expected, tolerance);
}

on_cpu!(matches_formula);

proptest! {
    /// The crop of a mirrored record, with the mean mirrored too, is the mirrored
    /// crop; and that is what the flip does.
    #[test]
    fn a_mirrored_record_gives_the_mirrored_crop(
        (record, C) in (1_usize..=17, 1_usize..=4),
        (h, w, top, left) in (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let (H, W) = (h.index(record) + 1, w.index(record) + 1);
        let (top, left) = (top.index(record - H + 1), left.index(record - W + 1));
        let crop = Crop::new(record, Extent::new(H, W, C)).unwrap();
        let (image, mean) = (bytes(2, record * record * C), mean::<f32>(&crop));
        let at = |left: usize, flipped| [[top as i32, left as i32, flipped]];
        let plain = cut(&crop, &image, &at(left, 0), &mean);
        let of_mirror = cut(&crop, &mirrored(&image, record, C), &at(record - W - left, 0), &mirrored(&mean, record, C));
        assert_same_bits("mirrored record", &of_mirror, &mirrored(&plain, W, C));
        assert_same_bits("flip", &cut(&crop, &image, &at(left, 1), &mean), &mirrored(&plain, W, C));
    }
}

/// One subtraction in f32, so the CPU's bits; in bf16 rounded once more. Rows of less than a block's threads,
/// and of several turns.
fn gpu_has_the_bits_of_the_cpu(gpu: &mut Gpu<impl Device>) {
    for (record, H, W, C) in [(13, 7, 9, 3), (5, 5, 3, 1), (181, 2, 179, 3), (6, 3, 5, 4), (5, 2, 3, 6)] {
        let crop = Crop::new(record, Extent::new(H, W, C)).unwrap();
        let (down, right) = ((record - H) as i32, (record - W) as i32);
        let windows = [[0, 0, 0], [down, right, 1], [down, right, 0], [down / 2, 1, 1], [0, right / 2, 0]];
        let (images, mean) = (bytes(1, windows.len() * crop.input().len()), mean::<f32>(&crop));
        let expected = representable(gpu, &cut(&crop, &images, &windows, &mean));
        let (images, at) = (filled_bytes(gpu, &images), filled_ints(gpu, &windows.concat()));
        let mean = filled(gpu, Role::Full, &mean);
        let mut y = poisoned(gpu, Role::Activation, expected.len());
        gpu.crop_forward(&crop, windows.len(), &images, &at, &mean, &mut y).unwrap();
        assert_same_bits("y", &written(gpu, &y, expected.len()), &expected);
        let mut y = poisoned_images(gpu, crop.output, windows.len());
        gpu.crop_forward(&crop, windows.len(), &images, &at, &mean, &mut y).unwrap();
        assert_same_bits("images", &written_images(gpu, &y, crop.output, windows.len()), &expected);
    }
}

fn gpu_refuses_short_buffers(gpu: &mut Gpu<impl Device>) {
    let crop = Crop::new(11, Extent::new(8, 5, 3)).unwrap();
    let whole = [363, 3, 363, 120];
    for (short, reason) in ["images needs 363", "windows needs 12", "mean needs 363", "y needs 120"].iter().enumerate()
    {
        let [images, windows, mean, y] = [0, 1, 2, 3].map(|i| whole[i] - usize::from(i == short));
        let (images, windows) = (filled_bytes(gpu, &vec![0; images]), filled_ints(gpu, &vec![0; windows]));
        let mean = filled(gpu, Role::Full, &vec![0.0; mean]);
        let mut y = filled(gpu, Role::Activation, &vec![0.0; y]);
        assert_refused(gpu.crop_forward(&crop, 1, &images, &windows, &mean, &mut y), "crop", reason);
    }
}

on_gpus!(gpu_has_the_bits_of_the_cpu, gpu_refuses_short_buffers);

#[test]
fn does_not_depend_on_threads() {
    let crop = Crop::new(11, Extent::new(8, 5, 3)).unwrap();
    let windows: Vec<[i32; 3]> = (0..9).map(|n| [n % 4, n % 7, n % 2]).collect();
    let (images, mean) = (bytes(3, windows.len() * crop.input().len()), mean::<f32>(&crop));
    assert_thread_independent("y", || cut(&crop, &images, &windows, &mean));
}

#[test]
fn wrong_arguments_are_refused() {
    assert_refused(Crop::new(6, Extent::new(7, 5, 3)), "crop", "wants 7 x 5 crops but the records are 6 x 6");
    let crop = Crop::new(11, Extent::new(8, 5, 3)).unwrap();
    let (image, output) = (crop.input().len(), crop.output.len());
    let run = |images: usize, windows: [i32; 3], mean: usize, y: usize| {
        let images = vec![0; images];
        Cpu::<f32>::new().crop_forward(&crop, 1, &images, &windows.to_vec(), &vec![0.0; mean], &mut vec![0.0; y])
    };
    run(image, [3, 6, 0], image, output).unwrap();
    for window in [[4, 6, 0], [3, 7, 0], [-1, 0, 0], [0, -1, 0], [i32::MAX, 0, 0], [0, i32::MIN, 1]] {
        assert_refused(run(image, window, image, output), "crop", "is not inside a record of side 11");
    }
    assert_refused(run(image - 1, [0; 3], image, output), "crop", "images needs 363 elements");
    assert_refused(run(image, [0; 3], image - 1, output), "crop", "mean needs 363 elements");
    assert_refused(run(image, [0; 3], image, output - 1), "crop", "y needs 120 elements");
    let short = Cpu::<f32>::new().crop_forward(
        &crop,
        1,
        &vec![0; image],
        &vec![0; 2],
        &vec![0.0; image],
        &mut vec![0.0; output],
    );
    assert_refused(short, "crop", "windows needs 3 elements");
}
