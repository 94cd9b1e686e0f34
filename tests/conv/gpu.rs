//! The kernels: exactly on whole numbers, within their roundings on others.

use zfnet::device::Device;
use zfnet::ops::conv::{Conv, ConvOp};
use zfnet::ops::pool::{Pool, PoolOp, Rounding};
use zfnet::ops::{Gpu, Precision, Role, Storage, Version};
use zfnet::tensor::Extent;

use super::SixLoops;
use crate::common::compare::{Tolerance, assert_close, assert_close_by, assert_refused, assert_same_bits};
use crate::common::device::emulator;
use crate::common::goldens::cases;
use crate::common::gpu::{
    accumulation, backends, filled, filled_images, on_gpus, operand, poisoned, poisoned_images, representable,
    store_roundoff, written, written_images,
};
use crate::common::values::{cast, normal};

pub(super) fn fprop<D: Device>(
    gpu: &mut Gpu<D>,
    conv: &Conv,
    N: usize,
    x: &[f32],
    w: &[f32],
    bias: &[f32],
    relu: bool,
) -> Vec<f32> {
    let (x, w) = (filled(gpu, Role::Activation, x), filled(gpu, Role::Weight, w));
    let bias = filled(gpu, Role::Full, bias);
    let len = N * conv.output().len();
    let mut y = poisoned(gpu, Role::Activation, len);
    gpu.conv_fprop(conv, N, &x, &w, &bias, relu, &mut y).unwrap();
    written(gpu, &y, len)
}

pub(super) fn dgrad<D: Device>(gpu: &mut Gpu<D>, conv: &Conv, N: usize, dy: &[f32], w: &[f32]) -> Vec<f32> {
    let (dy, w) = (filled(gpu, Role::Activation, dy), filled(gpu, Role::Weight, w));
    let len = N * conv.input().len();
    let mut dx = poisoned(gpu, Role::Activation, len);
    gpu.conv_dgrad(conv, N, &dy, &w, &mut dx).unwrap();
    written(gpu, &dx, len)
}

pub(super) fn wgrad<D: Device>(gpu: &mut Gpu<D>, conv: &Conv, N: usize, x: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let [x, dy] = [x, dy].map(|v| filled(gpu, Role::Activation, v));
    let [mut dw, mut db] = [conv.weights(), conv.K].map(|len| poisoned(gpu, Role::Full, len));
    gpu.conv_wgrad(conv, N, &x, &dy, &mut dw, &mut db).unwrap();
    (written(gpu, &dw, conv.weights()), written(gpu, &db, conv.K))
}

pub(super) fn conv(
    input: (usize, usize, usize),
    K: usize,
    kernel: (usize, usize),
    stride: usize,
    pad: usize,
    g: usize,
) -> Conv {
    Conv::new(Extent::new(input.0, input.1, input.2), K, kernel, stride, pad, g).unwrap()
}

/// Sums of whole numbers are exact in every precision, in any order; what bf16 stores is their rounding.
fn equals_six_loops(gpu: &mut Gpu<impl Device>) {
    for (conv, N) in [
        // Three channels; a pixel is never 16 bytes, and the last rows and columns see no window.
        (conv((12, 15, 3), 9, (7, 7), 2, 1, 1), 2),
        // Vectors in all operands, and more than one tile of rows, of columns and of filters.
        (conv((7, 11, 16), 136, (2, 2), 1, 1, 1), 2),
        // Groups whose channels are vectors, and groups whose channels are not.
        (conv((9, 6, 16), 32, (5, 3), 2, 2, 2), 1),
        (conv((5, 8, 10), 6, (3, 3), 1, 0, 2), 1),
        // Vectors in dy but not in x; in f32 but not in bf16.
        (conv((6, 5, 12), 8, (2, 3), 1, 1, 1), 3),
        // Half vectors of bf16 in all operands, filters beyond a tile; of f32; and in groups.
        (conv((6, 9, 4), 132, (3, 3), 2, 1, 1), 1),
        (conv((5, 7, 6), 10, (3, 1), 1, 0, 1), 2),
        (conv((4, 7, 8), 24, (2, 3), 1, 1, 2), 2),
        // Sixteen parities.
        (conv((16, 19, 3), 5, (11, 11), 4, 2, 1), 1),
        (conv((3, 5, 7), 11, (1, 1), 1, 0, 1), 1),
        // The stride skips whole rows: their gradient is 0.
        (conv((11, 13, 5), 7, (2, 1), 3, 0, 1), 2),
        // Enough pixels for several parts of the weight gradient, the last one shorter.
        (conv((21, 29, 2), 3, (2, 2), 1, 0, 1), 1),
    ] {
        check_against_six_loops(gpu, &conv, N);
    }
}

