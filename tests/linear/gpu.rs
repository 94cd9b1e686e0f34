//! The kernels: exactly on whole numbers, within their roundings on others.

use zfnet::device::Device;
use zfnet::ops::linear::{Linear, LinearOp};
use zfnet::ops::{Gpu, Precision, Role};

use super::ThreeLoops;
use crate::common::compare::{Tolerance, assert_close, assert_close_by, assert_refused, assert_same_bits};
use crate::common::goldens::cases;
use crate::common::gpu::{accumulation, filled, on_gpus, operand, poisoned, representable, store_roundoff, written};
use crate::common::values::{cast, normal};

fn fprop<D: Device>(
    gpu: &mut Gpu<D>,
    linear: &Linear,
    N: usize,
    x: &[f32],
    w: &[f32],
    bias: &[f32],
    relu: bool,
) -> Vec<f32> {
    let (x, w) = (filled(gpu, Role::Activation, x), filled(gpu, Role::Weight, w));
    let bias = filled(gpu, Role::Full, bias);
    let mut y = poisoned(gpu, Role::Activation, N * linear.outputs);
    gpu.linear_fprop(linear, N, &x, &w, &bias, relu, &mut y).unwrap();
    written(gpu, &y, N * linear.outputs)
}

fn dgrad<D: Device>(gpu: &mut Gpu<D>, linear: &Linear, N: usize, dy: &[f32], w: &[f32]) -> Vec<f32> {
    let (dy, w) = (filled(gpu, Role::Activation, dy), filled(gpu, Role::Weight, w));
    let mut dx = poisoned(gpu, Role::Activation, N * linear.inputs);
    gpu.linear_dgrad(linear, N, &dy, &w, &mut dx).unwrap();
    written(gpu, &dx, N * linear.inputs)
}

fn wgrad<D: Device>(gpu: &mut Gpu<D>, linear: &Linear, N: usize, x: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let [x, dy] = [x, dy].map(|v| filled(gpu, Role::Activation, v));
    let [mut dw, mut db] = [linear.weights(), linear.outputs].map(|len| poisoned(gpu, Role::Full, len));
    gpu.linear_wgrad(linear, N, &x, &dy, &mut dw, &mut db).unwrap();
    (written(gpu, &dw, linear.weights()), written(gpu, &db, linear.outputs))
}

/// Sums of whole numbers are exact in every precision, in any order; what bf16 stores is their rounding.
fn equals_three_loops(gpu: &mut Gpu<impl Device>) {
    for (N, inputs, outputs) in [
        (1, 1, 1),
        (5, 3, 71),
        // More than one tile of rows and of columns, in vectors and not.
        (131, 24, 136),
        (129, 131, 10),
        // Long sums, cut into parts, in vectors and not.
        (3, 536, 8),
        (2, 7, 531),
    ] {
        let linear = Linear::new(inputs, outputs).unwrap();
        let expected = ThreeLoops::new(&linear, N);
        let [x, w, bias, dy] = [&expected.x, &expected.w, &expected.bias, &expected.dy].map(|v| cast::<f64, f32>(v));
        let compare = |gpu: &Gpu<_>, what: &str, actual: &[f32], exact: &[f64], stored: bool| {
            let exact = if stored { cast(&representable(gpu, &cast(exact))) } else { exact.to_vec() };
            assert_close(&format!("{N} x {inputs} x {outputs} {what}"), actual, &exact, Tolerance::EXACT);
        };
        let y = fprop(gpu, &linear, N, &x, &w, &bias, false);
        compare(gpu, "y", &y, &expected.y, true);
        let rectified = fprop(gpu, &linear, N, &x, &w, &bias, true);
        compare(gpu, "relu(y)", &rectified, &expected.rectified(), true);
        let dx = dgrad(gpu, &linear, N, &dy, &w);
        compare(gpu, "dx", &dx, &expected.dx, true);
        let (dw, db) = wgrad(gpu, &linear, N, &x, &dy);
        compare(gpu, "dw", &dw, &expected.dw, false);
        compare(gpu, "db", &db, &expected.db, false);
    }
}

