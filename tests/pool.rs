use proptest::prelude::*;
use zfnet::device::Device;
use zfnet::ops::pool::{Pool, PoolOp, Rounding, UnpoolMode};
use zfnet::ops::{Cpu, Gpu, Real, Role, Storage};
use zfnet::tensor::Extent;

use crate::common::compare::{
    Tolerance, assert_close, assert_refused, assert_same_bits, assert_thread_independent, roundoff,
};
use crate::common::finite_difference::assert_gradient;
use crate::common::goldens::{Case, cases};
use crate::common::gpu::{filled, filled_bytes, on_gpus, poisoned, representable, written};
use crate::common::layout::nchw_to_nhwc;
use crate::common::on_cpu;
use crate::common::values::{cast, distinct, dot, normal, poison, whole};

/// Elements that buffers have beyond what the geometry needs; nothing may touch them.
const SLACK: usize = 5;
/// A switch that no window of these tests has.
const NO_SWITCH: u8 = 255;

fn rounding(ceil: bool) -> Rounding {
    if ceil { Rounding::Ceil } else { Rounding::Floor }
}

fn pool(H: usize, W: usize, C: usize, kernel: usize, stride: usize, ceil: bool) -> Pool {
    Pool::new(Extent::new(H, W, C), kernel, stride, rounding(ceil)).unwrap()
}

/// y and switches.
fn forward<T: Real>(pool: &Pool, N: usize, x: &Vec<T>) -> (Vec<T>, Vec<u8>) {
    let len = N * pool.output().len();
    let (mut y, mut switches) = (poison::<T>(len + SLACK), vec![NO_SWITCH; len + SLACK]);
    Cpu::new().pool_forward(pool, N, x, &mut y, &mut switches).unwrap();
    assert!(y[len..].iter().all(|v| v.is_nan()) && switches[len..] == [NO_SWITCH; SLACK], "wrote past the end");
    y.truncate(len);
    switches.truncate(len);
    (y, switches)
}

fn unpool<T: Real>(pool: &Pool, N: usize, mode: UnpoolMode, y: &Vec<T>, switches: &Vec<u8>) -> Vec<T> {
    let len = N * pool.input().len();
    let mut x = poison::<T>(len + SLACK);
    Cpu::new().unpool(pool, N, mode, y, switches, &mut x).unwrap();
    assert!(x[len..].iter().all(|v| v.is_nan()), "wrote past the end");
    x.truncate(len);
    x
}

/// A case's geometry and its `idx` (flat index in the input plane) as switches (r R + s in the window), NHWC.
fn golden_switches(case: &Case, H: usize, W: usize) -> (Pool, usize, Vec<u8>) {
    let [N, C, P, Q] = case.tensor("idx").shape4();
    let pool = pool(H, W, C, case.count("k"), case.count("stride"), case.flag("ceil"));
    assert_eq!((pool.P, pool.Q), (P, Q), "{}", case.name);
    let switches: Vec<u8> = case
        .tensor("idx")
        .values
        .iter()
        .enumerate()
        .map(|(i, idx)| {
            let (p, q, idx) = (i / Q % P, i % Q, *idx as usize);
            let (r, s) = (idx / W - p * pool.stride, idx % W - q * pool.stride);
            assert!(r < pool.R && s < pool.R, "{}: index {idx} is not in its window", case.name);
            (r * pool.R + s) as u8
        })
        .collect();
    (pool, N, nchw_to_nhwc(&switches, [N, C, P, Q]))
}

/// At most four windows point at one position: three additions of sums below four times the `largest`.
fn sum_error<T: Real>(largest: f64) -> f64 {
    3.0 * 4.0 * largest * roundoff::<T>()
}

