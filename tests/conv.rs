mod gpu;
mod tma;

use proptest::prelude::*;
use zfnet::ops::conv::{Conv, ConvOp};
use zfnet::ops::{Cpu, Real};
use zfnet::tensor::Extent;

use crate::common::compare::{
    Tolerance, assert_close, assert_close_by, assert_refused, assert_same_bits, assert_thread_independent, roundoff,
};
use crate::common::finite_difference::assert_gradient;
use crate::common::goldens::cases;
use crate::common::on_cpu;
use crate::common::values::{archs, cast, dot, normal, poison, whole};

const SLACK: usize = 5;

fn fprop_on<T: Real>(
    arch: pulp::Arch,
    conv: &Conv,
    N: usize,
    x: &Vec<T>,
    w: &Vec<T>,
    bias: &Vec<T>,
    relu: bool,
) -> Vec<T> {
    let len = N * conv.output().len();
    let mut y = poison::<T>(len + SLACK);
    Cpu::on(arch).conv_fprop(conv, N, x, w, bias, relu, &mut y).unwrap();
    assert!(y.split_off(len).iter().all(|v| v.is_nan()), "wrote past the end");
    y
}

fn dgrad_on<T: Real>(arch: pulp::Arch, conv: &Conv, N: usize, dy: &Vec<T>, w: &Vec<T>) -> Vec<T> {
    let len = N * conv.input().len();
    let mut dx = poison::<T>(len + SLACK);
    Cpu::on(arch).conv_dgrad(conv, N, dy, w, &mut dx).unwrap();
    assert!(dx.split_off(len).iter().all(|v| v.is_nan()), "wrote past the end");
    dx
}

fn wgrad_on<T: Real>(arch: pulp::Arch, conv: &Conv, N: usize, x: &Vec<T>, dy: &Vec<T>) -> (Vec<T>, Vec<T>) {
    let (mut dw, mut db) = (poison::<T>(conv.weights() + SLACK), poison::<T>(conv.K + SLACK));
    Cpu::on(arch).conv_wgrad(conv, N, x, dy, &mut dw, &mut db).unwrap();
    assert!(dw.split_off(conv.weights()).iter().chain(&db.split_off(conv.K)).all(|v| v.is_nan()), "wrote past the end");
    (dw, db)
}

fn fprop<T: Real>(conv: &Conv, N: usize, x: &Vec<T>, w: &Vec<T>, bias: &Vec<T>, relu: bool) -> Vec<T> {
    fprop_on(pulp::Arch::new(), conv, N, x, w, bias, relu)
}

fn dgrad<T: Real>(conv: &Conv, N: usize, dy: &Vec<T>, w: &Vec<T>) -> Vec<T> {
    dgrad_on(pulp::Arch::new(), conv, N, dy, w)
}

fn wgrad<T: Real>(conv: &Conv, N: usize, x: &Vec<T>, dy: &Vec<T>) -> (Vec<T>, Vec<T>) {
    wgrad_on(pulp::Arch::new(), conv, N, x, dy)
}

/// Every direction of every golden case.
fn goldens<T: Real>() {
    for case in cases("conv").unwrap_or_default() {
        let ([N, C, H, W], [K, _, R, S]) = (case.tensor("x").shape4(), case.tensor("w").shape4());
        let conv = Conv::new(Extent::new(H, W, C), K, (R, S), case.count("stride"), case.count("pad"), 1).unwrap();
        let (x, w) = (case.channels_last::<T>("x"), case.channels_last::<T>("w"));
        let (b, dy) = (case.values::<T>("b"), case.channels_last::<T>("gy"));
        let compare = |name: &str, actual: &[T], expected: Vec<f64>| {
            assert_close(&format!("{} {name}", case.name), actual, &expected, case.tolerance::<T>(name));
        };
        compare("y", &fprop(&conv, N, &x, &w, &b, false), case.channels_last("y"));
        compare("gx", &dgrad(&conv, N, &dy, &w), case.channels_last("gx"));
        let (dw, db) = wgrad(&conv, N, &x, &dy);
        compare("gw", &dw, case.channels_last("gw"));
        compare("gb", &db, case.values("gb"));
    }
}

on_cpu!(goldens);