/// Operands rounded as the precision has it; then each of a sum's n products and additions errs by
/// at most one `accumulation` of the terms' magnitudes. The same bits again.
fn follows_the_f64_oracle(gpu: &mut Gpu<impl Device>) {
    for (N, inputs, outputs) in [(13, 536, 24), (37, 29, 531)] {
        let linear = Linear::new(inputs, outputs).unwrap();
        let of = |gpu: &Gpu<_>, lane, len| representable(gpu, &normal::<f32>(lane, len));
        let (x, w) = (of(gpu, 1, N * inputs), of(gpu, 2, linear.weights()));
        let (b, dy) = (normal::<f32>(3, outputs), of(gpu, 4, N * outputs));
        let exact = |v: &[f32]| cast::<f32, f64>(v);
        let magnitude = |v: &[f64]| v.iter().map(|v| v.abs()).collect::<Vec<_>>();
        let [xo, wo, dyo] = [&x, &w, &dy].map(|v| exact(&operand(gpu, v)));
        let [xm, wm, bm, dym] = [&xo, &wo, &exact(&b), &dyo].map(|v| magnitude(v));
        let (unit, stored) = (accumulation(gpu), store_roundoff(gpu));
        let check = |what: &str, actual: &[f32], exact: &[f64], magnitudes: &[f64], terms: usize, stored: f64| {
            let roundings = terms as f64 * unit;
            assert_close_by(what, actual, exact, |i| {
                roundings * (1.0 + stored) * magnitudes[i] + stored * exact[i].abs()
            });
        };

        let y = fprop(gpu, &linear, N, &x, &w, &b, false);
        let y64 = super::fprop(&linear, N, &xo, &wo, &exact(&b), false);
        check("y", &y, &y64, &super::fprop(&linear, N, &xm, &wm, &bm, false), inputs + 2, stored);
        let dx = dgrad(gpu, &linear, N, &dy, &w);
        check(
            "dx",
            &dx,
            &super::dgrad(&linear, N, &dyo, &wo),
            &super::dgrad(&linear, N, &dym, &wm),
            outputs + 1,
            stored,
        );
        let (dw, db) = wgrad(gpu, &linear, N, &x, &dy);
        check("dw", &dw, &super::wgrad(&linear, N, &xo, &dyo).0, &super::wgrad(&linear, N, &xm, &dym).0, N + 1, 0.0);
        // db adds up dy itself, in f32.
        let dya = exact(&dy);
        check(
            "db",
            &db,
            &super::wgrad(&linear, N, &xo, &dya).1,
            &super::wgrad(&linear, N, &xm, &magnitude(&dya)).1,
            N,
            0.0,
        );

        assert_same_bits("y again", &y, &fprop(gpu, &linear, N, &x, &w, &b, false));
        assert_same_bits("dx again", &dx, &dgrad(gpu, &linear, N, &dy, &w));
        assert_same_bits("dw again", &dw, &wgrad(gpu, &linear, N, &x, &dy).0);
    }
}

fn goldens(gpu: &mut Gpu<impl Device>) {
    if gpu.precision() != Precision::F32 {
        return;
    }
    for case in cases("linear").unwrap_or_default() {
        let (x, w) = (case.values::<f32>("x"), case.values::<f32>("w"));
        let (b, dy) = (case.values::<f32>("b"), case.values::<f32>("gy"));
        let (N, linear) = (case.tensor("x").shape[0], Linear::new(case.tensor("x").shape[1], b.len()).unwrap());
        let compare = |name: &str, actual: &[f32]| {
            assert_close(&format!("{} {name}", case.name), actual, &case.values(name), case.tolerance::<f32>(name));
        };
        compare("y", &fprop(gpu, &linear, N, &x, &w, &b, false));
        compare("gx", &dgrad(gpu, &linear, N, &dy, &w));
        let (dw, db) = wgrad(gpu, &linear, N, &x, &dy);
        compare("gw", &dw);
        compare("gb", &db);
    }
}

fn refuses_what_does_not_fit(gpu: &mut Gpu<impl Device>) {
    let linear = Linear::new(4, 3).unwrap();
    let buffer = |gpu: &mut Gpu<_>, role, len: usize| filled(gpu, role, &vec![0.0; len]);
    let (x, w) = (buffer(gpu, Role::Activation, 7), buffer(gpu, Role::Weight, 12));
    let (bias, mut y) = (buffer(gpu, Role::Full, 3), buffer(gpu, Role::Activation, 6));
    let refused = gpu.linear_fprop(&linear, 2, &x, &w, &bias, false, &mut y);
    assert_refused(refused, "linear_fprop", "x needs 8 elements but its buffer holds 7");
}

on_gpus!(equals_three_loops, follows_the_f64_oracle, goldens, refuses_what_does_not_fit);