fn pool_goldens<T: Real>() {
    for case in cases("maxpool").unwrap_or_default() {
        let [_, _, H, W] = case.tensor("x").shape4();
        let (pool, N, expected) = golden_switches(&case, H, W);
        let (y, switches) = forward::<T>(&pool, N, &case.channels_last("x"));
        assert_close(&case.name, &y, &case.channels_last("y"), Tolerance::EXACT);
        assert_same_bits(&case.name, &switches, &expected);
        let tolerance = case.tolerance::<T>("gx").and_abs(sum_error::<T>(case.largest("gy")));
        let gx = unpool::<T>(&pool, N, UnpoolMode::Add, &case.channels_last("gy"), &switches);
        assert_close(&case.name, &gx, &case.channels_last("gx"), tolerance);
    }
}

fn unpool_goldens<T: Real>() {
    for case in cases("unpool").unwrap_or_default() {
        let size = case.numbers("out_hw");
        let (pool, N, switches) = golden_switches(&case, size[0] as usize, size[1] as usize);
        let v = case.channels_last("v");
        let set = unpool::<T>(&pool, N, UnpoolMode::Set, &v, &switches);
        assert_close(&case.name, &set, &case.channels_last("u_last"), Tolerance::EXACT);
        let tolerance = case.tolerance::<T>("u_add").and_abs(sum_error::<T>(case.largest("v")));
        let add = unpool::<T>(&pool, N, UnpoolMode::Add, &v, &switches);
        assert_close(&case.name, &add, &case.channels_last("u_add"), tolerance);
        assert_eq!(add != set, case.count("duplicate_indices") > 0, "{}: whether the modes differ", case.name);
    }
}

on_cpu!(pool_goldens, unpool_goldens);

/// From the definition, in plain loops; backward scatters.
mod naive {
    use super::*;

    pub fn forward(g: &Pool, N: usize, x: &[f64]) -> (Vec<f64>, Vec<u8>) {
        let (mut y, mut switches) = (vec![], vec![]);
        for i in 0..N * g.output().len() {
            let (n, p, q, c) = (i / (g.P * g.Q * g.C), i / (g.Q * g.C) % g.P, i / g.C % g.Q, i % g.C);
            let inside = (0..g.R * g.R).filter(|rs| p * g.stride + rs / g.R < g.H && q * g.stride + rs % g.R < g.W);
            let at = |rs: usize| x[source(g, n, p, q, c, rs)];
            // `max_by` would return the last of equal maxima.
            let best = inside.reduce(|best, rs| if at(rs) > at(best) { rs } else { best }).unwrap();
            y.push(at(best));
            switches.push(best as u8);
        }
        (y, switches)
    }

    pub fn unpool(g: &Pool, N: usize, add: bool, y: &[f64], switches: &[u8]) -> Vec<f64> {
        let mut x = vec![0.0; N * g.input().len()];
        for i in 0..N * g.output().len() {
            let (n, p, q, c) = (i / (g.P * g.Q * g.C), i / (g.Q * g.C) % g.P, i / g.C % g.Q, i % g.C);
            let to = &mut x[source(g, n, p, q, c, usize::from(switches[i]))];
            *to = if add { *to + y[i] } else { y[i] };
        }
        x
    }

    fn source(g: &Pool, n: usize, p: usize, q: usize, c: usize, rs: usize) -> usize {
        let (h, w) = (p * g.stride + rs / g.R, q * g.stride + rs % g.R);
        ((n * g.H + h) * g.W + w) * g.C + c
    }
}

proptest! {
    /// Few different values, so that windows hold their maximum several times.
    #[test]
    fn agrees_with_plain_loops(
        (kernel, stride, ceil) in (1_usize..=5, 1_usize..=6, any::<bool>()),
        (N, C, extra_h, extra_w) in (1_usize..=3, 1_usize..=37, 0_usize..=9, 0_usize..=9),
        lane in 0_u32..1000,
    ) {
        let pool = pool(kernel + extra_h, kernel + extra_w, C, kernel, stride, ceil);
        let x = whole(lane, N * pool.input().len(), 4);
        let (y, switches) = forward(&pool, N, &x);
        let (expected, expected_switches) = naive::forward(&pool, N, &x);
        assert_same_bits("y", &y, &expected);
        assert_same_bits("switches", &switches, &expected_switches);
        let dy = normal::<f64>(lane, y.len());
        for (mode, add) in [(UnpoolMode::Add, true), (UnpoolMode::Set, false)] {
            let dx = unpool(&pool, N, mode, &dy, &switches);
            assert_close("dx", &dx, &naive::unpool(&pool, N, add, &dy, &switches), Tolerance::EXACT);
        }
    }
}

