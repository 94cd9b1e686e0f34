mod gpu;

use zfnet::ops::linear::{Linear, LinearOp};
use zfnet::ops::{Cpu, Real};

use crate::common::compare::{
    Tolerance, assert_close, assert_close_by, assert_refused, assert_thread_independent, roundoff,
};
use crate::common::finite_difference::assert_gradient;
use crate::common::goldens::cases;
use crate::common::on_cpu;
use crate::common::values::{archs, cast, dot, normal, poison, whole};

const SLACK: usize = 5;

fn fprop_on<T: Real>(
    arch: pulp::Arch,
    linear: &Linear,
    N: usize,
    x: &Vec<T>,
    w: &Vec<T>,
    bias: &Vec<T>,
    relu: bool,
) -> Vec<T> {
    let mut y = poison::<T>(N * linear.outputs + SLACK);
    Cpu::on(arch).linear_fprop(linear, N, x, w, bias, relu, &mut y).unwrap();
    assert!(y.split_off(N * linear.outputs).iter().all(|v| v.is_nan()), "wrote past the end");
    y
}

fn dgrad_on<T: Real>(arch: pulp::Arch, linear: &Linear, N: usize, dy: &Vec<T>, w: &Vec<T>) -> Vec<T> {
    let mut dx = poison::<T>(N * linear.inputs + SLACK);
    Cpu::on(arch).linear_dgrad(linear, N, dy, w, &mut dx).unwrap();
    assert!(dx.split_off(N * linear.inputs).iter().all(|v| v.is_nan()), "wrote past the end");
    dx
}

fn wgrad_on<T: Real>(arch: pulp::Arch, linear: &Linear, N: usize, x: &Vec<T>, dy: &Vec<T>) -> (Vec<T>, Vec<T>) {
    let (mut dw, mut db) = (poison::<T>(linear.weights() + SLACK), poison::<T>(linear.outputs + SLACK));
    Cpu::on(arch).linear_wgrad(linear, N, x, dy, &mut dw, &mut db).unwrap();
    let past = dw.split_off(linear.weights()).into_iter().chain(db.split_off(linear.outputs));
    assert!(past.into_iter().all(|v| v.is_nan()), "wrote past the end");
    (dw, db)
}

fn fprop<T: Real>(linear: &Linear, N: usize, x: &Vec<T>, w: &Vec<T>, bias: &Vec<T>, relu: bool) -> Vec<T> {
    fprop_on(pulp::Arch::new(), linear, N, x, w, bias, relu)
}

fn dgrad<T: Real>(linear: &Linear, N: usize, dy: &Vec<T>, w: &Vec<T>) -> Vec<T> {
    dgrad_on(pulp::Arch::new(), linear, N, dy, w)
}

fn wgrad<T: Real>(linear: &Linear, N: usize, x: &Vec<T>, dy: &Vec<T>) -> (Vec<T>, Vec<T>) {
    wgrad_on(pulp::Arch::new(), linear, N, x, dy)
}

fn goldens<T: Real>() {
    for case in cases("linear").unwrap_or_default() {
        let (x, w) = (case.values::<T>("x"), case.values::<T>("w"));
        let (b, dy) = (case.values::<T>("b"), case.values::<T>("gy"));
        let (N, linear) = (case.tensor("x").shape[0], Linear::new(case.tensor("x").shape[1], b.len()).unwrap());
        let compare = |name: &str, actual: &[T]| {
            assert_close(&format!("{} {name}", case.name), actual, &case.values(name), case.tolerance::<T>(name));
        };
        compare("y", &fprop(&linear, N, &x, &w, &b, false));
        compare("gx", &dgrad(&linear, N, &dy, &w));
        let (dw, db) = wgrad(&linear, N, &x, &dy);
        compare("gw", &dw);
        compare("gb", &db);
    }
}

on_cpu!(goldens);

/// All three directions on whole numbers, whose sums are exact.
struct ThreeLoops {
    x: Vec<f64>,
    w: Vec<f64>,
    bias: Vec<f64>,
    dy: Vec<f64>,
    y: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
    db: Vec<f64>,
}

impl ThreeLoops {
    fn new(linear: &Linear, N: usize) -> Self {
        let Linear { inputs, outputs } = *linear;
        let (x, w) = (whole(1, N * inputs, 4), whole(2, linear.weights(), 4));
        let (bias, dy) = (whole(3, outputs, 9), whole(4, N * outputs, 4));
        let mut y: Vec<f64> = (0..N * outputs).map(|i| bias[i % outputs]).collect();
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; outputs]);
        for (n, o) in (0..N * outputs).map(|i| (i / outputs, i % outputs)) {
            db[o] += dy[n * outputs + o];
            for i in 0..inputs {
                y[n * outputs + o] += x[n * inputs + i] * w[o * inputs + i];
                dx[n * inputs + i] += dy[n * outputs + o] * w[o * inputs + i];
                dw[o * inputs + i] += dy[n * outputs + o] * x[n * inputs + i];
            }
        }
        ThreeLoops { x, w, bias, dy, y, dx, dw, db }
    }

    fn rectified(&self) -> Vec<f64> {
        self.y.iter().map(|y| y.max(0.0)).collect()
    }
}

