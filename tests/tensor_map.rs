//! Bulk copies: which elements come, where nothing is, and what the emulator refuses.

use zfnet::device::tensor_map::{Element, TensorMap, Window};
use zfnet::device::{Arg, Device, Launch};
use zfnet::error::Error;

use crate::common::device::{SEEDS, download, emulator, on_devices, poisoned, upload};

/// Images whose element (n, h, w, c) has its own value.
fn images([N, H, W, C]: [usize; 4]) -> Vec<f32> {
    (0..N * H * W * C).map(|i| 1.0 + i as f32).collect()
}

fn map(sizes: [usize; 4], row_bytes: usize, window: Window) -> TensorMap {
    let strides = [4 * sizes[0], 4 * sizes[0] * sizes[1], 4 * sizes[0] * sizes[1] * sizes[2]].to_vec();
    TensorMap { element: Element::F32, sizes: sizes.to_vec(), strides, offset: 0, row_bytes, window }
}

/// One launch with room for a box.
fn one(kernel: &'static str) -> Launch {
    Launch { kernel, grid: [1; 3], block: [64, 1, 1], shared: 64 * 128 }
}

/// Whether the device makes bulk copies.
fn copies(device: &impl Device) -> bool {
    let can = device.has("tensor_pixels");
    if !can {
        println!("SKIP: no bulk copies before compute capability 9.0");
    }
    can
}

/// Pixels as the definition has it: w to its last, then h, then n; 0 outside.
fn pixels(device: &impl Device) {
    if !copies(device) {
        return;
    }
    // (N, H, W, C), first pixel (n, h, w), corners of w and h, step, tap (r, s), first channel, row bytes.
    for (shape, [n, h, w], [lower, upper], step, [r, s], c, row_bytes) in [
        ([1, 4, 4, 32], [0_i64, 0, 0], [[0_i64, 0], [0, 0]], 1_usize, [0_i64, 0], 0, 128),
        // The frame of zeros of a padded image, whose windows reach across images.
        ([2, 4, 4, 32], [0, 1, 2], [[-1, -1], [-1, -1]], 1, [0, 0], 0, 128),
        ([2, 4, 4, 32], [0, -1, -1], [[-1, -1], [-1, -1]], 1, [1, 1], 0, 128),
        // Every second pixel, corners that differ, channels that end within a row, images that end.
        ([3, 7, 9, 20], [1, 2, 4], [[-2, 0], [-1, -2]], 2, [2, 1], 16, 64),
    ] {
        let [N, H, W, C] = shape;
        let (x, count, channels) = (images(shape), 16, row_bytes / 4);
        let mut expected = vec![0.0; count * channels];
        let (mut at_n, mut at_h, mut at_w): (usize, i64, i64) = (n as usize, h, w);
        for pixel in expected.chunks_mut(channels) {
            for (i, value) in pixel.iter_mut().enumerate() {
                let (channel, row, column) = (c + i, at_h + r, at_w + s);
                let inside = at_n < N && channel < C && (0..H as i64).contains(&row) && (0..W as i64).contains(&column);
                if inside {
                    *value = x[((at_n * H + row as usize) * W + column as usize) * C + channel];
                }
            }
            at_w += step as i64;
            if at_w > W as i64 - 1 + upper[0] {
                (at_w, at_h) = (lower[0], at_h + step as i64);
            }
            if at_h > H as i64 - 1 + upper[1] {
                (at_h, at_n) = (lower[1], at_n + 1);
            }
        }
        let window = Window::Pixels { lower, upper, step, channels, pixels: count };
        let (buffer, map) = (upload(device, &x), map([C, W, H, N], row_bytes, window));
        let mut y = poisoned::<_, f32>(device, count * channels);
        let int = |v: usize| Arg::I32(v as i32);
        let args = [
            Arg::MapIn(&buffer, &map),
            Arg::output(&mut y),
            int(c),
            Arg::I32(w as i32),
            Arg::I32(h as i32),
            Arg::I32(n as i32),
            Arg::I32(s as i32),
            Arg::I32(r as i32),
            int(count),
            int(row_bytes),
        ];
        device.launch(&one("tensor_pixels"), &args).unwrap();
        assert_eq!(download::<_, f32>(device, &y), expected, "{shape:?}");
    }
}

