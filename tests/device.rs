//! Memory and launches, alike on every device.

use zfnet::device::cuda::Cuda;
use zfnet::device::image::{ARCHS, IMAGES, Image, USAGE, Usage};
use zfnet::device::{Arg, Device, Launch, Memory};

use crate::common::device::{download, emulator, on_devices, upload};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Lrn {
    rows: i32,
    C: i32,
    below: i32,
    above: i32,
    k: f32,
    scale: f32,
    beta: f32,
}

fn copies(device: &impl Device) {
    let bytes: Vec<u8> = (0..105).map(|i| (i * 37 % 251) as u8).collect();
    let mut a = device.alloc(211).unwrap();
    let mut b = device.alloc(157).unwrap();
    assert_eq!((a.bytes(), b.bytes()), (211, 157));
    assert_eq!((a.address() % 16, b.address() % 16), (0, 0));
    device.fill(&mut a, 0..211, 7).unwrap();
    device.upload(&bytes, &mut a, 13).unwrap();
    device.fill(&mut a, 17..19, 200).unwrap();
    device.fill(&mut b, 0..157, 9).unwrap();
    device.copy(&a, 10..120, &mut b, 31).unwrap();
    device.synchronise().unwrap();
    let mut expected = [vec![9; 31], vec![7; 3], bytes, vec![7; 2], vec![9; 16]].concat();
    expected[31 + 7..31 + 9].fill(200);
    assert_eq!(download::<_, u8>(device, &b), expected);
    let mut part = [0; 5];
    device.download(&b, 33, &mut part).unwrap();
    assert_eq!(part, expected[33..38]);
}

fn refuses_ranges_outside(device: &impl Device) {
    let small = device.alloc(8).unwrap();
    let mut to = device.alloc(8).unwrap();
    for message in [
        device.upload(&[0; 9], &mut to, 0).unwrap_err().to_string(),
        device.upload(&[0; 4], &mut to, 5).unwrap_err().to_string(),
        device.download(&small, 8, &mut [0]).unwrap_err().to_string(),
        device.copy(&small, 0..9, &mut to, 0).unwrap_err().to_string(),
        device.copy(&small, 0..8, &mut to, 1).unwrap_err().to_string(),
        device.fill(&mut to, 3..11, 0).unwrap_err().to_string(),
    ] {
        assert!(message.contains("of a buffer of 8 bytes"), "{message}");
    }
    device.upload(&[], &mut to, 8).unwrap();
    device.copy(&small, 8..8, &mut to, 8).unwrap();
    assert_eq!(device.alloc(0).unwrap().bytes(), 0);
}

/// Rows that do not fill a block, a buffer that starts in the middle, a struct and a scale.
fn launches(device: &impl Device) {
    let lrn = Lrn { rows: 3, C: 5, below: 1, above: 0, k: 2.0, scale: 0.5, beta: 0.5 };
    let x: Vec<f32> = (0..20).map(|i| i as f32 / 4.0).collect();
    let a = upload(device, &x);
    let mut b = device.alloc(17 * 4).unwrap();
    device.fill(&mut b, 0..17 * 4, 0).unwrap();
    let launch = Launch::elementwise("lrn_forward_1", 15, 4).unwrap();
    assert_eq!(launch.grid, [4, 1, 1]);
    device.launch(&launch, &[Arg::geometry(&lrn), Arg::In(&a, 5 * 4), Arg::Out(&mut b, 2 * 4)]).unwrap();
    let b: Vec<f32> = download(device, &b);
    for i in 0..15 {
        let (below, own) = (if i % 5 == 0 { 0.0 } else { f64::from(x[5 + i - 1]) }, f64::from(x[5 + i]));
        let expected = own / (2.0 + 0.5 * (own * own + below * below)).sqrt();
        let error = (f64::from(b[2 + i]) - expected).abs();
        assert!(error <= 4.0 * f64::from(f32::EPSILON) * expected, "element {i}: {} for {expected}", b[2 + i]);
    }
    assert_eq!(b[..2], [0.0; 2]);
}