/// The definition: six loops over (n, p, q, k, r, s, c), and what each term adds to.
mod naive {
    use super::*;

    /// Calls `term(x index, w index, y index)` for every product of the convolution.
    pub fn terms(conv: &Conv, N: usize, mut term: impl FnMut(usize, usize, usize)) {
        let (Cg, Kg) = (conv.C / conv.groups, conv.K / conv.groups);
        for n in 0..N {
            for (p, q, k) in itertools3(conv.P, conv.Q, conv.K) {
                for (r, s, c) in itertools3(conv.R, conv.S, Cg) {
                    let (h, w) = (p * conv.stride + r, q * conv.stride + s);
                    if h < conv.pad || w < conv.pad || h - conv.pad >= conv.H || w - conv.pad >= conv.W {
                        continue;
                    }
                    let channel = k / Kg * Cg + c;
                    term(
                        ((n * conv.H + h - conv.pad) * conv.W + w - conv.pad) * conv.C + channel,
                        ((k * conv.R + r) * conv.S + s) * Cg + c,
                        ((n * conv.P + p) * conv.Q + q) * conv.K + k,
                    );
                }
            }
        }
    }

    fn itertools3(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..a * b * c).map(move |i| (i / (b * c), i / c % b, i % c))
    }
}

/// All three directions on whole numbers, whose sums f64 and f32 hold exactly:
/// any wrong, missing or doubled term shows.
struct SixLoops {
    x: Vec<f64>,
    w: Vec<f64>,
    bias: Vec<f64>,
    dy: Vec<f64>,
    y: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
    db: Vec<f64>,
}

impl SixLoops {
    fn new(conv: &Conv, N: usize) -> Self {
        let (x, w) = (whole(1, N * conv.input().len(), 4), whole(2, conv.weights(), 4));
        let (bias, dy) = (whole(3, conv.K, 9), whole(4, N * conv.output().len(), 4));
        let mut y: Vec<f64> = (0..dy.len()).map(|i| bias[i % conv.K]).collect();
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        naive::terms(conv, N, |ix, iw, iy| {
            y[iy] += x[ix] * w[iw];
            dx[ix] += dy[iy] * w[iw];
            dw[iw] += dy[iy] * x[ix];
        });
        let db: Vec<f64> = (0..conv.K).map(|k| dy.iter().skip(k).step_by(conv.K).sum()).collect();
        SixLoops { x, w, bias, dy, y, dx, dw, db }
    }

    fn rectified(&self) -> Vec<f64> {
        self.y.iter().map(|y| y.max(0.0)).collect()
    }
}

/// On every instruction set.
fn equals_six_loops<T: Real>(conv: &Conv, N: usize) {
    let expected = SixLoops::new(conv, N);
    let (xt, wt, bt, dyt) = (cast(&expected.x), cast(&expected.w), cast(&expected.bias), cast(&expected.dy));
    let rectified = expected.rectified();
    for arch in archs() {
        assert_close("y", &fprop_on::<T>(arch, conv, N, &xt, &wt, &bt, false), &expected.y, Tolerance::EXACT);
        assert_close("relu(y)", &fprop_on::<T>(arch, conv, N, &xt, &wt, &bt, true), &rectified, Tolerance::EXACT);
        assert_close("dx", &dgrad_on::<T>(arch, conv, N, &dyt, &wt), &expected.dx, Tolerance::EXACT);
        let (dwt, dbt) = wgrad_on::<T>(arch, conv, N, &xt, &dyt);
        assert_close("dw", &dwt, &expected.dw, Tolerance::EXACT);
        assert_close("db", &dbt, &expected.db, Tolerance::EXACT);
    }
}

