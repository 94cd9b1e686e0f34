//! The emulator catches what a GPU leaves undefined; every word of the vocabulary does what it says, on every device.

use half::{bf16, f16};
use zfnet::device::{Arg, Device, Launch, Memory};
use zfnet::error::Error;

use crate::common::device::{SEEDS, download, emulator, on_devices, poisoned, upload};
use crate::common::values::normal;

/// Runs a kernel that must be refused; the message names it, the block and the thread, and says `reason`.
#[track_caller]
fn caught<B: Memory>(
    device: &impl Device<Buffer = B>,
    launch: Launch,
    args: &[Arg<'_, B>],
    block: Option<u32>,
    thread: Option<u32>,
    reason: &str,
) {
    let error = device.launch(&launch, args).expect_err("a wrong kernel passed");
    let message = error.to_string();
    let Error::Kernel { kernel, block: (bx, 0, 0), thread: (tx, 0, 0), reason: because } = error else {
        panic!("not an error of a kernel: {message}");
    };
    assert_eq!(kernel, launch.kernel, "{message}");
    assert!(because.contains(reason), "{message}; expected: ..{reason}..");
    assert!(block.is_none_or(|b| b == bx), "{message}: which block?");
    assert!(thread.is_none_or(|t| t == tx), "{message}: which thread?");
    println!("{message}");
}

mod memory {
    use super::*;

    #[test]
    fn read_past_the_end() {
        for seed in SEEDS {
            let device = emulator(seed);
            let x = upload(&device, &[1.0_f32; 16 + 69]);
            let mut y = poisoned::<_, f32>(&device, 70);
            let launch = Launch::linear("wrong_read_past_end", 2, 64);
            // Only element 85, which thread 5 of block 1 reads, lies beyond: in the slack, so it is NaN.
            device.launch(&launch, &[Arg::input(&x), Arg::output(&mut y), Arg::I32(70)]).unwrap();
            let y: Vec<f32> = download(&device, &y);
            assert!(y[69].is_nan() && y[..69].iter().all(|v| *v == 1.0));

            // Without slack the guard page stops it.
            let x = upload(&device, &[1.0_f32; 84]);
            let mut y = poisoned::<_, f32>(&device, 70);
            let args = [Arg::input(&x), Arg::output(&mut y), Arg::I32(69)];
            caught(
                &device,
                launch,
                &args,
                Some(1),
                Some(4),
                "accessed byte 336, 1 past the last, of argument 0 (336 bytes)",
            );
        }
    }

    #[test]
    fn write_past_the_end() {
        let check = || {
            for seed in SEEDS {
                let device = emulator(seed);
                let launch = Launch::linear("wrong_write_past_end", 2, 64);
                // 69 floats and 12 bytes of slack; 68 floats and none.
                let slack = (69, "wrote byte 276, 1 past the last,");
                for (n, reason) in [slack, (68, "accessed byte 272, 1 past the last,")] {
                    let mut y = poisoned::<_, f32>(&device, n);
                    let args = [Arg::output(&mut y), Arg::I32(n as i32)];
                    caught(&device, launch, &args, Some(1), Some(n as u32 - 64), reason);
                }
            }
        };
        // One block at a time: with more, another block can be the first to see the slack written.
        rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(check);
    }

    #[test]
    fn write_before_the_start() {
        let device = emulator(1);
        let mut y = poisoned::<_, f32>(&device, 33);
        let args = [Arg::output(&mut y), Arg::I32(33)];
        caught(
            &device,
            Launch::linear("wrong_write_before_start", 1, 64),
            &args,
            Some(0),
            None,
            "wrote 4 bytes before",
        );
        // A page without slack: the guard page stops it.
        let mut y = poisoned::<_, f32>(&device, 4096);
        let args = [Arg::output(&mut y), Arg::I32(33)];
        let launch = Launch::linear("wrong_write_before_start", 1, 64);
        caught(&device, launch, &args, Some(0), Some(0), "accessed 4 bytes before the start");
    }

    #[test]
    fn index_far_away() {
        let device = emulator(1);
        let x = upload(&device, &[1.0_f32; 5]);
        let mut y = poisoned::<_, f32>(&device, 3);
        let args = [Arg::input(&x), Arg::output(&mut y), Arg::I32(3)];
        let launch = Launch::linear("wrong_index_far_away", 1, 3);
        caught(&device, launch, &args, Some(0), None, "past the last, of argument 0 (20 bytes)");
    }

    #[test]
    fn unwritten_memory_is_nan() {
        let device = emulator(1);
        let x = upload(&device, &[1.0_f32; 37]);
        let mut y = device.alloc(37 * 4).unwrap();
        let args = [Arg::input(&x), Arg::output(&mut y), Arg::I32(37)];
        device.launch(&Launch::linear("wrong_read_unwritten", 1, 64), &args).unwrap();
        assert!(download::<_, f32>(&device, &y).iter().all(|v| v.is_nan()));
    }

    /// Also when a block before, on the same thread, wrote all of it.
    #[test]
    fn unwritten_shared_memory_is_nan() {
        let device = emulator(0);
        let mut y = poisoned::<_, f32>(&device, 64);
        device.launch(&Launch::linear("wrong_read_unwritten_shared", 1, 64), &[Arg::output(&mut y)]).unwrap();
        let y: Vec<f32> = download(&device, &y);
        for (i, v) in y.iter().enumerate() {
            assert!(if i == 5 { v.is_nan() } else { *v == 1.0 }, "element {i} is {v}");
        }
    }

    #[test]
    fn shared_past_the_end() {
        let device = emulator(1);
        for (threads, reason) in [
            (31, "wrote byte 124, 1 past the last, of shared memory"),
            (32, "accessed byte 128, 1 past the last, of shared memory"),
        ] {
            let mut y = poisoned::<_, f32>(&device, 32);
            let launch = Launch { shared: threads * 4, ..Launch::linear("wrong_shared_past_end", 1, threads as u32) };
            caught(&device, launch, &[Arg::output(&mut y)], Some(0), Some(threads as u32 - 1), reason);
        }
    }

    #[test]
    fn index_outside_array() {
        let device = emulator(1);
        for i in [64, -1] {
            let mut y = poisoned::<_, f32>(&device, 32);
            let args = [Arg::output(&mut y), Arg::I32(i)];
            let reason = format!("index {i} is outside its array at tests/kernels/wrong.cu:");
            caught(&device, Launch::linear("wrong_index_outside_array", 1, 1), &args, Some(0), Some(0), &reason);
        }
    }

    #[test]
    fn misaligned() {
        let device = emulator(0);
        let x = upload(&device, &[1.0_f32; 36]);
        let mut y = poisoned::<_, f32>(&device, 32);
        let args = [Arg::input(&x), Arg::output(&mut y)];
        let launch = Launch::linear("wrong_misaligned", 1, 32);
        caught(
            &device,
            launch,
            &args,
            Some(0),
            Some(1),
            "which is not a multiple of 16 bytes, at tests/kernels/wrong.cu:",
        );
    }

    #[test]
    fn stack_overflow() {
        let device = emulator(0);
        let mut y = poisoned::<_, f32>(&device, 64);
        let args = [Arg::output(&mut y), Arg::I32(70)];
        let launch = Launch::linear("wrong_large_frame", 1, 1);
        caught(&device, launch, &args, Some(0), Some(0), "local arrays");
    }
}

mod waiting {
    use super::*;

    #[test]
    fn barrier_skipped() {
        for seed in SEEDS {
            let device = emulator(seed);
            let mut y = poisoned::<_, f32>(&device, 64);
            let args = [Arg::output(&mut y), Arg::I32(33)];
            let launch = Launch::linear("wrong_barrier_skipped", 2, 64);
            caught(&device, launch, &args, None, Some(0), "for thread (33, 0, 0), which has returned");
        }
    }

    #[test]
    fn barriers_differ() {
        for seed in SEEDS {
            let device = emulator(seed);
            let mut y = poisoned::<_, f32>(&device, 64);
            let launch = Launch::linear("wrong_barriers_differ", 1, 64);
            caught(&device, launch, &[Arg::output(&mut y)], Some(0), None, "waits at that of tests/kernels/wrong.cu:");
        }
    }

    #[test]
    fn shuffle_disagrees() {
        for seed in SEEDS {
            let device = emulator(seed);
            let mut y = poisoned::<_, f32>(&device, 32);
            let launch = Launch::linear("wrong_shuffle_in_branch", 1, 32);
            caught(&device, launch, &[Arg::output(&mut y)], Some(0), None, "waits in __shfl_");
        }
    }

    #[test]
    fn shuffle_skipped() {
        for seed in SEEDS {
            let device = emulator(seed);
            let mut y = poisoned::<_, f32>(&device, 32);
            let args = [Arg::output(&mut y), Arg::I32(31)];
            caught(&device, Launch::linear("wrong_shuffle_skipped", 1, 32), &args, Some(0), None, "has returned");
        }
    }

    #[test]
    fn shuffle_outside_mask() {
        let device = emulator(1);
        let mut y = poisoned::<_, f32>(&device, 32);
        let launch = Launch::linear("wrong_shuffle_outside_mask", 1, 32);
        caught(&device, launch, &[Arg::output(&mut y)], Some(0), None, "a lane reads from a lane outside the mask");
    }

    #[test]
    fn phase_never_completes() {
        for seed in SEEDS {
            let device = emulator(seed);
            let mut y = poisoned::<_, f32>(&device, 32);
            let launch = Launch::linear("wrong_phase_never_completes", 1, 32);
            let reason = "waits for a phase of an mbarrier at tests/kernels/wrong.cu:";
            caught(&device, launch, &[Arg::output(&mut y)], Some(0), Some(0), reason);
        }
    }

    #[test]
    fn mbarrier_without_init() {
        let device = emulator(0);
        let mut y = poisoned::<_, f32>(&device, 32);
        let launch = Launch::linear("wrong_mbarrier_without_init", 1, 32);
        caught(&device, launch, &[Arg::output(&mut y)], Some(0), Some(0), "used before mbarrier_init at tests/kernels");
    }

    #[test]
    fn incomplete_warp() {
        let device = emulator(1);
        let mut y = poisoned::<_, f32>(&device, 32);
        let args = [Arg::output(&mut y), Arg::I32(31)];
        caught(&device, Launch::linear("wrong_shuffle_skipped", 1, 31), &args, Some(0), None, "which names lane 31");
    }
}

mod order {
    use super::*;

    fn outputs(kernel: &'static str, grid: u32, threads: u32) -> Vec<Vec<u32>> {
        let run = |seed| {
            let device = emulator(seed);
            let mut y = poisoned::<_, u32>(&device, 64);
            device.launch(&Launch::linear(kernel, grid, threads), &[Arg::output(&mut y)]).unwrap();
            download(&device, &y)
        };
        // One thread of the system, so that only the seed decides.
        rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(|| (0..6).map(run).collect())
    }

    #[test]
    fn race_of_threads_shows() {
        let all = outputs("wrong_race_in_shared", 1, 64);
        assert!(all.iter().any(|y| *y != all[0]), "a race went unnoticed in 6 orders");
        assert_eq!(all, outputs("wrong_race_in_shared", 1, 64), "the same seed, the same order");
    }

    #[test]
    fn race_of_warps_shows() {
        let all = outputs("wrong_race_of_warps", 1, 64);
        assert!(all.iter().any(|y| *y != all[0]), "a race went unnoticed in 6 orders");
    }

    #[test]
    fn race_of_blocks_shows() {
        let all = outputs("wrong_race_of_blocks", 50, 1);
        assert!(all.iter().any(|y| y[0] != all[0][0]), "a race went unnoticed in 6 orders");
    }

    #[test]
    fn copy_without_wait_shows() {
        let run = |seed| {
            let device = emulator(seed);
            let x = upload(&device, &[1.0_f32; 64]);
            let mut y = poisoned::<_, f32>(&device, 64);
            let launch = Launch::linear("wrong_copy_without_wait", 1, 64);
            device.launch(&launch, &[Arg::input(&x), Arg::output(&mut y)]).unwrap();
            download::<_, f32>(&device, &y).iter().filter(|v| v.is_nan()).count()
        };
        assert_eq!(run(0), 64, "in the natural order no copy lands before the wait");
        assert!((1..64).contains(&run(1)), "else some do, some do not");
    }
}

mod arguments {
    use super::*;

    #[test]
    fn must_be_the_kernels() {
        let device = emulator(0);
        let x = device.alloc(4).unwrap();
        let (mut y, mut z) = (device.alloc(4).unwrap(), device.alloc(4).unwrap());
        let launch = Launch::linear("wrong_index_far_away", 1, 1);
        let refused = |args: &[Arg<'_, _>], reason: &str| {
            let error = device.launch(&launch, args).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}; expected: ..{reason}..");
        };
        refused(&[Arg::input(&x), Arg::output(&mut y)], "takes 3 arguments, the launch gives 2");
        refused(&[Arg::output(&mut z), Arg::output(&mut y), Arg::I32(0)], "argument 0 as a buffer to read");
        refused(&[Arg::input(&x), Arg::input(&x), Arg::I32(0)], "argument 1 as a buffer to write");
        refused(&[Arg::input(&x), Arg::output(&mut y), Arg::U32(0)], "argument 2 as a signed integer of 4 bytes");
        refused(&[Arg::input(&x), Arg::output(&mut y), Arg::F32(0.0)], "the launch gives a floating-point number");
        refused(&[Arg::input(&x), Arg::output(&mut y), Arg::geometry(&[0_i32; 2])], "gives a struct of 8 bytes");
        refused(
            &[Arg::In(&x, 5), Arg::output(&mut y), Arg::I32(0)],
            "argument 0 starts at byte 5 of a buffer of 4 bytes",
        );
    }
}