fn boxes(device: &impl Device) {
    if !copies(device) {
        return;
    }
    let sizes = [20, 3, 5, 4]; // innermost first
    let x = images([4, 5, 3, 20]);
    for (sides, corner, row_bytes) in [
        ([16, 2, 3, 2], [4_i64, 1, 2, 1], 64),
        ([32, 1, 4, 3], [-3, 0, -1, 2], 128), // outside on both sides
        ([16, 1, 1, 5], [16, 2, 4, 0], 64),
    ] {
        let mut expected = vec![];
        for [c3, c2, c1] in (0..sides[3]).flat_map(|c3| {
            (0..sides[2]).flat_map(move |c2| (0..sides[1]).map(move |c1| [c3 as i64, c2 as i64, c1 as i64]))
        }) {
            for c0 in 0..sides[0] as i64 {
                let at = [corner[0] + c0, corner[1] + c1, corner[2] + c2, corner[3] + c3];
                let inside = at.iter().zip(sizes).all(|(&i, size)| (0..size as i64).contains(&i));
                let index = at.iter().zip(sizes).rev().fold(0, |index, (&i, size)| index * size as i64 + i);
                expected.push(if inside { x[index as usize] } else { 0.0 });
            }
        }
        let rows = expected.len() / sides[0];
        let map = map(sizes, row_bytes, Window::Box(sides.to_vec()));
        let (buffer, mut y) = (upload(device, &x), poisoned::<_, f32>(device, expected.len()));
        let mut args = vec![Arg::MapIn(&buffer, &map), Arg::output(&mut y)];
        args.extend(corner.iter().map(|&i| Arg::I32(i as i32)));
        args.extend([Arg::I32(rows as i32), Arg::I32(row_bytes as i32)]);
        device.launch(&one("tensor_box"), &args).unwrap();
        assert_eq!(download::<_, f32>(device, &y), expected, "{sides:?} at {corner:?}");
    }
}

/// A box of 9 rows of 16 columns to the middle and over the edge: what lies outside is left out.
fn stores(device: &impl Device) {
    if !copies(device) {
        return;
    }
    let [columns, groups, rows] = [20_usize, 2, 11];
    let map = TensorMap {
        element: Element::F32,
        sizes: vec![columns, groups, rows],
        strides: vec![4 * columns, 4 * columns * groups],
        offset: 16,
        row_bytes: 64,
        window: Window::Box(vec![16, 1, 9]),
    };
    for [c0, c1, c2] in [[0_usize, 0, 0], [16, 1, 4], [4, 0, 2]] {
        let mut y = poisoned::<_, f32>(device, 4 + columns * groups * rows);
        let args = [Arg::MapOut(&mut y, &map)].into_iter();
        let args: Vec<_> = args.chain([c0, c1, c2, 9, 64].map(|v| Arg::I32(v as i32))).collect();
        device.launch(&one("tensor_out"), &args).unwrap();
        let stored: Vec<f32> = download(device, &y);
        assert!(stored[..4].iter().all(|v| v.is_nan()), "before the array's begin");
        for (i, value) in stored[4..].iter().enumerate() {
            let (row, group, column) = (i / columns / groups, i / columns % groups, i % columns);
            let inside = group == c1 && (c0..c0 + 16).contains(&column) && (c2..c2 + 9).contains(&row);
            let expected = if inside { (1000 * (row - c2) + column - c0) as f32 } else { f32::NAN };
            assert!(*value == expected || value.is_nan() && expected.is_nan(), "({row}, {group}, {column}): {value}");
        }
    }
}

on_devices!(pixels, boxes, stores);

/// tf32 comes rounded to 11 bits, ties away from zero.
#[test]
fn tf32_is_rounded_on_the_way() {
    let device = emulator(0);
    let x: Vec<f32> = (0..16).map(|i| 1.0 + i as f32 * 2f32.powi(-12)).collect();
    let mut map = map([16, 1, 1, 1], 64, Window::Box(vec![16, 1, 1, 1]));
    map.element = Element::Tf32;
    let (buffer, mut y) = (upload(&device, &x), poisoned::<_, f32>(&device, 16));
    let ints = [0, 0, 0, 0, 1, 64].map(Arg::I32);
    let args: Vec<_> = [Arg::MapIn(&buffer, &map), Arg::output(&mut y)].into_iter().chain(ints).collect();
    device.launch(&one("tensor_box"), &args).unwrap();
    let rounded: Vec<f32> = x.iter().map(|v| f32::from_bits((v.to_bits() + 0x1000) & !0x1fff)).collect();
    assert_eq!(download::<_, f32>(&device, &y), rounded);
}

