//! Where the C++ compiler's run-time checks report: the names and layouts are those of
//! UBSan's interface, in GCC and clang alike. Each report stops the thread.

use std::ffi::{c_char, c_void};

use super::block::Block;
use super::hooks::{Place, current};

/// The head of every report.
#[repr(C)]
struct Location {
    file: *const c_char,
    line: u32,
    column: u32,
}

/// The report of an access through a bad pointer.
#[repr(C)]
struct TypeMismatch {
    location: Location,
    of: *const c_void,
    log_alignment: u8,
    kind: u8,
}

fn stop(location: &Location, reason: String) -> ! {
    let place = Place { file: location.file, line: location.line as i32 };
    let block: &Block = current();
    block.fail(format!("{reason} at {place}"))
}

/// A reference to what the compiler put behind `data`.
///
/// # Safety
/// `data` comes from the compiler's call and points to a constant that starts with `T`.
unsafe fn report<T>(data: *const c_void) -> &'static T {
    // SAFETY: the caller's promise.
    unsafe { &*data.cast() }
}

#[unsafe(no_mangle)]
extern "C" fn __ubsan_handle_type_mismatch_v1_abort(data: *const c_void, pointer: usize) -> ! {
    // SAFETY: the compiler passes this layout here.
    let mismatch: &TypeMismatch = unsafe { report(data) };
    let alignment = 1usize << mismatch.log_alignment.min(63);
    stop(&mismatch.location, format!("access to {pointer:#x}, which is not a multiple of {alignment} bytes,"))
}

#[unsafe(no_mangle)]
extern "C" fn __ubsan_handle_out_of_bounds_abort(data: *const c_void, index: usize) -> ! {
    // SAFETY: the report starts with a location.
    stop(unsafe { report(data) }, format!("index {} is outside its array", index as isize))
}

/// Reports whose location says enough.
macro_rules! handlers {
    ($($name:ident: $reason:literal;)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name(data: *const c_void, _: usize, _: usize) -> ! {
            // SAFETY: the report starts with a location.
            stop(unsafe { report(data) }, $reason.into())
        }
    )*};
}

handlers! {
    __ubsan_handle_shift_out_of_bounds_abort: "a shift by more bits than the value has";
    __ubsan_handle_divrem_overflow_abort: "an integer division by 0 or beyond the largest value";
    __ubsan_handle_add_overflow_abort: "a signed sum overflows";
    __ubsan_handle_sub_overflow_abort: "a signed difference overflows";
    __ubsan_handle_mul_overflow_abort: "a signed product overflows";
    __ubsan_handle_negate_overflow_abort: "a negation overflows";
    __ubsan_handle_pointer_overflow_abort: "a pointer leaves the address space";
}