mod vocabulary {
    use super::*;

    fn identity(device: &impl Device) {
        let mut y = poisoned::<_, u32>(device, 30 * 105);
        let launch = Launch { kernel: "vocabulary_identity", grid: [2, 3, 5], block: [7, 5, 3], shared: 0 };
        device.launch(&launch, &[Arg::output(&mut y)]).unwrap();
        let expected: Vec<u32> = (0..30).flat_map(|b| (0..105).map(move |t| b * 1000 + t)).collect();
        assert_eq!(download::<_, u32>(device, &y), expected);
    }

    fn shuffles_and_votes(device: &impl Device) {
        let x: Vec<i32> = (0..64).collect();
        let lanes = |f: fn(i32) -> i32| (0..64).map(|i| i / 32 * 32 + f(i % 32)).collect::<Vec<i32>>();
        let ballot = |warp: i32| (0..32).filter(|l| (warp * 32 + l) % 3 == 0).fold(0_u32, |b, l| b | 1 << l) as i32;
        let expected = [
            lanes(|l| l / 8 * 8 + 3),
            lanes(|l| if l % 16 >= 2 { l - 2 } else { l }),
            lanes(|l| if l + 5 < 32 { l + 5 } else { l }),
            lanes(|l| l ^ 9),
            (0..64).map(|i| ballot(i / 32)).collect(),
            (0..64).map(|i| if i < 32 { 2 } else { 1 }).collect(),
        ]
        .concat();
        let input = upload(device, &x);
        let mut y = poisoned::<_, i32>(device, 6 * 64);
        let launch = Launch::linear("vocabulary_shuffles", 1, 64);
        device.launch(&launch, &[Arg::input(&input), Arg::output(&mut y)]).unwrap();
        assert_eq!(download::<_, i32>(device, &y), expected);
    }