/// y and switches from a GPU.
fn gpu_forward(gpu: &mut Gpu<impl Device>, pool: &Pool, N: usize, x: &[f32]) -> (Vec<f32>, Vec<u8>) {
    let len = N * pool.output().len();
    let x = filled(gpu, Role::Activation, x);
    let (mut y, mut switches) =
        (poisoned(gpu, Role::Activation, len), filled_bytes(gpu, &vec![NO_SWITCH; len + SLACK]));
    gpu.pool_forward(pool, N, &x, &mut y, &mut switches).unwrap();
    let mut codes = vec![0; len + SLACK];
    gpu.download_bytes(&switches, &mut codes).unwrap();
    assert_eq!(codes.split_off(len), [NO_SWITCH; SLACK], "wrote past the end");
    (written(gpu, &y, len), codes)
}

fn gpu_unpool(
    gpu: &mut Gpu<impl Device>,
    pool: &Pool,
    N: usize,
    mode: UnpoolMode,
    y: &[f32],
    switches: &[u8],
) -> Vec<f32> {
    let (y, switches) = (filled(gpu, Role::Activation, y), filled_bytes(gpu, switches));
    let len = N * pool.input().len();
    let mut x = poisoned(gpu, Role::Activation, len);
    gpu.unpool(pool, N, mode, &y, &switches, &mut x).unwrap();
    written(gpu, &x, len)
}

/// The kernels against the definition, whole numbers so that all sums are exact; then random ones, whose
/// sums have the CPU's order and so its bits, but for the one rounding of storing them.
fn gpu_agrees_with_definition(gpu: &mut Gpu<impl Device>) {
    for (H, W, C, kernel, stride, ceil, N) in [
        (7, 9, 5, 3, 2, true, 3),    // no vectors
        (8, 6, 12, 3, 2, true, 1),   // vectors in f32
        (9, 7, 24, 3, 2, false, 2),  // vectors in both; more than a block's threads to a row in f32
        (6, 11, 3, 2, 3, true, 2),   // positions that no window covers
        (5, 8, 8, 4, 1, false, 1),   // 16 windows to a position
        (3, 40, 264, 3, 2, true, 1), // several turns of a block
    ] {
        let pool = pool(H, W, C, kernel, stride, ceil);
        let x = whole(C as u32, N * pool.input().len(), 4);
        let (expected, expected_switches) = naive::forward(&pool, N, &x);
        let (y, switches) = gpu_forward(gpu, &pool, N, &cast(&x));
        assert_close("y", &y, &expected, Tolerance::EXACT);
        assert_same_bits("switches", &switches, &expected_switches);
        let dy = whole(1, y.len(), 15);
        let random = representable(gpu, &normal::<f32>(2, y.len()));
        for (mode, add) in [(UnpoolMode::Add, true), (UnpoolMode::Set, false)] {
            let dx = gpu_unpool(gpu, &pool, N, mode, &cast(&dy), &switches);
            assert_close("dx", &dx, &naive::unpool(&pool, N, add, &dy, &switches), Tolerance::EXACT);
            let dx = gpu_unpool(gpu, &pool, N, mode, &random, &switches);
            let expected = representable(gpu, &unpool(&pool, N, mode, &random, &switches));
            assert_same_bits("dx", &dx, &expected);
        }
    }
}

fn gpu_hides_no_nan(gpu: &mut Gpu<impl Device>) {
    let pool = pool(5, 5, 16, 3, 2, false);
    for position in [0, 4, 8] {
        let mut x = representable(gpu, &normal::<f32>(10, pool.input().len()));
        x[(position / 3 * 5 + position % 3) * 16 + 3] = f32::NAN;
        let ((y, switches), (expected, expected_switches)) = (gpu_forward(gpu, &pool, 1, &x), forward(&pool, 1, &x));
        assert!(y[3].is_nan(), "NaN at tap {position}");
        let nans = |v: &[f32]| v.iter().map(|v| v.is_nan()).collect::<Vec<_>>();
        assert_eq!(nans(&y), nans(&expected));
        assert_same_bits("switches", &switches, &expected_switches);
    }
}

