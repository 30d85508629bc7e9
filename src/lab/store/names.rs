//! Uids and suffixes, out of the seed.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// The letters of suffixes: none that spells a word, as Kubernetes has it.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::lab) struct Names(ChaCha8Rng);

impl Names {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Five letters.
    pub(in crate::lab) fn suffix(&mut self) -> String {
        (0..5).map(|_| char::from(LETTERS[self.0.random_range(0..LETTERS.len())])).collect()
    }

    /// A uid, as version 4 of UUIDs is written.
    pub(in crate::lab) fn uid(&mut self) -> String {
        let bits: u128 = self.0.random();
        let bits = (bits & !(0xf << 76) & !(0b11 << 62)) | (4 << 76) | (0b10 << 62);
        let hex = format!("{bits:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}