    fn atomics(device: &impl Device) {
        let (mut count, mut sum) = (upload(device, &[5_u32]), upload(device, &[0.25_f32]));
        let mut most = upload(device, &[-3_i32]);
        let args = [Arg::output(&mut count), Arg::output(&mut sum), Arg::output(&mut most)];
        device.launch(&Launch::linear("vocabulary_atomics", 41, 37), &args).unwrap();
        assert_eq!(download::<_, u32>(device, &count), [5 + 41 * 37]);
        assert_eq!(download::<_, f32>(device, &sum), [0.25 + 0.5 * 41.0 * 37.0]);
        assert_eq!(download::<_, i32>(device, &most), [41 * 37 - 1]);
    }

    fn named_barriers(device: &impl Device) {
        let mut y = poisoned::<_, i32>(device, 64);
        device.launch(&Launch::linear("vocabulary_named_barriers", 1, 64), &[Arg::output(&mut y)]).unwrap();
        assert_eq!(download::<_, i32>(device, &y), (0..64).map(|i| i ^ 31).collect::<Vec<i32>>());
    }

    fn mbarrier(device: &impl Device) {
        let mut y = poisoned::<_, i32>(device, 5 * 32);
        let args = [Arg::output(&mut y), Arg::I32(5)];
        device.launch(&Launch::linear("vocabulary_mbarrier", 1, 64), &args).unwrap();
        let expected: Vec<i32> = (0..5).flat_map(|round| (0..32).map(move |l| round * 100 + 31 - l)).collect();
        assert_eq!(download::<_, i32>(device, &y), expected);
    }