fn check_against_six_loops(gpu: &mut Gpu<impl Device>, conv: &Conv, N: usize) {
    let expected = SixLoops::new(conv, N);
    let [x, w, bias, dy] = [&expected.x, &expected.w, &expected.bias, &expected.dy].map(|v| cast::<f64, f32>(v));
    let compare = |gpu: &Gpu<_>, what: &str, actual: &[f32], exact: &[f64], stored: bool| {
        let exact = if stored { cast(&representable(gpu, &cast(exact))) } else { exact.to_vec() };
        assert_close(&format!("{conv:?} {what}"), actual, &exact, Tolerance::EXACT);
    };
    let y = fprop(gpu, conv, N, &x, &w, &bias, false);
    compare(gpu, "y", &y, &expected.y, true);
    let dx = dgrad(gpu, conv, N, &dy, &w);
    compare(gpu, "dx", &dx, &expected.dx, true);
    let (dw, db) = wgrad(gpu, conv, N, &x, &dy);
    compare(gpu, "dw", &dw, &expected.dw, false);
    compare(gpu, "db", &db, &expected.db, false);
}

/// First layers, on images whose pixels the backend pads: one channel to six, with windows that hang over
/// the edge by up to three pixels, and rows and columns that no window sees.
fn images_equal_six_loops(gpu: &mut Gpu<impl Device>) {
    for (conv, N) in [
        // More than a tile of pixels; on Hopper four steps, the last one short; several parts of dw.
        (conv((21, 16, 3), 10, (7, 7), 2, 1, 1), 2),
        (conv((9, 8, 1), 3, (4, 5), 2, 3, 1), 2),
        (conv((7, 10, 2), 8, (3, 5), 2, 2, 1), 1),
        (conv((8, 5, 5), 9, (3, 2), 2, 0, 1), 3),
        (conv((6, 9, 6), 12, (4, 4), 2, 3, 1), 1),
        (conv((5, 6, 4), 7, (3, 3), 1, 1, 1), 1),
        // More than a tile of filters, and of a filter's weights.
        (conv((9, 11, 3), 130, (8, 9), 2, 2, 1), 1),
    ] {
        let (expected, input) = (SixLoops::new(&conv, N), conv.input());
        let [x, w, bias, dy] = [&expected.x, &expected.w, &expected.bias, &expected.dy].map(|v| cast::<f64, f32>(v));
        let stored = |gpu: &Gpu<_>, exact: &[f64]| cast::<f32, f64>(&representable(gpu, &cast(exact)));
        let check = |what: &str, actual: &[f32], exact: &[f64]| {
            assert_close(&format!("{conv:?} {what}"), actual, exact, Tolerance::EXACT);
        };
        let (x, w) = (filled_images(gpu, input, &x), filled(gpu, Role::Weight, &w));
        let (bias, dy) = (filled(gpu, Role::Full, &bias), filled(gpu, Role::Activation, &dy));
        let outputs = N * conv.output().len();
        let mut y = poisoned(gpu, Role::Activation, outputs);
        gpu.conv_fprop(&conv, N, &x, &w, &bias, false, &mut y).unwrap();
        check("y", &written(gpu, &y, outputs), &stored(gpu, &expected.y));
        let mut dx = poisoned_images(gpu, input, N);
        gpu.conv_dgrad(&conv, N, &dy, &w, &mut dx).unwrap();
        check("dx", &written_images(gpu, &dx, input, N), &stored(gpu, &expected.dx));
        let [mut dw, mut db] = [conv.weights(), conv.K].map(|len| poisoned(gpu, Role::Full, len));
        gpu.conv_wgrad(&conv, N, &x, &dy, &mut dw, &mut db).unwrap();
        check("dw", &written(gpu, &dw, conv.weights()), &expected.dw);
        check("db", &written(gpu, &db, conv.K), &expected.db);
    }
}

