//! The one error type of the library.
//!
//! Every message names the operation or file, the shapes, line or offset
//! concerned, and what to do about it. The binary prints it as it stands.

use std::io;
use std::path::{Path, PathBuf};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between a command line and a trained network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation was asked for sizes that do not fit together.
    #[error("{op}: {reason}")]
    Shape {
        /// The operation, e.g. `conv` or `pool`.
        op: &'static str,
        /// The sizes that were given and the rule they break.
        reason: String,
    },

    /// A network or training description is wrong.
    #[error("{origin}{}: {key}: {reason}", line.map(|l| format!(", line {l}")).unwrap_or_default())]
    Config {
        /// The file or preset the description came from.
        origin: String,
        /// Line in that text, counted from 1, where it is known.
        line: Option<usize>,
        /// The key or layer concerned.
        key: String,
        /// What is wrong and what would be right.
        reason: String,
    },

    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb: `read`, `create`, `rename to`, ...
        action: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A file was read but does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file concerned.
        path: PathBuf,
        /// What was expected, what was found, and what to do.
        reason: String,
    },

    /// The loss or a value inside the network stopped being a finite number.
    #[error("step {step}: the loss is {loss}; the first non-finite value stands in {place}. {advice}")]
    NonFinite {
        /// Global step, counted from 0.
        step: u64,
        /// The loss that was computed.
        loss: f64,
        /// The blob or parameter in which the first non-finite value stands.
        place: String,
        /// What to do: where the last good checkpoint is, which setting to change.
        advice: String,
    },

    /// A device is missing, or refused an allocation, a copy or a launch.
    #[error("{device}: {reason}")]
    Device {
        /// The device, e.g. `cuda:0` or `emulator`.
        device: String,
        /// What was asked, with sizes, what was answered, and what to do.
        reason: String,
    },

    /// The emulator caught a kernel at something undefined.
    #[error("kernel {kernel}, block {block:?}, thread {thread:?}: {reason}")]
    Kernel {
        /// The kernel's name.
        kernel: String,
        /// blockIdx as (x, y, z).
        block: (u32, u32, u32),
        /// threadIdx as (x, y, z).
        thread: (u32, u32, u32),
        /// What the thread did, and where in the source.
        reason: String,
    },

    /// The user asked to stop; everything is saved.
    #[error("interrupted: {0}")]
    Interrupted(String),

    /// A request that cannot be met as it stands (unknown name, missing device, ...).
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// A shape error of operation `op`.
    pub fn shape(op: &'static str, reason: impl Into<String>) -> Self {
        Error::Shape { op, reason: reason.into() }
    }

    /// An error of `device`.
    pub fn device(device: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Device { device: device.into(), reason: reason.into() }
    }

    /// A malformed file at `path`.
    pub fn format(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Error::Format { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }

    /// For `map_err` on a file operation: `fs::read(p).map_err(Error::io("read", p))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }
}
