//! What `kernels/emulator/emulator.h` declares: calls from a kernel into the emulator.
//!
//! They run on the fiber of the calling thread. None may panic or hold something that
//! needs dropping while it pauses or touches a kernel's memory.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::fmt;
use std::ptr;

use super::block::{Block, Identity, Wait};

thread_local! {
    static BLOCK: Cell<*const Block<'static>> = const { Cell::new(ptr::null()) };
}

/// Makes `block` the one that this thread's kernels belong to, until it is dropped.
pub(super) struct Entered;

impl Entered {
    pub fn new(block: &Block<'_>) -> Self {
        BLOCK.set(ptr::from_ref(block).cast());
        Entered
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        BLOCK.set(ptr::null());
    }
}

/// The block whose kernel calls.
pub(super) fn current() -> &'static Block<'static> {
    // SAFETY: only a running kernel calls, and its block stands in `BLOCK` while it runs. The
    // reference is used within one hook, on the thread that entered the block.
    unsafe { &*BLOCK.get() }
}

/// A line of a kernel's source.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub file: *const c_char,
    pub line: i32,
}

impl Place {
    fn key(&self) -> (&'static str, i32) {
        (text(self.file), self.line)
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        // Mostly the very same call, so the names need no comparison.
        self.line == other.line && (ptr::eq(self.file, other.file) || self.key() == other.key())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line) = self.key();
        // From the repository's root on, wherever it was built.
        let start = file.rfind("kernels/").map_or(0, |at| file[..at].rfind("tests/").unwrap_or(at));
        write!(f, "{}:{line}", &file[start..])
    }
}

/// An operation of a whole warp.
#[repr(C)]
pub(super) struct Collective {
    pub name: *const c_char,
    pub perform: extern "C" fn(lanes: *const *mut c_void, mask: u32) -> *const c_char,
}

impl Collective {
    pub fn name(&self) -> &'static str {
        text(self.name)
    }
}

/// A string constant of a kernel.
pub(super) fn text(string: *const c_char) -> &'static str {
    // SAFETY: kernels pass string literals.
    unsafe { CStr::from_ptr(string) }.to_str().unwrap_or("?")
}

#[unsafe(no_mangle)]
extern "C" fn zfnet_emulator_identity() -> *const Identity {
    current().identity()
}

#[unsafe(no_mangle)]
extern "C" fn zfnet_emulator_meet(collective: &'static Collective, mask: u32, lane: *mut c_void, place: &Place) {
    current().meet(collective, mask, lane, *place);
}

#[unsafe(no_mangle)]
extern "C" fn zfnet_emulator_barrier(id: u32, threads: u32, place: &Place) {
    current().barrier(id, threads, *place);
}

#[unsafe(no_mangle)]
extern "C" fn zfnet_emulator_wait(
    ready: extern "C" fn(*const c_void) -> bool,
    state: *const c_void,
    name: *const c_char,
    place: &Place,
) {
    let block = current();
    while !ready(state) {
        block.pause(Wait::Until { ready, state, name: text(name), place: *place });
    }
}

#[unsafe(no_mangle)]
extern "C" fn zfnet_emulator_dynamic_shared() -> *mut c_void {
    current().dynamic_shared()
}

#[unsafe(no_mangle)]
extern "C" fn zfnet_emulator_shared(key: *const c_void, bytes: usize) -> *mut c_void {
    current().shared(key as usize, bytes)
}

#[unsafe(no_mangle)]
extern "C" fn zfnet_emulator_async_copy(shared: *mut c_void, global: *const c_void, bytes: u32, read: u32) {
    let mut data = [0u8; 16];
    let (bytes, read) = (bytes.min(16) as usize, read.min(16) as usize);
    // SAFETY: `read` bytes that the kernel says are there; if not, this is where the fault belongs.
    unsafe { ptr::copy_nonoverlapping(global.cast::<u8>(), data.as_mut_ptr(), read) };
    current().async_copy(shared.cast(), data, bytes);
}

#[unsafe(no_mangle)]
extern "C" fn zfnet_emulator_async_commit() {
    current().async_commit();
}

#[unsafe(no_mangle)]
extern "C" fn zfnet_emulator_async_wait(groups_left: u32) {
    current().async_wait(groups_left as usize);
}

#[unsafe(no_mangle)]
extern "C" fn zfnet_emulator_bulk_load(
    shared: *mut c_void,
    bytes: u32,
    fill: extern "C" fn(*mut u8, *const c_void),
    state: *const c_void,
    complete: extern "C" fn(*mut c_void, u32),
    barrier: *mut c_void,
) {
    current().bulk_load(shared.cast(), bytes, |to| fill(to, state), complete, barrier);
}

#[unsafe(no_mangle)]
extern "C" fn zfnet_emulator_bulk_store(perform: extern "C" fn(*const c_void), state: *const c_void, bytes: u32) {
    let mut copy = vec![0_u64; (bytes as usize).div_ceil(8)];
    // SAFETY: `bytes` bytes of a struct on the kernel's stack.
    unsafe { ptr::copy_nonoverlapping(state.cast::<u8>(), copy.as_mut_ptr().cast(), bytes as usize) };
    current().bulk_store(perform, copy);
}

#[unsafe(no_mangle)]
extern "C" fn zfnet_emulator_bulk_commit() {
    current().bulk_commit();
}

#[unsafe(no_mangle)]
extern "C" fn zfnet_emulator_bulk_wait(groups_left: u32) {
    current().bulk_wait(groups_left as usize);
}

#[unsafe(no_mangle)]
extern "C" fn zfnet_emulator_fail(reason: *const c_char, place: &Place) -> ! {
    current().fail(format!("{} at {place}", text(reason)))
}
