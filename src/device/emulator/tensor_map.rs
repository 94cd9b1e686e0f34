//! A tensor map as the emulator's bulk copies read it: `tensor_map` of kernels/emulator/tensor_map.cuh.

use bytemuck::{Pod, Zeroable};

use crate::device::tensor_map::{Element, TensorMap, Window};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Encoded {
    address: u64,
    strides: [u64; 3],
    sizes: [i32; 4],
    sides: [i32; 4],
    lower: [i32; 2],
    upper: [i32; 2],
    step: i32,
    pixels: i32,
    rank: i32,
    element_bytes: i32,
    row_bytes: i32,
    round: i32,
    unused: [u64; 3],
}

/// `map`, of an array that begins at `address`.
pub(super) fn encode(map: &TensorMap, address: u64) -> [u64; 16] {
    let mut encoded = Encoded {
        address,
        sizes: [1; 4],
        sides: [1; 4],
        rank: map.sizes.len() as i32,
        element_bytes: map.element.bytes() as i32,
        row_bytes: map.row_bytes as i32,
        round: (map.element == Element::Tf32).into(),
        ..Encoded::zeroed()
    };
    let words = |from: &[usize], to: &mut [i32]| to.iter_mut().zip(from).for_each(|(to, &from)| *to = from as i32);
    words(&map.sizes, &mut encoded.sizes);
    encoded.strides.iter_mut().zip(&map.strides).for_each(|(to, &from)| *to = from as u64);
    match &map.window {
        Window::Box(sides) => words(sides, &mut encoded.sides),
        Window::Pixels { lower, upper, step, channels, pixels } => {
            words(&[*channels], &mut encoded.sides);
            encoded.lower = lower.map(|corner| corner as i32);
            encoded.upper = upper.map(|corner| corner as i32);
            (encoded.step, encoded.pixels) = (*step as i32, *pixels as i32);
        }
    }
    bytemuck::cast(encoded)
}