fn refuses_launches(device: &impl Device) {
    let shape = |grid, block, shared| Launch { kernel: "lrn_forward_1", grid, block, shared };
    let most = device.properties().shared_bytes;
    for (launch, reason) in [
        (Launch::linear("lrn_sideways_9", 1, 32), "no kernel is called lrn_sideways_9"),
        (shape([0, 1, 1], [32, 1, 1], 0), "a grid of [0, 1, 1]"),
        (shape([1, 65_536, 1], [32, 1, 1], 0), "a grid of [1, 65536, 1]"),
        (shape([1, 1, 1], [33, 32, 1], 0), "a block of [33, 32, 1]"),
        (shape([1, 1, 1], [1, 1, 65], 0), "a block of [1, 1, 65]"),
        (shape([1, 1, 1], [32, 1, 1], most + 1), "bytes of shared memory"),
    ] {
        let error = device.launch(&launch, &[]).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let error = Launch::elementwise("lrn_forward_1", usize::MAX / 2, 256).unwrap_err().to_string();
    assert!(error.contains("more than one grid"), "{error}");
}

/// Three buffers in a row: filled, copied to, computed from; again and again, with what stands in `x` by then.
fn recorded_work_runs_again(device: &impl Device) {
    let lrn = Lrn { rows: 3, C: 5, below: 2, above: 2, k: 2.0, scale: 0.5, beta: 0.75 };
    let values = |by: f32| (0..15).map(|i| (i as f32 - 6.5) * by).collect::<Vec<f32>>();
    let launch = Launch::elementwise("lrn_forward_1", 15, 4).unwrap();
    let directly = |x: &[f32]| {
        let mut y = device.alloc(60).unwrap();
        device.launch(&launch, &[Arg::geometry(&lrn), Arg::input(&upload(device, x)), Arg::output(&mut y)]).unwrap();
        download::<_, f32>(device, &y)
    };
    let (mut x, mut a) = (upload(device, &values(1.0)), upload(device, &values(2.0)));
    let mut b = upload(device, &values(3.0));
    device.begin_record().unwrap();
    device.copy(&x, 0..60, &mut a, 0).unwrap();
    device.launch(&launch, &[Arg::geometry(&lrn), Arg::input(&a), Arg::output(&mut b)]).unwrap();
    device.fill(&mut a, 0..60, 0).unwrap();
    let refused = [device.upload(&[1], &mut a, 0), device.download(&b, 0, &mut [0])];
    let graph = device.end_record().unwrap();
    for refusal in refused {
        assert!(refusal.unwrap_err().to_string().contains("while work is being recorded"));
    }
    assert_eq!(download::<_, f32>(device, &a), values(2.0), "recorded, not done");
    assert_eq!(download::<_, f32>(device, &b), values(3.0), "recorded, not done");
    drop(a); // The record keeps what it works on.
    for by in [0.5, -1.25] {
        device.upload(bytemuck::cast_slice(&values(by)), &mut x, 0).unwrap();
        device.replay(&graph).unwrap();
        assert_eq!(download::<_, f32>(device, &b), directly(&values(by)));
    }
}

/// What is asked for is what stood there then, whatever is done to the buffer before it is awaited.
fn downloads_in_the_background(device: &impl Device) {
    let mut buffer = upload(device, &[1_u8, 2, 3, 4, 5]);
    let first = device.download_later(&buffer, 1, 3).unwrap();
    device.fill(&mut buffer, 0..5, 9).unwrap();
    let second = device.download_later(&buffer, 3, 2).unwrap();
    assert_eq!(device.await_download(second).unwrap(), [9, 9]);
    assert_eq!(device.await_download(first).unwrap(), [2, 3, 4]);
    assert!(device.download_later(&buffer, 3, 3).is_err());
}

on_devices!(recorded_work_runs_again, downloads_in_the_background);
on_devices!(copies, refuses_ranges_outside, launches, refuses_launches);

#[test]
fn gpu_explains_itself() {
    match Cuda::new(0) {
        Ok(gpu) => assert_eq!(gpu.properties().name, "cuda:0"),
        Err(error) => {
            let error = error.to_string();
            let reasons = ["no NVIDIA driver", "does not start", "no such GPU", "scripts/install-nvcc"];
            assert!(reasons.iter().any(|r| error.contains(r)), "{error}");
        }
    }
    assert!(Cuda::new(4096).is_err());
}

/// Worked out by hand from the limits of an H100: 65,536 registers, 228 KiB, 64 warps, 32 blocks.
#[test]
fn occupancy_by_the_tightest_limit() {
    let of = |registers, shared, arch| Usage { kernel: "k", arch, registers, stack: 0, shared };
    for (usage, threads, dynamic, expected) in [
        (of(32, 0, "sm_90a"), 256, 0, Some(1.0)),           // warps: 8 blocks of 8
        (of(128, 0, "sm_90a"), 256, 0, Some(0.25)),         // registers: 2 blocks
        (of(129, 0, "sm_90a"), 256, 0, Some(0.125)),        // by 256 a warp: 136 count
        (of(32, 48 * 1024, "sm_90a"), 256, 0, Some(0.5)),   // shared memory: 4 blocks of 49 KiB
        (of(32, 0, "sm_80"), 256, 80 * 1024, Some(0.25)),   // 2 blocks of 81 KiB in 164
        (of(16, 0, "sm_80"), 32, 0, Some(0.5)),             // 32 blocks of one warp
        (of(255, 200 * 1024, "sm_80"), 1024, 0, Some(0.0)), // does not fit
        (of(32, 0, "sm_75"), 256, 0, None),
    ] {
        assert_eq!(usage.occupancy(threads, dynamic), expected, "{usage:?}, {threads} threads, {dynamic} bytes");
    }
}

/// The scan of build.rs gives both tables; ptxas has looked at every kernel for every architecture.
#[test]
fn every_kernel_is_compiled() {
    if IMAGES.is_empty() {
        println!("SKIP: built without nvcc (scripts/install-nvcc)");
        return;
    }
    let compiled: Vec<_> = IMAGES.iter().flat_map(|image| image.kernels).copied().collect();
    let emulator = emulator(0);
    let emulated: Vec<_> = emulator.kernels().filter(|k| compiled.contains(k)).collect();
    assert_eq!(compiled, emulated);
    for arch in ARCHS.split(',').filter(|arch| arch.starts_with("sm_")) {
        let made_for = |image: &&Image| image.archs.is_empty() || image.archs.contains(&arch);
        for kernel in IMAGES.iter().filter(made_for).flat_map(|image| image.kernels) {
            let usage = USAGE.iter().find(|u| u.kernel == *kernel && u.arch == arch);
            assert!(usage.is_some_and(|u| u.registers > 0), "{kernel} for {arch}");
        }
    }
    // An ELF of CUDA starts with a fatbin's magic number, not with nothing.
    assert!(IMAGES.iter().all(|image| image.fatbin.len() > 1000));
}
