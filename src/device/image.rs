//! The kernels that nvcc compiled when this library was built.

include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// What nvcc made of one file of `kernels/`.
pub struct Image {
    /// The file's name without `.cu`.
    pub stem: &'static str,
    /// The kernels in it.
    pub kernels: &'static [&'static str],
    /// Machine code for every architecture of [`ARCHS`].
    pub fatbin: &'static [u8],
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

/// Why there are no kernels, and how to get them.
pub(super) const MISSING: &str = "this program was built without CUDA kernels, because no nvcc was found; \
    run scripts/install-nvcc (or set ZFNET_NVCC or CUDA_HOME) and build again";
