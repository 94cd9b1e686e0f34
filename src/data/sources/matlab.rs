//! As much of MATLAB's version-5 MAT format as ImageNet's devkit is written in.
//!
//! A file is a header of 128 bytes and a sequence of elements. An element has a
//! tag, its type and length in bytes as two u32 (or, when it is short, both in
//! one u32 with up to four bytes of data behind it), and its data, filled up to
//! a multiple of 8. An array is an element of type 14 whose data are elements
//! again: class, extents, name, contents by class; compressed, it is an element
//! of type 15 whose data are a zlib stream that holds it. Numbers may be stored
//! in any narrower type than the array's class says. Arrays are column-major.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// Types of elements.
mod kind {
    pub const MATRIX: u32 = 14;
    pub const COMPRESSED: u32 = 15;
    pub const UTF8: u32 = 16;
    pub const UTF16: u32 = 17;
}

/// Most bytes that a compressed array may unpack to: the devkit's has 2 MB.
const MAX_UNPACKED: u64 = 64 << 20;

/// How deep arrays may stand in arrays.
const MAX_DEPTH: usize = 8;

/// An array.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Numbers, column by column.
    Numbers(Vec<f64>),
    /// A line of text.
    Text(String),
    /// One list of values for each element, in the order of the names.
    Structs { names: Vec<String>, elements: Vec<Vec<Value>> },
    /// An array of a class that is not read.
    Other,
}

/// A sequence of elements.
struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Elements<'a> {
    fn u32(&mut self) -> Result<u32, String> {
        let four = self.take(4)?.try_into().map_err(|_| "truncated".to_string())?;
        Ok(if self.big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let piece = self.at.checked_add(n).and_then(|end| self.bytes.get(self.at..end));
        let piece =
            piece.ok_or_else(|| format!("truncated: {n} bytes are missing at byte {} of an element", self.at))?;
        self.at += n;
        Ok(piece)
    }

    /// The next element's type and data.
    fn next(&mut self) -> Result<(u32, &'a [u8]), String> {
        let tag = self.u32()?;
        if tag >> 16 != 0 {
            let data = self.take(4)?;
            let length = (tag >> 16) as usize;
            return Ok((tag & 0xFFFF, data.get(..length).ok_or("damaged: a short element of more than 4 bytes")?));
        }
        let length = self.u32()? as usize;
        let data = self.take(length)?;
        if tag != kind::COMPRESSED {
            // What fills up the last element of all may be missing.
            self.at = self.at.next_multiple_of(8).min(self.bytes.len());
        }
        Ok((tag, data))
    }

    fn inside(&self, bytes: &'a [u8]) -> Elements<'a> {
        Elements { bytes, at: 0, big_endian: self.big_endian }
    }

    /// Numbers of a numeric element.
    fn numbers(&self, kind: u32, data: &[u8]) -> Result<Vec<f64>, String> {
        macro_rules! read {
            ($T:ty) => {
                data.chunks_exact(size_of::<$T>())
                    .filter_map(|piece| piece.try_into().ok())
                    .map(|piece| if self.big_endian { <$T>::from_be_bytes(piece) } else { <$T>::from_le_bytes(piece) } as f64)
                    .collect()
            };
        }
        Ok(match kind {
            1 => read!(i8),
            2 => read!(u8),
            3 => read!(i16),
            4 => read!(u16),
            5 => read!(i32),
            6 => read!(u32),
            7 => read!(f32),
            9 => read!(f64),
            12 => read!(i64),
            13 => read!(u64),
            other => return Err(format!("damaged: elements of type {other} where numbers are expected")),
        })
    }

    fn text(&self, kind: u32, data: &[u8]) -> Result<String, String> {
        if kind == kind::UTF8 {
            return String::from_utf8(data.to_vec()).map_err(|_| "damaged: text that is not UTF-8".into());
        }
        let kind = if kind == kind::UTF16 { 4 } else { kind };
        let units: Vec<u16> = self.numbers(kind, data)?.into_iter().map(|unit| unit as u16).collect();
        String::from_utf16(&units).map_err(|_| "damaged: text that is not UTF-16".into())
    }

    /// The array whose data these elements are: its name and value.
    fn array(mut self, depth: usize) -> Result<(String, Value), String> {
        if depth == MAX_DEPTH {
            return Err(format!("arrays stand in arrays more than {MAX_DEPTH} deep"));
        }
        if self.bytes.is_empty() {
            return Ok((String::new(), Value::Numbers(Vec::new())));
        }
        let (kind, flags) = self.next()?;
        let class = self.numbers(kind, flags)?.first().map_or(0, |&flags| flags as u32 & 0xFF);
        let (kind, extents) = self.next()?;
        let count = self.numbers(kind, extents)?.into_iter().product::<f64>() as usize;
        let (_, name) = self.next()?;
        let name = String::from_utf8_lossy(name).into_owned();
        let value = match class {
            2 => self.structs(count, depth)?,
            4 => {
                let (kind, data) = self.next()?;
                Value::Text(self.text(kind, data)?)
            }
            6..=15 => {
                let (kind, data) = self.next()?;
                let numbers = self.numbers(kind, data)?;
                if numbers.len() != count {
                    return Err(format!("damaged: {} numbers in an array of {count}", numbers.len()));
                }
                Value::Numbers(numbers)
            }
            _ => Value::Other,
        };
        Ok((name, value))
    }

    fn structs(&mut self, count: usize, depth: usize) -> Result<Value, String> {
        let (kind, length) = self.next()?;
        let length = self.numbers(kind, length)?.first().map_or(0, |&length| length as usize);
        let (_, names) = self.next()?;
        if length == 0 {
            return Err("damaged: a struct whose field names have no length".into());
        }
        let name = |bytes: &[u8]| {
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        let names: Vec<String> = names.chunks_exact(length).map(name).collect();
        let mut elements = Vec::new();
        for _ in 0..count {
            let mut element = Vec::with_capacity(names.len());
            for _ in &names {
                let (kind, data) = self.next()?;
                if kind != kind::MATRIX {
                    return Err(format!("damaged: an element of type {kind} where an array is expected"));
                }
                element.push(self.inside(data).array(depth + 1)?.1);
            }
            elements.push(element);
        }
        Ok(Value::Structs { names, elements })
    }
}

/// The variable `wanted` of a MAT file; the error is the reason in words.
pub(super) fn variable(bytes: &[u8], wanted: &str) -> Result<Value, String> {
    let big_endian = match bytes.get(124..128) {
        Some([_, 1, b'I', b'M']) => false,
        Some([1, _, b'M', b'I']) => true,
        _ => return Err("not a MAT file of version 5 (save it with -v7, not -v7.3)".into()),
    };
    let mut elements = Elements { bytes, at: 128, big_endian };
    while elements.at < bytes.len() {
        let (kind, data) = elements.next()?;
        let (name, value) = match kind {
            kind::MATRIX => elements.inside(data).array(0)?,
            kind::COMPRESSED => {
                let mut unpacked = Vec::new();
                let mut reader = ZlibDecoder::new(data).take(MAX_UNPACKED);
                reader.read_to_end(&mut unpacked).map_err(|e| format!("damaged: a compressed array: {e}"))?;
                let mut inner = Elements { bytes: &unpacked, at: 0, big_endian };
                let (_, data) = inner.next()?;
                inner.inside(data).array(0)?
            }
            _ => continue,
        };
        if name == wanted {
            return Ok(value);
        }
    }
    Err(format!("it has no variable {wanted}"))
}
