//! The first kernels on every device, against a plain loop in f64.

use bytemuck::NoUninit;
use half::bf16;
use zfnet::device::{Arg, Device, Launch};

use crate::common::compare::{assert_close_by, roundoff};
use crate::common::device::{download, on_devices, poisoned, upload};
use crate::common::values::normal;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Linear {
    N: i32,
    inputs: i32,
    outputs: i32,
    relu: i32,
}

mod linear {
    use super::*;

    struct Case {
        linear: Linear,
        y: Vec<f64>,
        /// For each output |bias| + sum |x w|: what rounding errors are relative to.
        magnitude: Vec<f64>,
    }

    /// `round` is what the kernel makes of its operands.
    fn case(N: usize, inputs: usize, outputs: usize, relu: bool, round: fn(f32) -> f32) -> (Case, [Vec<f32>; 3]) {
        let [x, w, bias] = [N * inputs, outputs * inputs, outputs].map(|len| normal::<f32>(len as u32, len));
        let rounded = |v: &[f32]| v.iter().map(|&v| f64::from(round(v))).collect::<Vec<_>>();
        let (xs, ws) = (rounded(&x), rounded(&w));
        let (mut y, mut magnitude) = (vec![], vec![]);
        for x in xs.chunks(inputs) {
            for (w, b) in ws.chunks(inputs).zip(&bias) {
                let terms = x.iter().zip(w).map(|(x, w)| x * w);
                let sum = f64::from(*b) + terms.clone().sum::<f64>();
                y.push(if relu { sum.max(0.0) } else { sum });
                magnitude.push(f64::from(b.abs()) + terms.map(f64::abs).sum::<f64>());
            }
        }
        let linear = Linear { N: N as i32, inputs: inputs as i32, outputs: outputs as i32, relu: relu.into() };
        (Case { linear, y, magnitude }, [x, w, bias])
    }

    fn run<T: NoUninit, D: Device>(
        device: &D,
        launch: &Launch,
        case: &Case,
        x: &[T],
        w: &[T],
        bias: &[f32],
    ) -> D::Buffer {
        let (x, w, bias) = (upload(device, x), upload(device, w), upload(device, bias));
        let mut y = poisoned::<_, T>(device, case.y.len());
        let args =
            [Arg::geometry(&case.linear), Arg::input(&x), Arg::input(&w), Arg::input(&bias), Arg::output(&mut y)];
        device.launch(launch, &args).unwrap();
        y
    }

    fn tiled(kernel: &'static str, linear: &Linear, threads: u32) -> Launch {
        let tiles = |n: i32| (n as u32).div_ceil(64);
        Launch { grid: [tiles(linear.outputs), tiles(linear.N), 1], ..Launch::linear(kernel, 1, threads) }
    }

    /// A sum of n terms in any order errs by at most n roundings of their magnitudes' sum.
    fn sums(case: &Case) -> f64 {
        f64::from(case.linear.inputs + 2) * roundoff::<f32>()
    }

    fn in_f32(device: &impl Device) {
        for (N, inputs, outputs, relu) in [(67, 37, 71, true), (1, 129, 5, false), (3, 1, 65, true)] {
            let (case, [x, w, bias]) = case(N, inputs, outputs, relu, |v| v);
            let (columns, rows) = (outputs.div_ceil(16) as u32, N.div_ceil(8) as u32);
            let naive = Launch { kernel: "linear_fprop_1", grid: [columns, rows, 1], block: [16, 8, 1], shared: 0 };
            for launch in [naive, tiled("linear_fprop_2", &case.linear, 256)] {
                let y: Vec<f32> = download(device, &run(device, &launch, &case, &x, &w, &bias));
                assert_close_by(launch.kernel, &y, &case.y, |i| sums(&case) * case.magnitude[i]);
            }
        }
    }

    fn in_bf16(device: &impl Device) {
        for (N, inputs, outputs, relu) in [(67, 136, 71, true), (1, 40, 5, false), (3, 8, 65, true)] {
            let (case, [x, w, bias]) = case(N, inputs, outputs, relu, |v| bf16::from_f32(v).to_f32());
            let [x, w] = [x, w].map(|v| v.into_iter().map(bf16::from_f32).collect::<Vec<_>>());
            let launch = tiled("linear_fprop_3_bf16", &case.linear, 128);
            let y: Vec<bf16> = download(device, &run(device, &launch, &case, &x, &w, &bias));
            let y: Vec<f32> = y.into_iter().map(bf16::to_f32).collect();
            // The output is rounded to 8 significant bits, so by up to 2^-8.
            let bound = |i: usize| 2f64.powi(-8) * case.y[i].abs() + 1.01 * sums(&case) * case.magnitude[i];
            assert_close_by(launch.kernel, &y, &case.y, bound);
        }
    }

    fn tf32(v: f32) -> f32 {
        f32::from_bits((v.to_bits() + 0x1000) & !0x1fff)
    }

    fn in_tf32(device: &impl Device) {
        for (N, inputs, outputs, relu) in [(67, 68, 71, true), (1, 20, 5, false), (3, 4, 65, true)] {
            let (case, [x, w, bias]) = case(N, inputs, outputs, relu, tf32);
            let launch = tiled("linear_fprop_3_tf32", &case.linear, 128);
            let y: Vec<f32> = download(device, &run(device, &launch, &case, &x, &w, &bias));
            // A tensor core truncates where it adds: two units for one.
            assert_close_by(launch.kernel, &y, &case.y, |i| 2.0 * sums(&case) * case.magnitude[i]);
        }
    }

    on_devices!(in_f32, in_bf16, in_tf32);
}
