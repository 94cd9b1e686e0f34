use zfnet::device::Device;
use zfnet::ops::lrn::Lrn;
use zfnet::ops::pool::{Pool, PoolOp, Rounding, UnpoolMode};
use zfnet::ops::pool_lrn::PoolLrnOp;
use zfnet::ops::{Cpu, Gpu, Role, Storage};
use zfnet::tensor::Extent;

use crate::common::compare::{Tolerance, assert_close, assert_close_by, assert_same_bits, roundoff};
use crate::common::gpu::{filled, filled_bytes, on_gpus, poisoned, representable, store_roundoff, written};
use crate::common::values::{cast, normal, poison};
use crate::lrn::{gpu_error, naive};

/// A case: its sizes, and what f64 makes of it.
struct Case {
    pool: Pool,
    lrn: Lrn,
    N: usize,
    x: Vec<f32>,
    db: Vec<f32>,
}

fn case(gpu: &Gpu<impl Device>, [H, W, C]: [usize; 3], kernel: usize, stride: usize, N: usize) -> Case {
    let pool = Pool::new(Extent::new(H, W, C), kernel, stride, Rounding::Ceil).unwrap();
    let spread = |lane, len, by: f32| normal::<f32>(lane, len).into_iter().map(|v| v * by).collect::<Vec<_>>();
    let x = representable(gpu, &spread(1, N * pool.input().len(), 4.0));
    let db = representable(gpu, &spread(2, N * pool.output().len(), 1.0));
    Case { pool, lrn: Lrn::new(5, 2.0, 0.3, 0.75, true).unwrap(), N, x, db }
}

/// a, switches and b from a GPU.
fn gpu_forward(gpu: &mut Gpu<impl Device>, case: &Case) -> (Vec<f32>, Vec<u8>, Vec<f32>) {
    let Case { pool, lrn, N, x, .. } = case;
    let map = N * pool.output().len();
    let x = filled(gpu, Role::Activation, x);
    let [mut a, mut b] = [0; 2].map(|_| poisoned(gpu, Role::Activation, map));
    let mut switches = filled_bytes(gpu, &vec![255; map + 3]);
    gpu.pool_lrn_forward(pool, lrn, *N, &x, &mut a, &mut switches, &mut b).unwrap();
    let mut codes = vec![0; map + 3];
    gpu.download_bytes(&switches, &mut codes).unwrap();
    assert_eq!(codes.split_off(map), [255; 3], "wrote past the end");
    (written(gpu, &a, map), codes, written(gpu, &b, map))
}

fn gpu_backward(gpu: &mut Gpu<impl Device>, case: &Case, a: &[f32], switches: &[u8]) -> Vec<f32> {
    let Case { pool, lrn, N, db, .. } = case;
    let [a, db] = [a, db].map(|v| filled(gpu, Role::Activation, v));
    let switches = filled_bytes(gpu, switches);
    let mut da = poisoned(gpu, Role::Activation, N * pool.output().len());
    let mut dx = poisoned(gpu, Role::Activation, N * pool.input().len());
    gpu.pool_lrn_backward(pool, lrn, *N, &a, &switches, &db, &mut da, &mut dx).unwrap();
    written(gpu, &dx, N * pool.input().len())
}

fn unpool(case: &Case, da: &[f64], switches: &[u8]) -> Vec<f64> {
    let mut dx = poison::<f64>(case.N * case.pool.input().len());
    let (da, switches) = (da.to_vec(), switches.to_vec());
    Cpu::new().unpool(&case.pool, case.N, UnpoolMode::Add, &da, &switches, &mut dx).unwrap();
    dx
}

/// Pooling exactly, the rest within what each rounding may add; the same bits twice.
fn gpu_agrees_with_oracle(gpu: &mut Gpu<impl Device>) {
    for (input, kernel, stride, N) in [
        ([7, 9, 5], 3, 2, 2),    // no vectors; one tile
        ([13, 47, 16], 3, 2, 1), // vectors; tiles in both directions, the last ones partial
        ([6, 11, 3], 2, 3, 2),   // positions that no window covers
        ([9, 8, 8], 5, 1, 1),    // 25 windows to a position
        ([3, 4, 1032], 3, 2, 1), // too wide to be fused backward in f32
    ] {
        let case = case(gpu, input, kernel, stride, N);
        let C = case.pool.C;
        let map = N * case.pool.output().len();
        let (mut expected_a, mut expected_switches) = (poison::<f64>(map), vec![255; map]);
        Cpu::new().pool_forward(&case.pool, N, &cast(&case.x), &mut expected_a, &mut expected_switches).unwrap();
        let (a, switches, b) = gpu_forward(gpu, &case);
        assert_close("a", &a, &expected_a, Tolerance::EXACT);
        assert_same_bits("switches", &switches, &expected_switches);
        let allowed = gpu_error(gpu, &case.lrn, C);
        assert_close("b", &b, &naive::forward(&case.lrn, C, &expected_a), Tolerance::rel(allowed));

        let (da, magnitude) = naive::backward(&case.lrn, C, &expected_a, &cast(&case.db));
        let dx = gpu_backward(gpu, &case, &a, &switches);
        // Each da errs by so much; their sum is rounded once a window, and stored.
        let magnitude = unpool(&case, &magnitude, &switches);
        let windows = kernel.div_ceil(stride).pow(2) as f64;
        let allowed = allowed + windows * roundoff::<f32>() + 1.01 * store_roundoff(gpu);
        assert_close_by("dx", &dx, &unpool(&case, &da, &switches), |i| allowed * magnitude[i]);

        let (_, _, b_again) = gpu_forward(gpu, &case);
        assert_same_bits("b twice", &b, &b_again);
        assert_same_bits("dx twice", &dx, &gpu_backward(gpu, &case, &a, &switches));
    }
}

fn gpu_refuses_short_buffers(gpu: &mut Gpu<impl Device>) {
    let case = case(gpu, [7, 9, 3], 3, 2, 2);
    let Case { pool, lrn, N, .. } = &case;
    let (image, map) = (N * pool.input().len(), N * pool.output().len());
    for (short, name) in [(0, "x"), (1, "a"), (2, "switches"), (3, "b")] {
        let [x, a, switches, b] = [0, 1, 2, 3].map(|i| if i == 0 { image } else { map } - usize::from(i == short));
        let mut switches = filled_bytes(gpu, &vec![0; switches]);
        let [x, mut a, mut b] = [x, a, b].map(|len| filled(gpu, Role::Activation, &vec![0.0; len]));
        let refusal = gpu.pool_lrn_forward(pool, lrn, *N, &x, &mut a, &mut switches, &mut b);
        // By the operation itself, or the one of the two that meets it first.
        let message = refusal.unwrap_err().to_string();
        let expected = format!("{} needs", if message.contains("pool:") && name == "a" { "y" } else { name });
        assert!(message.contains(&expected), "{name} is short: {message}");
    }
}

on_gpus!(gpu_agrees_with_oracle, gpu_refuses_short_buffers);
