//! A kernel as the C++ compiler left it: its entry and its signature.

use std::ffi::c_void;
use std::fmt;

use crate::device::Arg;

/// What `kernels/emulator/trampoline.h` makes of a kernel.
#[repr(C)]
pub struct Entry {
    pub(super) run: unsafe extern "C" fn(arguments: *const *mut c_void),
    parameters: *const Parameter,
    count: u32,
}

// SAFETY: a constant of the program.
unsafe impl Sync for Entry {}

/// A kernel and its name.
#[derive(Clone, Copy)]
pub struct Emulated {
    /// As a launch names it.
    pub name: &'static str,
    /// Where it starts and what it takes.
    pub entry: &'static Entry,
}

impl Emulated {
    pub(super) fn parameters(&self) -> &'static [Parameter] {
        // SAFETY: the compiler counted them.
        unsafe { std::slice::from_raw_parts(self.entry.parameters, self.entry.count as usize) }
    }
}

/// The type of a parameter, as far as a launch has to know it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    kind: u8,
    bytes: u32,
}

impl Parameter {
    /// What a launch's argument stands for.
    pub(super) fn of<B>(arg: &Arg<'_, B>) -> Self {
        let (kind, bytes) = match arg {
            Arg::In(..) => (b'r', 8),
            Arg::Out(..) => (b'w', 8),
            Arg::I32(_) => (b'i', 4),
            Arg::U32(_) => (b'u', 4),
            Arg::U64(_) => (b'u', 8),
            Arg::F32(_) => (b'f', 4),
            Arg::Struct(bytes) => (b's', bytes.len() as u32),
            Arg::MapIn(..) | Arg::MapOut(..) => (b't', 128),
        };
        Parameter { kind, bytes }
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes;
        match self.kind {
            b'r' => write!(f, "a buffer to read (const T*)"),
            b'w' => write!(f, "a buffer to write (T*)"),
            b'i' => write!(f, "a signed integer of {bytes} bytes"),
            b'u' => write!(f, "an unsigned integer of {bytes} bytes"),
            b'f' => write!(f, "a floating-point number of {bytes} bytes"),
            b't' => write!(f, "a tensor map"),
            _ => write!(f, "a struct of {bytes} bytes"),
        }
    }
}