fn gpu_refuses_short_buffers(gpu: &mut Gpu<impl Device>) {
    let (pool, N) = (pool(7, 9, 3, 3, 2, true), 2);
    let (image, map) = (N * pool.input().len(), N * pool.output().len());
    for (x, y, switches, name) in [(1, 0, 0, "x"), (0, 1, 0, "y"), (0, 0, 1, "switches")] {
        let mut x = filled(gpu, Role::Activation, &vec![0.0; image - x]);
        let mut y = filled(gpu, Role::Activation, &vec![0.0; map - y]);
        let mut switches = filled_bytes(gpu, &vec![0; map - switches]);
        assert_refused(gpu.pool_forward(&pool, N, &x, &mut y, &mut switches), "pool", &format!("{name} needs"));
        let refusal = gpu.unpool(&pool, N, UnpoolMode::Add, &y, &switches, &mut x);
        assert_refused(refusal, "unpool", &format!("{name} needs"));
    }
}

on_gpus!(gpu_agrees_with_definition, gpu_hides_no_nan, gpu_refuses_short_buffers);

#[test]
fn gradient() {
    for (H, W, C, kernel, stride, ceil) in [(7, 9, 3, 3, 2, true), (8, 6, 2, 3, 2, false), (7, 5, 1, 2, 3, true)] {
        let (pool, N) = (pool(H, W, C, kernel, stride, ceil), 2);
        // Spaced wider than the stencil, so that no maximum changes its place.
        let x = distinct::<f64>(1, N * pool.input().len(), 0.01);
        let (y, switches) = forward(&pool, N, &x);
        let r = normal::<f64>(2, y.len());
        let dx = unpool(&pool, N, UnpoolMode::Add, &r, &switches);
        assert_gradient("pool", &x, &dx, |x| dot(&r, &forward(&pool, N, &x.to_vec()).0));
    }
}

/// `<gather(x), y> = <x, unpool(y)>` with the switches held fixed: true of `add`, exactly; not of `set`.
#[test]
fn add_is_the_adjoint_of_pooling() {
    let (pool, N) = (pool(13, 11, 5, 3, 2, true), 2);
    let (_, switches) = forward(&pool, N, &whole(3, N * pool.input().len(), 20));
    let x = whole(4, N * pool.input().len(), 20);
    let y = whole(5, N * pool.output().len(), 20);
    let gathered: Vec<f64> = (0..y.len())
        .map(|i| {
            let (n, p, q, c) =
                (i / (pool.P * pool.Q * pool.C), i / (pool.Q * pool.C) % pool.P, i / pool.C % pool.Q, i % pool.C);
            let (r, s) = (usize::from(switches[i]) / pool.R, usize::from(switches[i]) % pool.R);
            x[((n * pool.H + p * pool.stride + r) * pool.W + q * pool.stride + s) * pool.C + c]
        })
        .collect();
    assert_eq!(dot(&gathered, &y), dot(&x, &unpool(&pool, N, UnpoolMode::Add, &y, &switches)));
    assert_ne!(dot(&gathered, &y), dot(&x, &unpool(&pool, N, UnpoolMode::Set, &y, &switches)));
}

/// `pool(unpool(pool(x))) == pool(x)` for x >= 0: true of `set`, not of `add`.
#[test]
fn set_restores_the_pooled_map() {
    let (pool, N) = (pool(13, 11, 5, 3, 2, true), 2);
    let x: Vec<f64> = normal::<f64>(6, N * pool.input().len()).iter().map(|v| v.max(0.0)).collect();
    let (y, switches) = forward(&pool, N, &x);
    let again = |mode| forward(&pool, N, &unpool(&pool, N, mode, &y, &switches)).0;
    assert_same_bits("set", &again(UnpoolMode::Set), &y);
    assert_ne!(again(UnpoolMode::Add), y);
}

