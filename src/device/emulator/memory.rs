//! Memory between guard pages.
//!
//! ```text
//! | no access, 4 MiB | slack | data .............. | slack | no access, 4 MiB |
//! ```
//!
//! The data end, rounded up to 16 bytes, at the guard: an access beyond it stops the
//! thread at once. Its address stays aligned, so up to 15 bytes of slack lie behind it
//! and less than a page before it. Slack holds [`UNWRITTEN`], as fresh data do:
//! reads yield NaN, writes are seen because the pattern is gone.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

/// What fresh memory holds: NaN as f32, bf16, f16 and f64, the largest index as an integer.
pub(super) const UNWRITTEN: u8 = 0xff;
/// Address space only: wide, so that a wrong stride meets it too.
const GUARD: usize = 4 << 20;
const ALIGN: usize = 16;

/// Every allocation by its first mapped address: (mapped bytes, address and size of the data).
static MAPPED: Mutex<BTreeMap<usize, (usize, usize, usize)>> = Mutex::new(BTreeMap::new());

/// An allocation between guard pages.
#[derive(Debug)]
pub(super) struct Guarded {
    /// The whole mapping, guards included.
    base: NonNull<c_void>,
    mapped: usize,
    data: NonNull<u8>,
    bytes: usize,
}

// SAFETY: owns its mapping. Kernels write to it through raw pointers while a launch borrows it;
// `Device` takes `&mut` for what is written, and the host reads only between launches.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}

impl Guarded {
    pub fn new(bytes: usize) -> io::Result<Self> {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let inner = bytes.max(1).checked_next_multiple_of(page).ok_or_else(too_large)?;
        let mapped = inner.checked_add(2 * GUARD).ok_or_else(too_large)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(ptr::null_mut(), mapped, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base).ok_or_else(too_large)?;
        // SAFETY: within the mapping; GUARD is a multiple of every page size in use.
        let start = unsafe { base.add(GUARD) };
        // SAFETY: `data` ends, rounded up to ALIGN, where the inner part ends, and starts within it.
        let data = unsafe { start.cast::<u8>().add(inner - bytes.next_multiple_of(ALIGN)) };
        let guarded = Guarded { base, mapped, data, bytes };
        // SAFETY: the inner part of a mapping that nothing else knows.
        if unsafe { libc::mprotect(start.as_ptr(), inner, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made writable.
        unsafe { start.cast::<u8>().write_bytes(UNWRITTEN, inner) };
        mapped_now().insert(base.as_ptr() as usize, (mapped, guarded.address(), bytes));
        Ok(guarded)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn address(&self) -> usize {
        self.data.as_ptr() as usize
    }

    /// The data, for a copy that is made at once.
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: `bytes` initialised bytes from `data` on.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.bytes) }
    }

    /// Writes `bytes` from byte `offset` of the data on, as a copy to the device does.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.bytes, "the callers check the range");
        // SAFETY: within the data. Only `Device` comes here, on a buffer that is borrowed mutably or that
        // recorded work writes to; nobody holds a slice of it meanwhile, see `as_bytes`.
        unsafe { self.data.as_ptr().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Fills data with the pattern of fresh memory; kernels may hold pointers to it.
    pub fn forget(&self) {
        // SAFETY: `bytes` bytes from `data` on; called between blocks, when no kernel runs on it.
        unsafe { self.data.as_ptr().write_bytes(UNWRITTEN, self.bytes) };
    }

    /// The offset from the data of a slack byte behind it that was written.
    pub fn written_behind(&self) -> Option<isize> {
        let slack = self.bytes.next_multiple_of(ALIGN) - self.bytes;
        (0..slack as isize).map(|i| self.bytes as isize + i).find(|&offset| self.slack_byte(offset) != UNWRITTEN)
    }

    /// The offset from the data of a slack byte before it that was written.
    pub fn written_before(&self) -> Option<isize> {
        let slack = self.address() - (self.base.as_ptr() as usize + GUARD);
        // Wide enough to cost nothing: slack is a multiple of 16.
        let clean = (1..=slack / 8).all(|i| {
            // SAFETY: slack of this mapping, aligned to 8 bytes.
            unsafe { self.data.as_ptr().cast::<u64>().sub(i).read_volatile() == u64::from_ne_bytes([UNWRITTEN; 8]) }
        });
        if clean {
            return None;
        }
        (1..=slack as isize).rev().map(|i| -i).find(|&offset| self.slack_byte(offset) != UNWRITTEN)
    }

    /// Gives slack its pattern back, so that one mistake is reported once.
    pub fn clean_slack(&self) {
        let before = self.address() - (self.base.as_ptr() as usize + GUARD);
        // SAFETY: the slack of this mapping on either side of the data.
        unsafe {
            self.data.as_ptr().sub(before).write_bytes(UNWRITTEN, before);
            self.data.as_ptr().add(self.bytes).write_bytes(UNWRITTEN, self.bytes.next_multiple_of(ALIGN) - self.bytes);
        }
    }

    fn slack_byte(&self, offset: isize) -> u8 {
        // SAFETY: the callers stay within the slack; volatile because a kernel may be writing to it.
        unsafe { self.data.as_ptr().offset(offset).read_volatile() }
    }

    /// The offset from the data, if `address` lies in this mapping or its guards.
    pub fn offset_of(&self, address: usize) -> Option<isize> {
        let base = self.base.as_ptr() as usize;
        (base..base + self.mapped).contains(&address).then(|| address.wrapping_sub(self.address()) as isize)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        mapped_now().remove(&(self.base.as_ptr() as usize));
        // SAFETY: mapped in `new`, unmapped once.
        unsafe { libc::munmap(self.base.as_ptr(), self.mapped) };
    }
}

fn mapped_now() -> std::sync::MutexGuard<'static, BTreeMap<usize, (usize, usize, usize)>> {
    MAPPED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Any allocation whose mapping holds `address`: the offset from its data, and its size.
pub(super) fn find(address: usize) -> Option<(isize, usize)> {
    let all = mapped_now();
    let (&base, &(mapped, data, bytes)) = all.range(..=address).next_back()?;
    (address < base + mapped).then(|| (address.wrapping_sub(data) as isize, bytes))
}
