//! A walk over a JPEG file's markers, before it is decoded.
//!
//! It finds what the decoder judges otherwise than libjpeg (and so Pillow):
//! whether the file is whole, that is, reaches its end-of-image marker; and an
//! Adobe segment that is too short, which libjpeg ignores and the decoder
//! refuses. It also gives the sizes before anything is allocated, and names
//! the coding where it is one that is not read.

use std::borrow::Cow;

/// What the frame header says.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) W: u16,
    pub(super) H: u16,
}

/// Pixels that `length` bytes can describe: a block of 8 x 8 takes one bit at least.
pub(super) fn most_pixels(length: usize) -> u64 {
    length as u64 * 8 * 64
}

const TRUNCATED: &str = "truncated: it ends before its end-of-image marker";

/// Walks a file that begins as a JPEG file does. Gives the frame header and the
/// bytes to decode, without a malformed Adobe segment.
pub(super) fn examine(bytes: &[u8]) -> Result<(Header, Cow<'_, [u8]>), String> {
    let (mut header, mut malformed, mut scans) = (None, None, 0);
    let mut at = 2;
    loop {
        // Garbage between segments is skipped, as libjpeg does.
        at += bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xFF)).ok_or(TRUNCATED)?;
        at += bytes[at..].iter().position(|&byte| byte != 0xFF).ok_or(TRUNCATED)?;
        let marker = bytes[at];
        at += 1;
        match marker {
            0x00 | 0x01 | 0xD0..=0xD8 => continue,
            0xD9 => break,
            _ => {}
        }
        let length = bytes.get(at..at + 2).map(|two| usize::from(two[0]) << 8 | usize::from(two[1]));
        let segment = length.and_then(|length| bytes.get(at + 2..at + length.max(2))).ok_or(TRUNCATED)?;
        match marker {
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => header = Some(frame(marker, segment)?),
            0xEE if segment.starts_with(b"Adobe") && segment.len() < 12 => {
                malformed = Some(at - 2..at + 2 + segment.len());
            }
            0xDA => scans += 1,
            _ => {}
        }
        at += 2 + segment.len();
        if marker == 0xDA {
            at += coded_data(&bytes[at..]);
        }
    }
    let header = header.ok_or("damaged: it has no frame header")?;
    if scans == 0 {
        return Err("damaged: it has no image data".into());
    }
    let bytes = match malformed {
        Some(range) => Cow::Owned([&bytes[..range.start], &bytes[range.end..]].concat()),
        None => Cow::Borrowed(bytes),
    };
    Ok((header, bytes))
}

/// Length of the entropy-coded data at the start of `bytes`: up to a marker
/// that is neither a stuffed zero nor a restart.
fn coded_data(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(skip) = bytes[at..].iter().position(|&byte| byte == 0xFF) {
        at += skip;
        match bytes.get(at + 1) {
            Some(0x00 | 0xD0..=0xD7) => at += 2,
            Some(0xFF) => at += 1,
            _ => return at,
        }
    }
    bytes.len()
}

/// Reads a frame header, and refuses the codings that the decoder does not know.
fn frame(marker: u8, segment: &[u8]) -> Result<Header, String> {
    let &[precision, h1, h0, w1, w0, _components, ..] = segment else {
        return Err("damaged: its frame header is too short".into());
    };
    let coding = match marker {
        0xC0..=0xC2 => None,
        0xC3 => Some("lossless"),
        0xC9 | 0xCA => Some("arithmetic"),
        _ => Some("hierarchical or lossless arithmetic"),
    };
    if let Some(coding) = coding {
        return Err(format!("a JPEG file in {coding} coding, which is not read; convert it first"));
    }
    if precision != 8 {
        return Err(format!("a JPEG file of {precision} bits a sample, which is not read; convert it first"));
    }
    Ok(Header { W: u16::from_be_bytes([w1, w0]), H: u16::from_be_bytes([h1, h0]) })
}