#[test]
fn f32_agrees_with_f64() {
    let (pool, N) = (pool(15, 12, 33, 3, 2, true), 3);
    let x = normal::<f32>(7, N * pool.input().len());
    let ((y, switches), (y64, switches64)) = (forward(&pool, N, &x), forward::<f64>(&pool, N, &cast(&x)));
    assert_close("y", &y, &y64, Tolerance::EXACT);
    assert_same_bits("switches", &switches, &switches64);
    let dy = normal::<f32>(8, y.len());
    let dx64 = unpool::<f64>(&pool, N, UnpoolMode::Add, &cast(&dy), &switches);
    let dx = unpool(&pool, N, UnpoolMode::Add, &dy, &switches);
    assert_close("dx", &dx, &dx64, Tolerance::abs(sum_error::<f32>(5.0)));
}

#[test]
fn does_not_depend_on_threads() {
    let (pool, N) = (pool(15, 12, 33, 3, 2, true), 3);
    let x = normal::<f32>(9, N * pool.input().len());
    assert_thread_independent("y", || forward(&pool, N, &x).0);
    assert_thread_independent("switches", || forward(&pool, N, &x).1);
    let (y, switches) = forward(&pool, N, &x);
    assert_thread_independent("dx", || unpool(&pool, N, UnpoolMode::Add, &y, &switches));
}

#[test]
fn nan_is_not_hidden() {
    let pool = pool(5, 5, 17, 3, 2, false);
    for position in 0..9 {
        let mut x = normal::<f32>(10, pool.input().len());
        x[(position / 3 * 5 + position % 3) * 17 + 3] = f32::NAN;
        let (y, switches) = forward(&pool, 1, &x);
        assert!(y[3].is_nan(), "NaN at tap {position}");
        assert_eq!(usize::from(switches[3]), position);
        assert!(y[..3].iter().all(|v| v.is_finite()));
    }
}

#[test]
fn sizes() {
    let sides = |size, kernel, stride, ceil| {
        let pool = pool(size, size + stride, 1, kernel, stride, ceil);
        assert_eq!(pool.Q, pool.P + 1);
        pool.P
    };
    assert_eq!([110, 26, 13].map(|size| sides(size, 3, 2, true)), [55, 13, 6]);
    assert_eq!(sides(110, 3, 2, false), 54);
    // Rounding up would start the third window at 6, past the end.
    assert_eq!(sides(6, 2, 3, true), 2);
    let new = |size, kernel, stride| Pool::new(Extent::new(size, size, 3), kernel, stride, Rounding::Ceil);
    assert_refused(new(20, 17, 2), "pool", "17 is over 16");
    assert_refused(new(4, 5, 2), "pool", "does not fit the 4 x 4 input");
    assert_refused(new(4, 3, 0), "pool", "none may be 0");
}

#[test]
fn short_buffers_are_refused() {
    let (pool, N) = (pool(7, 9, 3, 3, 2, true), 2);
    let (image, map) = (N * pool.input().len(), N * pool.output().len());
    let forward = |x, y, switches| {
        Cpu::<f32>::new().pool_forward(&pool, N, &vec![0.0; x], &mut vec![0.0; y], &mut vec![0; switches])
    };
    forward(image, map, map).unwrap();
    assert_refused(forward(image - 1, map, map), "pool", &format!("x needs {image} elements"));
    assert_refused(forward(image, map - 1, map), "pool", &format!("y needs {map} elements"));
    assert_refused(forward(image, map, map - 1), "pool", &format!("switches needs {map} elements"));
    let unpool = |y, switches, x| {
        let (y, switches) = (vec![0.0; y], vec![0; switches]);
        Cpu::<f32>::new().unpool(&pool, N, UnpoolMode::Add, &y, &switches, &mut vec![0.0; x])
    };
    unpool(map, map, image).unwrap();
    assert_refused(unpool(map - 1, map, image), "unpool", "y needs");
    assert_refused(unpool(map, map - 1, image), "unpool", "switches needs");
    assert_refused(unpool(map, map, image - 1), "unpool", "x needs");
}
