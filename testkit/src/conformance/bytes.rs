//! Bytes that nobody should send: garbage, cut and changed copies of good ones.

use bytes::Bytes;

use crate::sim::Rng;

/// Bytes of garbage at most.
const GARBAGE_BYTES_MAX: u64 = 400;

/// Changes of one copy at most.
const CHANGES_MAX: u64 = 4;

/// Garbage, or a changed copy of one of `good`.
pub(super) fn hostile(rng: &mut Rng, good: &[Bytes]) -> Bytes {
    let Some(one) = rng.pick(good).filter(|_| rng.clone().fork(1).chance(900)) else {
        let len = rng.below(GARBAGE_BYTES_MAX);
        return (0..len).map(|_| byte(rng)).collect();
    };
    let mut bytes = one.to_vec();
    for _ in 0..=rng.below(CHANGES_MAX) {
        change(rng, &mut bytes, good);
    }
    bytes.into()
}

fn byte(rng: &mut Rng) -> u8 {
    rng.next_u64().to_le_bytes()[0]
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, good: &[Bytes]) {
    let at = rng.index(bytes.len());
    match rng.below(7) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, byte(rng)),
        2 => bytes.extend_from_slice(&rng.next_u64().to_le_bytes()),
        // Lengths and counts are little-endian words.
        3 => {
            let word = *rng.pick(&[0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX]).unwrap_or(&0);
            for (old, new) in bytes.iter_mut().skip(at).zip(word.to_le_bytes()) {
                *old = new;
            }
        }
        // The end of another.
        4 => {
            if let Some(other) = rng.pick(good) {
                bytes.truncate(at);
                bytes.extend_from_slice(other.get(at.min(other.len())..).unwrap_or_default());
            }
        }
        _ => {
            let flipped = 1 << rng.below(8);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= flipped;
            }
        }
    }
}

/// The first of some bytes, for people.
pub(super) fn shown(bytes: &[u8]) -> String {
    const SHOWN: usize = 48;
    let digits: String = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}{} ({} bytes)", if bytes.len() > SHOWN { ".." } else { "" }, bytes.len())
}