    /// Ties, subnormals, overflow, infinities and NaN, and draws at many scales.
    fn numbers() -> Vec<f32> {
        let mut x: Vec<f32> =
            normal::<f32>(3, 3000).iter().enumerate().map(|(i, v)| v * 2f32.powi(i as i32 % 60 - 30)).collect();
        for bits in (0..=u32::from(u16::MAX)).step_by(7) {
            for low in [0, 0x7fff, 0x8000, 0x8001, 0xffff] {
                x.push(f32::from_bits(bits << 16 | low)); // around every seventh bf16, and half way to the next
            }
        }
        for bits in 0..0x7c00_u16 {
            let (here, next) = (f16::from_bits(bits).to_f32(), f16::from_bits(bits + 1).to_f32());
            let half_way = if next.is_finite() { (here + next) / 2.0 } else { 65520.0 };
            x.extend([here, -half_way, half_way, half_way.next_up(), half_way.next_down()]);
        }
        x.extend([f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0]);
        x
    }

    fn bf16_rounds_to_even(device: &impl Device) {
        let x = numbers();
        let input = upload(device, &x);
        let mut y = poisoned::<_, u16>(device, x.len());
        let launch = Launch::elementwise("vocabulary_bf16", x.len(), 256).unwrap();
        device.launch(&launch, &[Arg::input(&input), Arg::output(&mut y), Arg::I32(x.len() as i32)]).unwrap();
        for (x, y) in x.iter().zip(download::<_, u16>(device, &y)) {
            let (y, expected) = (bf16::from_bits(y), bf16::from_f32(*x));
            assert!(
                y.to_bits() == expected.to_bits() || y.is_nan() && expected.is_nan(),
                "{x:e}: {y:?}, not {expected:?}"
            );
        }
    }

