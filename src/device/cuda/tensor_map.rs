//! A tensor map as the driver encodes it.

use std::ptr::from_mut;

use cudarc::driver::result::DriverError;
use cudarc::driver::sys;

use super::context::Context;
use crate::device::tensor_map::{Element, TensorMap, Window};
use crate::error::Result;

/// Where the driver writes a map.
#[repr(C, align(64))]
struct Aligned([u64; 16]);

/// `map`, of an array that begins at `address`; it has been checked.
pub(super) fn encode(context: &Context, map: &TensorMap, address: u64) -> Result<[u64; 16]> {
    use sys::CUtensorMapDataType_enum as number;
    let element = match map.element {
        Element::Bf16 => number::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        Element::F32 => number::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        Element::Tf32 => number::CU_TENSOR_MAP_DATA_TYPE_TFLOAT32,
    };
    let swizzle = match map.row_bytes {
        64 => sys::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_64B,
        _ => sys::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_128B,
    };
    let wide = |of: &[usize]| of.iter().map(|&v| v as u64).collect::<Vec<u64>>();
    let (sizes, strides) = (wide(&map.sizes), wide(&map.strides));
    let (rank, memory) = (map.sizes.len() as u32, address as *mut std::ffi::c_void);
    let interleave = sys::CUtensorMapInterleave_enum::CU_TENSOR_MAP_INTERLEAVE_NONE;
    let promotion = sys::CUtensorMapL2promotion_enum::CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
    let outside = sys::CUtensorMapFloatOOBfill_enum::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
    let mut encoded = Aligned([0; 16]);
    let out = from_mut(&mut encoded).cast::<sys::CUtensorMap>();
    let answer = match &map.window {
        Window::Box(sides) => {
            let sides: Vec<u32> = sides.iter().map(|&side| side as u32).collect();
            let steps = vec![1_u32; sides.len()];
            // SAFETY: `out` has a map's 128 bytes, aligned to 64; the arrays have `rank` entries, the
            // strides one less, as `TensorMap::check` has seen to.
            unsafe {
                sys::cuTensorMapEncodeTiled(
                    out,
                    element,
                    rank,
                    memory,
                    sizes.as_ptr(),
                    strides.as_ptr(),
                    sides.as_ptr(),
                    steps.as_ptr(),
                    interleave,
                    swizzle,
                    promotion,
                    outside,
                )
            }
        }
        Window::Pixels { lower, upper, step, channels, pixels } => {
            let (lower, upper) = (lower.map(|corner| corner as i32), upper.map(|corner| corner as i32));
            let steps = [1, *step as u32, *step as u32, 1];
            // SAFETY: as above; the corners have two entries for a map of four sizes.
            unsafe {
                sys::cuTensorMapEncodeIm2col(
                    out,
                    element,
                    rank,
                    memory,
                    sizes.as_ptr(),
                    strides.as_ptr(),
                    lower.as_ptr(),
                    upper.as_ptr(),
                    *channels as u32,
                    *pixels as u32,
                    steps.as_ptr(),
                    interleave,
                    swizzle,
                    promotion,
                    outside,
                )
            }
        }
    };
    match answer {
        sys::CUresult::CUDA_SUCCESS => Ok(encoded.0),
        refused => Err(context.refused(&format!("encode {map:?}"), DriverError(refused))),
    }
}
