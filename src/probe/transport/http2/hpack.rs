//! Whether a response's head begins with `:status`, as each has to: the one pseudo-header of responses stands before every field (RFC 9113,
//! 8.3). The library takes a head without it for a 200 and says nothing.
//!
//! Only the first field of the first frame is looked at, and only what it says by itself: what refers to the dynamic table, and what the
//! frame cuts off, is left to the library (RFC 7541, section 6).

use std::ops::RangeInclusive;

/// Flags of a HEADERS frame that put something before the fields: the length of a padding, and a priority.
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;
/// Entries of the static table whose name is `:status`, and the last entry of that table.
const STATUS: RangeInclusive<usize> = 8..=14;
const STATIC_MAX: usize = 61;
/// The name itself, plain and in its only Huffman form.
const NAME: &[u8] = b":status";
const NAME_CODED: &[u8] = b"\xb8\x84\x8d\x36\xa3";

/// Bytes of a frame's payload that are enough to tell: padding, priority, two changes of the table's size, a field's name.
pub(super) const ENOUGH: usize = 32;

/// Whether the field that a HEADERS frame begins with is surely another than `:status`.
pub(super) fn lacks_status(flags: u8, payload: &[u8]) -> bool {
    let before = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
    payload.get(before..).and_then(is_other).unwrap_or(false)
}

/// Whether a block begins with another field; `None` where that can't be told.
fn is_other(mut block: &[u8]) -> Option<bool> {
    // A change of the table's size is no field.
    while block.first()? & 0b1110_0000 == 0b0010_0000 {
        (_, block) = integer(block, 5)?;
    }
    let bits = match block.first()? {
        0x80.. => 7,
        0x40..=0x7f => 6,
        _ => 4,
    };
    let (index, rest) = integer(block, bits)?;
    match index {
        // An index of 0 is an error, which the library tells, unless a name follows.
        0 if bits == 7 => None,
        0 => is_other_name(rest),
        index if index > STATIC_MAX => None,
        index => Some(!STATUS.contains(&index)),
    }
}

fn is_other_name(name: &[u8]) -> Option<bool> {
    let coded = name.first()? & 0x80 != 0;
    let (length, bytes) = integer(name, 7)?;
    let wanted = if coded { NAME_CODED } else { NAME };
    if length == wanted.len() { Some(bytes.get(..length)? != wanted) } else { Some(true) }
}

/// An integer with a prefix of so many bits, and what follows it.
fn integer(bytes: &[u8], bits: u32) -> Option<(usize, &[u8])> {
    let (&first, mut rest) = bytes.split_first()?;
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(first) & most;
    if value < most {
        return Some((value, rest));
    }
    // Four bytes more are beyond any index or name that there is.
    for shift in [0, 7, 14, 21] {
        let (&next, after) = rest.split_first()?;
        rest = after;
        value += usize::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Blocks that begin with `:status`, each in another way, and a little of what follows.
    const WITH: &[(u8, &[u8])] = &[
        (0, b"\x88\x40\x01x\x01y"),
        (0, b"\x8e"),
        (0, b"\x48\x03103"),
        (0, b"\x08\x03204"),
        (0, b"\x1e\x03299"),
        (0, b"\x40\x07:status\x03200"),
        (0, b"\x10\x85\xb8\x84\x8d\x36\xa3\x03200"),
        (0, b"\x20\x88"),
        (0, b"\x20\x3f\xe1\x1f\x88"),
        (PADDED, b"\x04\x88\0\0\0\0"),
        (PRIORITY, b"\0\0\0\0\x10\x88"),
        (PADDED | PRIORITY, b"\x01\0\0\0\0\x10\x88\0"),
        // Only who knows the dynamic table knows what these are.
        (0, b"\xbe"),
        (0, b"\xff\x00"),
        (0, b"\x7e\x03200"),
        (0, b"\x0f\x2f\x03200"),
    ];

    const WITHOUT: &[(u8, &[u8])] = &[
        (0, b"\x82"),
        (0, b"\x8f"),
        (0, b"\xbd"),
        (0, b"\x5f\x01a"),
        (0, b"\0\x07x-truth\x03yes"),
        (0, b"\0\x06status\x03200"),
        (0, b"\x10\x85\xb8\x84\x8d\x36\xa4\x03200"),
        (0, b"\x20\x82"),
        (PADDED, b"\x01\x82\0"),
        (PRIORITY, b"\0\0\0\0\x10\x82"),
        (0, b"\x0f\x01\x03abc"),
    ];

    #[test]
    fn a_head_with_another_field_first_lacks_its_status() {
        for (flags, block) in WITH {
            assert!(!lacks_status(*flags, block), "{block:?}");
        }
        for (flags, block) in WITHOUT {
            assert!(lacks_status(*flags, block), "{block:?}");
        }
    }

    #[test]
    fn what_is_cut_off_is_not_told() {
        for (flags, block) in WITH {
            for length in 0..block.len() {
                assert!(!lacks_status(*flags, &block[..length]), "{length} of {block:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_any_harm(flags in any::<u8>(), block in proptest::collection::vec(any::<u8>(), 0..ENOUGH)) {
            let _told = lacks_status(flags, &block);
            prop_assert!(!lacks_status(0, &[&[0x88], block.as_slice()].concat()));
        }
    }
}