    fn f16_rounds_to_even(device: &impl Device) {
        let x = numbers();
        let input = upload(device, &x);
        let (mut y, mut back) = (poisoned::<_, u16>(device, x.len()), poisoned::<_, f32>(device, x.len()));
        let launch = Launch::elementwise("vocabulary_f16", x.len(), 256).unwrap();
        let args = [Arg::input(&input), Arg::output(&mut y), Arg::output(&mut back), Arg::I32(x.len() as i32)];
        device.launch(&launch, &args).unwrap();
        let back: Vec<f32> = download(device, &back);
        for ((x, y), back) in x.iter().zip(download::<_, u16>(device, &y)).zip(back) {
            let (y, expected) = (f16::from_bits(y), f16::from_f32(*x));
            assert!(
                y.to_bits() == expected.to_bits() || y.is_nan() && expected.is_nan(),
                "{x:e}: {y:?}, not {expected:?}"
            );
            assert!(back.to_bits() == y.to_f32().to_bits() || back.is_nan() && y.is_nan(), "{y:?}: {back:e}");
        }
    }

    fn ldmatrix(device: &impl Device) {
        let x: Vec<u16> = (0..32 * 8).map(|i| 1000 + i).collect();
        let input = upload(device, &x);
        let mut y = poisoned::<_, u32>(device, 8 * 32);
        let launch = Launch::linear("vocabulary_ldmatrix", 1, 32);
        device.launch(&launch, &[Arg::input(&input), Arg::output(&mut y)]).unwrap();
        let y: Vec<u32> = download(device, &y);
        for m in 0..4 {
            for lane in 0..32 {
                let (g, t) = (lane / 4, lane % 4);
                let at = |row: usize, column: usize| u32::from(x[(8 * m + row) * 8 + column]);
                assert_eq!(y[m * 32 + lane], at(g, 2 * t) | at(g, 2 * t + 1) << 16);
                assert_eq!(y[(4 + m) * 32 + lane], at(2 * t, g) | at(2 * t + 1, g) << 16);
            }
        }
    }

    on_devices!(
        identity,
        shuffles_and_votes,
        atomics,
        named_barriers,
        mbarrier,
        bf16_rounds_to_even,
        f16_rounds_to_even,
        ldmatrix,
    );
}