fn geometry() -> impl Strategy<Value = (Conv, usize)> {
    let sizes = (1usize..=13, 1usize..=17, 1usize..=4, 1usize..=5);
    let kernels = (1usize..=7, 1usize..=6, 1usize..=4, 0usize..=3, 1usize..=3);
    (sizes, kernels, 1usize..=3, 1usize..=9).prop_filter_map(
        "does not fit",
        |((H, W, Cg, N), (R, S, stride, pad, groups), _, Kg)| {
            let input = Extent::new(H, W, Cg * groups);
            Conv::new(input, Kg * groups, (R, S), stride, pad, groups).ok().map(|conv| (conv, N))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_geometries_equal_six_loops((conv, N) in geometry()) {
        equals_six_loops::<f64>(&conv, N);
        equals_six_loops::<f32>(&conv, N);
    }
}

/// Panels and tiles that do not come out even, and ZFNet's kernels on small maps.
fn odd_sizes_equal_six_loops<T: Real>() {
    for (input, K, kernel, stride, pad, groups, N) in [
        (Extent::new(23, 30, 3), 37, (7, 7), 2, 1, 1, 2),
        (Extent::new(15, 11, 34), 65, (5, 5), 2, 0, 1, 1),
        (Extent::new(9, 7, 33), 31, (3, 3), 1, 1, 1, 3),
        (Extent::new(27, 35, 3), 9, (11, 11), 4, 0, 1, 2),
        (Extent::new(8, 13, 68), 70, (3, 5), 1, 2, 2, 1),
        // The stride skips whole rows: their gradient is 0.
        (Extent::new(11, 17, 5), 7, (2, 1), 3, 0, 1, 2),
    ] {
        equals_six_loops::<T>(&Conv::new(input, K, kernel, stride, pad, groups).unwrap(), N);
    }
}

on_cpu!(odd_sizes_equal_six_loops);

#[test]
fn gradients_equal_finite_differences() {
    for (stride, pad, groups) in [(1, 1, 1), (2, 1, 2), (3, 0, 1)] {
        let conv = Conv::new(Extent::new(7, 9, 4), 6, (3, 2), stride, pad, groups).unwrap();
        let N = 2;
        let (x, w) = (normal::<f64>(1, N * conv.input().len()), normal::<f64>(2, conv.weights()));
        let (b, r) = (normal::<f64>(3, conv.K), normal::<f64>(4, N * conv.output().len()));
        let loss =
            |x: &[f64], w: &[f64], b: &[f64]| dot(&r, &fprop(&conv, N, &x.to_vec(), &w.to_vec(), &b.to_vec(), false));
        let (dw, db) = wgrad(&conv, N, &x, &r);
        assert_gradient("dx", &x, &dgrad(&conv, N, &r, &w), |x| loss(x, &w, &b));
        assert_gradient("dw", &w, &dw, |w| loss(&x, w, &b));
        assert_gradient("db", &b, &db, |b| loss(&x, &w, b));
    }
}

/// <conv(x), y> = <x, dgrad(y)>: dgrad is the transposed convolution.
#[test]
fn dgrad_is_the_adjoint_at_every_zfnet_geometry() {
    for (input, K, kernel, stride, pad) in [
        (Extent::new(224, 224, 3), 5, 7, 2, 1),
        (Extent::new(55, 55, 6), 7, 5, 2, 0),
        (Extent::new(13, 13, 11), 9, 3, 1, 1),
        (Extent::new(227, 227, 3), 5, 11, 4, 0),
    ] {
        let conv = Conv::new(input, K, (kernel, kernel), stride, pad, 1).unwrap();
        let (x, y) = (normal::<f64>(1, input.len()), normal::<f64>(2, conv.output().len()));
        let (w, zero) = (normal::<f64>(3, conv.weights()), vec![0.0; K]);
        let above = dot(&fprop(&conv, 1, &x, &w, &zero, false), &y);
        let below = dot(&x, &dgrad(&conv, 1, &y, &w));
        let error = (above - below).abs() / above.abs().max(below.abs());
        assert!(error < 1e-13, "{input}: {above} above, {below} below, {error:e} apart");
    }
}

/// f32 against f64 at a size where sums are long. Each product and sum rounds
/// once, so a sum of n terms is off by at most n roundings of its magnitude.
#[test]
fn f32_follows_the_f64_oracle() {
    let conv = Conv::new(Extent::new(13, 17, 96), 67, (5, 5), 2, 2, 1).unwrap();
    let N = 3;
    let (x, w) = (normal::<f32>(1, N * conv.input().len()), normal::<f32>(2, conv.weights()));
    let (b, dy) = (normal::<f32>(3, conv.K), normal::<f32>(4, N * conv.output().len()));
    let magnitude = |v: &[f32]| -> Vec<f64> { v.iter().map(|v| f64::from(v.abs())).collect() };
    let check = |what: &str, actual: &[f32], exact: &[f64], magnitudes: &[f64], terms: usize| {
        assert_close_by(what, actual, exact, |i| terms as f64 * roundoff::<f32>() * magnitudes[i]);
    };
    let (xa, wa, ba, dya) = (magnitude(&x), magnitude(&w), magnitude(&b), magnitude(&dy));
    let (x64, w64, b64, dy64) = (cast(&x), cast(&w), cast(&b), cast(&dy));
    let filter = conv.weights() / conv.K;
    let y = fprop(&conv, N, &x, &w, &b, false);
    check("y", &y, &fprop(&conv, N, &x64, &w64, &b64, false), &fprop(&conv, N, &xa, &wa, &ba, false), filter + 1);
    let dx = dgrad(&conv, N, &dy, &w);
    check("dx", &dx, &dgrad(&conv, N, &dy64, &w64), &dgrad(&conv, N, &dya, &wa), conv.R * conv.S * conv.K);
    let ((dw, db), (dw64, db64), (dwa, dba)) =
        (wgrad(&conv, N, &x, &dy), wgrad(&conv, N, &x64, &dy64), wgrad(&conv, N, &xa, &dya));
    let pixels = N * conv.P * conv.Q;
    check("dw", &dw, &dw64, &dwa, pixels + N);
    check("db", &db, &db64, &dba, pixels + N);
}

#[test]
fn results_do_not_depend_on_threads_or_batch() {
    let conv = Conv::new(Extent::new(19, 15, 7), 35, (5, 3), 2, 1, 1).unwrap();
    let N = 5;
    let (x, w) = (normal::<f32>(1, N * conv.input().len()), normal::<f32>(2, conv.weights()));
    let (b, dy) = (normal::<f32>(3, conv.K), normal::<f32>(4, N * conv.output().len()));
    assert_thread_independent("y", || fprop(&conv, N, &x, &w, &b, true));
    assert_thread_independent("dx", || dgrad(&conv, N, &dy, &w));
    assert_thread_independent("dw", || wgrad(&conv, N, &x, &dy).0);
    assert_thread_independent("db", || wgrad(&conv, N, &x, &dy).1);
    // An image's result is the same alone and in company.
    let alone = fprop(&conv, 1, &x[3 * conv.input().len()..].to_vec(), &w, &b, true);
    let together = fprop(&conv, N, &x, &w, &b, true);
    assert_same_bits("image 3", &alone, &together[3 * conv.output().len()..4 * conv.output().len()]);
}

#[test]
fn a_nan_is_not_hidden_by_relu() {
    let conv = Conv::new(Extent::new(3, 3, 1), 2, (1, 1), 1, 0, 1).unwrap();
    let mut x = vec![-1.0f32; 9];
    x[4] = f32::NAN;
    let y = fprop(&conv, 1, &x, &vec![1.0, 1.0], &vec![0.0, 0.0], true);
    assert_eq!(y.iter().filter(|v| v.is_nan()).count(), 2);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let input = Extent::new(5, 6, 4);
    assert_refused(Conv::new(input, 6, (3, 3), 0, 0, 1), "conv", "none may be 0");
    assert_refused(Conv::new(input, 6, (7, 3), 1, 0, 1), "conv", "7 x 3 kernel does not fit the 5 x 6 input");
    assert_refused(Conv::new(input, 6, (3, 3), 1, 3, 1), "conv", "pad 3 must be smaller");
    assert_refused(Conv::new(input, 6, (3, 3), 1, 1, 4), "conv", "4 groups must divide both 4 input channels and 6");
    let conv = Conv::new(input, 6, (3, 3), 1, 1, 1).unwrap();
    let mut y = vec![0.0f32; conv.output().len()];
    let short = vec![0.0f32; input.len() - 1];
    let w = vec![0.0f32; conv.weights()];
    let refused = Cpu::new().conv_fprop(&conv, 1, &short, &w, &vec![0.0; 6], false, &mut y);
    assert_refused(refused, "conv_fprop", "x needs 120 elements but its buffer holds 119");
}