fn images_are_for_those_who_know_them(gpu: &mut Gpu<impl Device>) {
    if gpu.version() == Version::Naive {
        return; // Whose images are activations.
    }
    let image = Extent::new(5, 4, 3);
    let images = filled_images(gpu, image, &vec![1.0; image.len()]);
    let (mut y, bias) = (poisoned(gpu, Role::Activation, 60), filled(gpu, Role::Full, &[0.0; 6]));
    let w = filled(gpu, Role::Weight, &[1.0; 6]);
    let grouped = conv((5, 4, 3), 3, (1, 1), 1, 0, 3);
    let refused = gpu.conv_fprop(&grouped, 1, &images, &w, &bias, false, &mut y);
    assert_refused(refused, "conv_fprop", "pixels of 3 channels lie 4 apart, which 3 groups");
    let of_two = conv((5, 4, 2), 3, (1, 1), 1, 0, 1);
    let refused = gpu.conv_fprop(&of_two, 1, &images, &w, &bias, false, &mut y);
    assert_refused(refused, "conv_fprop", "x holds images of 3 channels, not of 5 x 4 x 2");
    let refused = gpu.conv_fprop(&conv((5, 4, 3), 2, (1, 1), 1, 0, 1), 2, &images, &w, &bias, false, &mut y);
    assert_refused(refused, "conv_fprop", "x needs 120 elements but its buffer holds 60");
    let pool = Pool::new(image, 2, 2, Rounding::Floor).unwrap();
    let mut switches = gpu.alloc_bytes(pool.output().len()).unwrap();
    let refused = gpu.pool_forward(&pool, 1, &images, &mut y, &mut switches);
    assert_refused(refused, "pool", "x holds images, whose pixels of 3 lie 4 apart");
    let mut images = images;
    assert_refused(gpu.upload(&[1.0; 7], &mut images), "copy", "7 values are no whole pixels of 3 channels");
    // What was copied in comes out, up to any element.
    let mut values = [0.0; 8];
    gpu.upload(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], &mut images).unwrap();
    gpu.download(&images, &mut values).unwrap();
    assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
}

/// Tiles of every width: on three multiprocessors three rows of tiles are a wave, so K columns
/// (C of dgrad's) choose the narrowest that holds them. Five and more steps: buffers are used again.
fn every_tile_equals_six_loops(gpu: &mut Gpu<impl Device>) {
    // In vectors, element by element, and in half vectors.
    let vectors = [(72, 96), (8, 128), (8, 190), (8, 250), (190, 8)];
    for (C, K) in vectors.into_iter().chain([(68, 92), (4, 124), (4, 188), (4, 252), (188, 4)]) {
        let (conv, N) = (conv((16, 19, C), K, (2, 2), 1, 0, 1), 1);
        let expected = SixLoops::new(&conv, N);
        let [x, w, bias, dy] = [&expected.x, &expected.w, &expected.bias, &expected.dy].map(|v| cast::<f64, f32>(v));
        let stored = |gpu: &Gpu<_>, exact: &[f64]| cast::<f32, f64>(&representable(gpu, &cast(exact)));
        let y = fprop(gpu, &conv, N, &x, &w, &bias, false);
        assert_close(&format!("{C} to {K}: y"), &y, &stored(gpu, &expected.y), Tolerance::EXACT);
        let dx = dgrad(gpu, &conv, N, &dy, &w);
        assert_close(&format!("{C} to {K}: dx"), &dx, &stored(gpu, &expected.dx), Tolerance::EXACT);
        let (dw, _) = wgrad(gpu, &conv, N, &x, &dy);
        assert_close(&format!("{C} to {K}: dw"), &dw, &expected.dw, Tolerance::EXACT);
    }
}

/// The kernels for one generation of GPUs alone: on the emulator, and on that generation.
fn wide_tiles(gpu: &mut Gpu<impl Device>) {
    if matches!((gpu.precision(), gpu.version()), (Precision::Bf16, Version::Fast | Version::Gathering)) {
        every_tile_equals_six_loops(gpu);
    }
}

/// What bulk copies can do: pieces of 16 to 64 channels, two of them in a stage and the last one alone;
/// strides with gaps and without, padding, groups, rows and columns behind the last.
fn bulk_copies(gpu: &mut Gpu<impl Device>) {
    if gpu.version() != Version::Fast || gpu.precision() == Precision::F32 {
        return;
    }
    for (conv, N) in [
        // conv2 in small: 96 channels, stride 2, four parities of 9, 6, 6 and 4 taps.
        (conv((17, 19, 96), 40, (5, 5), 2, 0, 1), 1),
        // Whole stages, padding on all sides, several images in one tile.
        (conv((5, 6, 64), 72, (3, 3), 1, 1, 1), 5),
        // A tap's channels end within a piece.
        (conv((9, 7, 8), 24, (4, 3), 1, 2, 1), 2),
        // An odd number of pieces; padding wider than the image's rest; the last column sees no window.
        (conv((8, 10, 32), 136, (3, 3), 2, 1, 1), 2),
        // Groups of whole pieces, in rows of more than one tile of filters.
        (conv((7, 9, 128), 384, (3, 2), 1, 1, 2), 1),
        (conv((6, 8, 64), 128, (1, 1), 1, 0, 2), 2),
        // A parity without a tap: its gradient is 0.
        (conv((9, 11, 32), 64, (1, 2), 2, 0, 1), 1),
        // Three multiprocessors and four tiles: the last one's depth is cut, of y and of dx.
        (conv((20, 21, 192), 8, (3, 3), 1, 1, 1), 1),
        (conv((19, 21, 8), 192, (3, 3), 1, 1, 1), 1),
    ] {
        check_against_six_loops(gpu, &conv, N);
    }
}