/// On every instruction set.
fn equals_three_loops<T: Real>() {
    for (N, inputs, outputs) in [(1, 1, 1), (1, 67, 3), (5, 3, 71), (33, 129, 37), (15, 700, 41)] {
        let linear = Linear::new(inputs, outputs).unwrap();
        let expected = ThreeLoops::new(&linear, N);
        let (xt, wt, bt, dyt) = (cast(&expected.x), cast(&expected.w), cast(&expected.bias), cast(&expected.dy));
        let rectified = expected.rectified();
        for arch in archs() {
            assert_close("y", &fprop_on::<T>(arch, &linear, N, &xt, &wt, &bt, false), &expected.y, Tolerance::EXACT);
            assert_close(
                "relu(y)",
                &fprop_on::<T>(arch, &linear, N, &xt, &wt, &bt, true),
                &rectified,
                Tolerance::EXACT,
            );
            assert_close("dx", &dgrad_on::<T>(arch, &linear, N, &dyt, &wt), &expected.dx, Tolerance::EXACT);
            let (dwt, dbt) = wgrad_on::<T>(arch, &linear, N, &xt, &dyt);
            assert_close("dw", &dwt, &expected.dw, Tolerance::EXACT);
            assert_close("db", &dbt, &expected.db, Tolerance::EXACT);
        }
    }
}

on_cpu!(equals_three_loops);

#[test]
fn gradients_equal_finite_differences() {
    let (N, linear) = (3, Linear::new(7, 5).unwrap());
    let (x, w) = (normal::<f64>(1, N * linear.inputs), normal::<f64>(2, linear.weights()));
    let (b, r) = (normal::<f64>(3, linear.outputs), normal::<f64>(4, N * linear.outputs));
    let loss =
        |x: &[f64], w: &[f64], b: &[f64]| dot(&r, &fprop(&linear, N, &x.to_vec(), &w.to_vec(), &b.to_vec(), false));
    let (dw, db) = wgrad(&linear, N, &x, &r);
    assert_gradient("dx", &x, &dgrad(&linear, N, &r, &w), |x| loss(x, &w, &b));
    assert_gradient("dw", &w, &dw, |w| loss(&x, w, &b));
    assert_gradient("db", &b, &db, |b| loss(&x, &w, b));
}

/// A sum of n terms is off by at most n roundings of its magnitude.
#[test]
fn f32_follows_the_f64_oracle() {
    let (N, linear) = (13, Linear::new(1037, 77).unwrap());
    let (x, w) = (normal::<f32>(1, N * linear.inputs), normal::<f32>(2, linear.weights()));
    let (b, dy) = (normal::<f32>(3, linear.outputs), normal::<f32>(4, N * linear.outputs));
    let magnitude = |v: &[f32]| -> Vec<f64> { v.iter().map(|v| f64::from(v.abs())).collect() };
    let check = |what: &str, actual: &[f32], exact: &[f64], magnitudes: &[f64], terms: usize| {
        assert_close_by(what, actual, exact, |i| terms as f64 * roundoff::<f32>() * magnitudes[i]);
    };
    let (xa, wa, ba, dya) = (magnitude(&x), magnitude(&w), magnitude(&b), magnitude(&dy));
    let (x64, w64, b64, dy64) = (cast(&x), cast(&w), cast(&b), cast(&dy));
    let y = fprop(&linear, N, &x, &w, &b, false);
    check("y", &y, &fprop(&linear, N, &x64, &w64, &b64, false), &fprop(&linear, N, &xa, &wa, &ba, false), 1038);
    let dx = dgrad(&linear, N, &dy, &w);
    check("dx", &dx, &dgrad(&linear, N, &dy64, &w64), &dgrad(&linear, N, &dya, &wa), 77);
    let (dw, dw64, dwa) =
        (wgrad(&linear, N, &x, &dy).0, wgrad(&linear, N, &x64, &dy64).0, wgrad(&linear, N, &xa, &dya).0);
    check("dw", &dw, &dw64, &dwa, N);
}

#[test]
fn results_do_not_depend_on_threads() {
    let (N, linear) = (9, Linear::new(1300, 300).unwrap());
    let (x, w) = (normal::<f32>(1, N * linear.inputs), normal::<f32>(2, linear.weights()));
    let (b, dy) = (normal::<f32>(3, linear.outputs), normal::<f32>(4, N * linear.outputs));
    assert_thread_independent("y", || fprop(&linear, N, &x, &w, &b, true));
    assert_thread_independent("dx", || dgrad(&linear, N, &dy, &w));
    assert_thread_independent("dw", || wgrad(&linear, N, &x, &dy).0);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    assert_refused(Linear::new(0, 3), "linear", "neither may be 0");
    let linear = Linear::new(4, 3).unwrap();
    let refused =
        Cpu::new().linear_fprop(&linear, 2, &vec![0.0f32; 7], &vec![0.0; 12], &vec![0.0; 3], false, &mut vec![0.0; 6]);
    assert_refused(refused, "linear_fprop", "x needs 8 elements but its buffer holds 7");
}
