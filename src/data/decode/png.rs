//! The header of a PNG file, read before its pixels are.

const SIGNATURE: usize = 8;

/// What IHDR says.
pub(super) struct Header {
    pub(super) W: u32,
    pub(super) H: u32,
    bits_per_pixel: u64,
}

impl Header {
    /// Pixels that `length` bytes can describe: deflate expands by less than 1032.
    pub(super) fn most_pixels(&self, length: usize) -> u64 {
        length as u64 * 1032 * 8 / self.bits_per_pixel
    }
}

/// Reads the header of a file that begins as a PNG file does.
pub(super) fn examine(bytes: &[u8]) -> Result<Header, String> {
    let header = bytes.get(SIGNATURE..SIGNATURE + 18).ok_or("truncated: it ends within its header")?;
    if &header[4..8] != b"IHDR" {
        return Err("damaged: a PNG file whose first chunk is not its header".into());
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (depth, colour) = (u64::from(header[16]), header[17]);
    let channels = match colour {
        0 | 3 => 1,
        4 => 2,
        2 => 3,
        6 => 4,
        _ => return Err(format!("damaged: its header says colour type {colour}")),
    };
    if ![1, 2, 4, 8, 16].contains(&depth) {
        return Err(format!("damaged: its header says {depth} bits a sample"));
    }
    Ok(Header { W: number(8), H: number(12), bits_per_pixel: channels * depth })
}