fn rectifies(gpu: &mut Gpu<impl Device>) {
    for channels in [5, 8] {
        let (conv, N) = (conv((4, 3, channels), channels, (2, 2), 1, 1, 1), 1);
        let expected = SixLoops::new(&conv, N);
        let [mut x, w, bias] = [&expected.x, &expected.w, &expected.bias].map(|v| cast::<f64, f32>(v));
        let rectified = cast(&representable(gpu, &cast(&expected.rectified())));
        assert_close("relu(y)", &fprop(gpu, &conv, N, &x, &w, &bias, true), &rectified, Tolerance::EXACT);
        // A NaN is not hidden: each of the four windows over the first pixel has one.
        x[0] = f32::NAN;
        let y = fprop(gpu, &conv, N, &x, &w, &bias, true);
        assert_eq!(y.iter().filter(|v| v.is_nan()).count(), 4 * conv.K);
    }
}

/// Operands rounded as the precision has it; then each of a sum's n products and additions errs by
/// at most one `accumulation` of the terms' magnitudes.
fn follows_the_f64_oracle(gpu: &mut Gpu<impl Device>) {
    for (conv, N) in [(conv((13, 9, 8), 16, (5, 3), 2, 1, 1), 2), (conv((13, 14, 3), 6, (3, 4), 1, 1, 1), 4)] {
        let of = |gpu: &Gpu<_>, lane, len| representable(gpu, &normal::<f32>(lane, len));
        let (x, w) = (of(gpu, 1, N * conv.input().len()), of(gpu, 2, conv.weights()));
        let (b, dy) = (normal::<f32>(3, conv.K), of(gpu, 4, N * conv.output().len()));
        let exact = |v: &[f32]| cast::<f32, f64>(v);
        let magnitude = |v: &[f64]| v.iter().map(|v| v.abs()).collect::<Vec<_>>();
        let [xo, wo, dyo] = [&x, &w, &dy].map(|v| exact(&operand(gpu, v)));
        let [xm, wm, bm, dym] = [&xo, &wo, &exact(&b), &dyo].map(|v| magnitude(v));
        let (unit, stored) = (accumulation(gpu), store_roundoff(gpu));
        let check = |what: &str, actual: &[f32], exact: &[f64], magnitudes: &[f64], terms: usize, stored: f64| {
            let roundings = terms as f64 * unit;
            assert_close_by(what, actual, exact, |i| {
                (roundings * (1.0 + stored)) * magnitudes[i] + stored * exact[i].abs()
            });
        };

        let y = fprop(gpu, &conv, N, &x, &w, &b, false);
        let (y64, ym) =
            (super::fprop(&conv, N, &xo, &wo, &exact(&b), false), super::fprop(&conv, N, &xm, &wm, &bm, false));
        check("y", &y, &y64, &ym, conv.weights() / conv.K + 2, stored);
        let dx = dgrad(gpu, &conv, N, &dy, &w);
        let (dx64, dxm) = (super::dgrad(&conv, N, &dyo, &wo), super::dgrad(&conv, N, &dym, &wm));
        check("dx", &dx, &dx64, &dxm, conv.R * conv.S * conv.K + 1, stored);
        let (dw, db) = wgrad(gpu, &conv, N, &x, &dy);
        let ((dw64, _), (dwm, _)) = (super::wgrad(&conv, N, &xo, &dyo), super::wgrad(&conv, N, &xm, &dym));
        let pixels = N * conv.P * conv.Q;
        check("dw", &dw, &dw64, &dwm, pixels + 1, 0.0);
        // db adds up dy itself, in f32.
        let (_, db64) = super::wgrad(&conv, N, &xo, &exact(&dy));
        let (_, dbm) = super::wgrad(&conv, N, &xm, &magnitude(&exact(&dy)));
        check("db", &db, &db64, &dbm, pixels + 1, 0.0);
    }
}