#[test]
fn a_store_that_is_overwritten_shows() {
    let map = TensorMap {
        element: Element::F32,
        sizes: vec![16, 1, 2],
        strides: vec![64, 64],
        offset: 0,
        row_bytes: 64,
        window: Window::Box(vec![16, 1, 2]),
    };
    let first = |seed| {
        let device = emulator(seed);
        let mut y = poisoned::<_, f32>(&device, 32);
        let args = [Arg::MapOut(&mut y, &map), Arg::I32(2), Arg::I32(64)];
        device.launch(&one("wrong_store_overwritten"), &args).unwrap();
        download::<_, f32>(&device, &y)[0]
    };
    let all: Vec<f32> = (0..6).map(first).collect();
    assert!(all.contains(&1.0) && all.contains(&2.0), "{all:?}: went unnoticed in 6 orders");

    let device = emulator(0);
    let mut y = poisoned::<_, f32>(&device, 32);
    let refused = device.launch(&one("wrong_store_unread"), &[Arg::MapOut(&mut y, &map)]).unwrap_err().to_string();
    assert!(refused.contains("a bulk store still reads shared memory when the block ends"), "{refused}");
}

#[test]
fn wrong_loads_are_caught() {
    let map = map([32, 1, 1, 1], 128, Window::Box(vec![32, 1, 1, 1]));
    let load = |seed, kernel: &'static str, ints: &[i32]| {
        let device = emulator(seed);
        let x = upload(&device, &[1.0_f32; 32]);
        let args: Vec<_> = [Arg::MapIn(&x, &map)].into_iter().chain(ints.iter().map(|&i| Arg::I32(i))).collect();
        device.launch(&one(kernel), &args).unwrap_err().to_string()
    };
    for seed in SEEDS {
        let message = load(seed, "wrong_load", &[1, 256]);
        assert!(message.contains("waits for a phase of an mbarrier"), "more expected than comes: {message}");
    }
    let message = load(0, "wrong_load", &[1, 0]);
    assert!(message.contains("a bulk load is under way when the block ends"), "nobody waits: {message}");
    let message = load(0, "wrong_box_misaligned", &[]);
    assert!(message.contains("a box does not begin where its swizzle does"), "{message}");
}

/// What hardware refuses is refused by name, before any launch.
#[test]
fn limits_are_checked() {
    let good = map([8, 4, 3, 2], 64, Window::Box(vec![16, 1, 1, 2]));
    good.check().unwrap();
    let pixels = |lower, upper, step| Window::Pixels { lower, upper, step, channels: 16, pixels: 8 };
    let with = |change: fn(&mut TensorMap)| {
        let mut map = good.clone();
        change(&mut map);
        map
    };
    for (map, reason) in [
        (with(|m| m.strides[0] = 24), "multiples of 16 bytes"),
        (with(|m| m.offset = 8), "it begins at byte 8"),
        (with(|m| m.row_bytes = 32), "rows of 32 bytes"),
        (with(|m| m.window = Window::Box(vec![16, 1, 1, 257])), "1 to 256 elements"),
        (with(|m| m.window = Window::Box(vec![8, 1, 1, 2])), "rows of 8 elements fill 32 bytes"),
        (with(|m| m.sizes.truncate(3)), "3 sizes and 3 strides"),
        (with(|m| m.sizes[1] = 0), "each size is"),
        (TensorMap { window: pixels([-129, 0], [0, 0], 1), ..good.clone() }, "-128 to 127"),
        (TensorMap { window: pixels([0, 0], [0, 0], 9), ..good.clone() }, "1 to 8 apart"),
        (TensorMap { window: pixels([0, 3], [0, 0], 1), ..good.clone() }, "no pixel between"),
    ] {
        let message = map.check().unwrap_err().to_string();
        assert!(message.contains(reason), "{message}; expected: ..{reason}..");
    }

    // An array longer than its buffer, and a struct in a map's place.
    let device = emulator(0);
    let (x, mut y) = (upload(&device, &[0.0_f32; 100]), poisoned::<_, f32>(&device, 32));
    let ints = [0, 0, 0, 0, 2, 64].map(Arg::I32);
    let args: Vec<_> = [Arg::MapIn(&x, &good), Arg::output(&mut y)].into_iter().chain(ints).collect();
    let refused = device.launch(&one("tensor_box"), &args).unwrap_err();
    assert!(
        matches!(refused, Error::Device { .. }) && refused.to_string().contains("maps 768 bytes of a buffer of 400"),
        "{refused}"
    );
    let bytes = [0_u8; 128];
    let mut args = args;
    args[0] = Arg::Struct(&bytes);
    let refused = device.launch(&one("tensor_box"), &args).unwrap_err().to_string();
    assert!(refused.contains("argument 0 as a tensor map, the launch gives a struct of 128 bytes"), "{refused}");
}
