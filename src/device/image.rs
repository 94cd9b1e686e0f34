//! The kernels that nvcc compiled when this library was built.

include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// What nvcc made of one file of `kernels/`.
pub struct Image {
    /// The file's name without `.cu`.
    pub stem: &'static str,
    /// The kernels in it.
    pub kernels: &'static [&'static str],
    /// The architectures it is for, e.g. `sm_90a`, whose code runs on that one alone; empty for all.
    pub archs: &'static [&'static str],
    /// Machine code for every architecture of [`ARCHS`], or for those of `archs` among them.
    pub fatbin: &'static [u8],
}

impl Image {
    /// Whether a GPU of compute capability (major, minor) can run it.
    pub fn runs_on(&self, (major, minor): (u32, u32)) -> bool {
        self.archs.is_empty() || self.archs.contains(&format!("sm_{major}{minor}a").as_str())
    }
}

/// What one kernel takes on one architecture, as ptxas reports it.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The architecture, e.g. `sm_90a`.
    pub arch: &'static str,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of local memory of a thread: arrays that are indexed at run time. Never spilled registers, the build refuses those.
    pub stack: u32,
    /// Bytes of static shared memory of a block.
    pub shared: u32,
}

/// What one multiprocessor has, from the occupancy tables of the CUDA programming guide.
struct Multiprocessor {
    registers: u32,
    /// Kilobytes that blocks share out among themselves.
    shared: u32,
    warps: u32,
    blocks: u32,
}

/// The multiprocessor of `arch`, where it is known.
fn multiprocessor(arch: &str) -> Option<Multiprocessor> {
    let shared = match arch {
        "sm_80" => 164,
        "sm_90" | "sm_90a" | "sm_100" | "sm_100a" => 228,
        _ => return None,
    };
    Some(Multiprocessor { registers: 65_536, shared, warps: 64, blocks: 32 })
}

impl Usage {
    /// The share of a multiprocessor's warps that are resident at once in blocks of `threads`
    /// threads with `dynamic` bytes of dynamic shared memory; `None` for an architecture whose
    /// limits are not known here.
    ///
    /// Registers are given to warps by 256, shared memory to blocks by 128 bytes and 1 KiB more.
    pub fn occupancy(&self, threads: u32, dynamic: u32) -> Option<f64> {
        let has = multiprocessor(self.arch)?;
        let warps = threads.div_ceil(32).max(1);
        let registers = (self.registers * 32).next_multiple_of(256).max(256) * warps;
        let shared = (self.shared + dynamic).next_multiple_of(128) + 1024;
        let blocks = (has.registers / registers).min(has.shared * 1024 / shared).min(has.warps / warps).min(has.blocks);
        Some(f64::from(blocks * warps) / f64::from(has.warps))
    }
}

/// Why there are no kernels, and how to get them.
pub const MISSING: &str = "this program was built without CUDA kernels, because no nvcc was found; \
    run scripts/install-nvcc (or set ZFNET_NVCC or CUDA_HOME) and build again";