/// The same bits again, and in company as alone.
fn repeats_itself(gpu: &mut Gpu<impl Device>) {
    let (conv, N) = (conv((17, 23, 4), 9, (3, 2), 2, 1, 1), 5);
    let (x, w) = (normal::<f32>(1, N * conv.input().len()), normal::<f32>(2, conv.weights()));
    let (b, dy) = (normal::<f32>(3, conv.K), normal::<f32>(4, N * conv.output().len()));
    let run = |gpu: &mut Gpu<_>| {
        let (dw, db) = wgrad(gpu, &conv, N, &x, &dy);
        [fprop(gpu, &conv, N, &x, &w, &b, true), dgrad(gpu, &conv, N, &dy, &w), dw, db]
    };
    let (first, second) = (run(gpu), run(gpu));
    for (what, (first, second)) in ["y", "dx", "dw", "db"].iter().zip(first.iter().zip(&second)) {
        assert_same_bits(what, first, second);
    }
    let alone = fprop(gpu, &conv, 1, &x[3 * conv.input().len()..], &w, &b, true);
    assert_same_bits("image 3", &alone, &first[0][3 * conv.output().len()..4 * conv.output().len()]);
}

/// In f32, those that take the emulator a moment.
fn goldens(gpu: &mut Gpu<impl Device>) {
    if gpu.precision() != Precision::F32 {
        return;
    }
    for case in cases("conv").unwrap_or_default() {
        let ([N, C, H, W], [K, _, R, S]) = (case.tensor("x").shape4(), case.tensor("w").shape4());
        let conv = conv((H, W, C), K, (R, S), case.count("stride"), case.count("pad"), 1);
        if N as u64 * conv.macs() > 600_000 {
            continue;
        }
        let (x, w) = (case.channels_last::<f32>("x"), case.channels_last::<f32>("w"));
        let (b, dy) = (case.values::<f32>("b"), case.channels_last::<f32>("gy"));
        let compare = |name: &str, actual: &[f32], expected: Vec<f64>| {
            assert_close(&format!("{} {name}", case.name), actual, &expected, case.tolerance::<f32>(name));
        };
        compare("y", &fprop(gpu, &conv, N, &x, &w, &b, false), case.channels_last("y"));
        compare("gx", &dgrad(gpu, &conv, N, &dy, &w), case.channels_last("gx"));
        let (dw, db) = wgrad(gpu, &conv, N, &x, &dy);
        compare("gw", &dw, case.channels_last("gw"));
        compare("gb", &db, case.values("gb"));
    }
}

fn refuses_what_does_not_fit(gpu: &mut Gpu<impl Device>) {
    let conv = conv((5, 6, 4), 6, (3, 3), 1, 1, 1);
    let buffer = |gpu: &mut Gpu<_>, role, len: usize| filled(gpu, role, &vec![0.0; len]);
    let (x, w) = (buffer(gpu, Role::Activation, 119), buffer(gpu, Role::Weight, conv.weights()));
    let (bias, mut y) = (buffer(gpu, Role::Full, 6), buffer(gpu, Role::Activation, conv.output().len()));
    let refused = gpu.conv_fprop(&conv, 1, &x, &w, &bias, false, &mut y);
    assert_refused(refused, "conv_fprop", "x needs 120 elements but its buffer holds 119");
    let refused = gpu.conv_fprop(&conv, 1 << 27, &x, &w, &bias, false, &mut y);
    assert_refused(refused, "conv_fprop", "N P Q is 4026531840, more than a kernel counts to");
}

on_gpus!(
    equals_six_loops,
    images_equal_six_loops,
    images_are_for_those_who_know_them,
    wide_tiles,
    bulk_copies,
    rectifies,
    follows_the_f64_oracle,
    repeats_itself,
    goldens,
    refuses_what_does_not_fit
);

/// The order of threads and blocks changes nothing.
#[test]
fn results_do_not_depend_on_the_order_of_threads() {
    let (conv, N) = (conv((9, 7, 8), 16, (3, 3), 2, 1, 1), 11);
    let (x, dy) = (normal::<f32>(1, N * conv.input().len()), normal::<f32>(2, N * conv.output().len()));
    let w = normal::<f32>(3, conv.weights());
    for (mut one, mut other) in backends(|| emulator(0)).into_iter().zip(backends(|| emulator(20_130))) {
        let what = one.precision().to_string();
        assert_same_bits(&what, &dgrad(&mut one, &conv, N, &dy, &w), &dgrad(&mut other, &conv, N, &dy, &w));
        let ((dw, db), (dw_other, db_other)) =
            (wgrad(&mut one, &conv, N, &x, &dy), wgrad(&mut other, &conv, N, &x, &dy));
        assert_same_bits(&what, &dw, &dw_other);
        assert_same_bits(&what, &db, &db_other);
    }
}
