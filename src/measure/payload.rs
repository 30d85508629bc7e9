//! A histogram as an interval log has it: `HdrHistogram`'s V2 format, deflated, in base64.
//!
//! The library's own serializer makes a compressor for each histogram, of 300 KiB that have to be cleared; this one keeps it.

use std::fmt::Write as _;
use std::io;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compress, Compression, FlushCompress, Status};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};

/// What a compressed histogram begins with.
const COOKIE: u32 = 0x1c84_9314;
/// The cookie, and the length of what follows.
const HEAD: usize = 8;

/// See the module's documentation.
pub(super) struct Payloads {
    serializer: V2Serializer,
    compress: Compress,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Payloads {
    pub(super) fn new() -> Self {
        let compress = Compress::new(Compression::default(), true);
        Self { serializer: V2Serializer::new(), compress, plain: Vec::new(), packed: Vec::new() }
    }

    /// Adds a histogram to a line.
    ///
    /// # Errors
    ///
    /// None that is known: both are written into memory.
    pub(super) fn add(&mut self, histogram: &Histogram<u64>, line: &mut String) -> io::Result<()> {
        let packed = self.pack(histogram)?;
        write!(line, "{}", Base64Display::new(packed, &STANDARD)).map_err(io::Error::other)
    }

    fn pack(&mut self, histogram: &Histogram<u64>) -> io::Result<&[u8]> {
        self.plain.clear();
        self.serializer.serialize(histogram, &mut self.plain).map_err(io::Error::other)?;
        self.packed.clear();
        self.packed.extend_from_slice(&COOKIE.to_be_bytes());
        self.packed.extend_from_slice(&[0; 4]);
        self.compress.reset();
        loop {
            // It writes into the room that there is, and says when it needed no more.
            self.packed.reserve(self.plain.len() / 2 + 64);
            let read = usize::try_from(self.compress.total_in()).unwrap_or(usize::MAX);
            let rest = self.plain.get(read..).unwrap_or_default();
            if self.compress.compress_vec(rest, &mut self.packed, FlushCompress::Finish)? == Status::StreamEnd {
                break;
            }
        }
        let length = u32::try_from(self.packed.len() - HEAD).map_err(io::Error::other)?;
        self.packed[4..HEAD].copy_from_slice(&length.to_be_bytes());
        Ok(&self.packed)
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::V2DeflateSerializer;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// One after another through the same compressor, of whatever length.
        #[test]
        fn the_bits_are_those_of_the_library(
            many in prop::collection::vec(prop::collection::vec(1u64..600_000_000_000, 0..400), 1..6),
        ) {
            let mut payloads = Payloads::new();
            for values in many {
                let mut histogram = Histogram::new_with_bounds(1, 600_000_000_000, 3).unwrap();
                for value in values {
                    histogram.record(value).unwrap();
                }
                let mut library = Vec::new();
                V2DeflateSerializer::new().serialize(&histogram, &mut library).unwrap();
                prop_assert_eq!(payloads.pack(&histogram).unwrap(), library);
            }
        }
    }
}
