//! Many short byte strings in few buffers: the rows of a block are made together and go together, and need not each ask for memory.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of the first buffer; each further one is twice as long, so that a block with one transaction takes little.
const FIRST_BYTES: usize = 1 << 10;

/// Bytes of a buffer at most, unless one string is longer. A string keeps its whole buffer: as much is held for the last of them.
const BUFFER_BYTES_MAX: usize = 32 << 10;

/// Gives out slices of its buffers.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    buffer: BytesMut,
    len: usize,
}

impl Packed {
    /// `parts` one after the other.
    pub(crate) fn put(&mut self, parts: [&[u8]; 2]) -> Bytes {
        let needed = parts.iter().map(|part| part.len()).sum::<usize>();
        if self.buffer.capacity() < needed {
            self.len = self.len.saturating_mul(2).clamp(FIRST_BYTES, BUFFER_BYTES_MAX);
            self.buffer = BytesMut::with_capacity(self.len.max(needed));
        }
        parts.iter().for_each(|part| self.buffer.put_slice(part));
        self.buffer.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_stay_as_they_were_put_and_few_buffers_hold_them() {
        let mut packed = Packed::default();
        let given: Vec<Bytes> = (0..2000u32).map(|number| packed.put([b"row", &number.to_be_bytes()])).collect();
        for (number, bytes) in (0..2000u32).zip(&given) {
            assert_eq!(bytes[..], [b"row", &number.to_be_bytes()[..]].concat());
        }
        let gaps = given.windows(2).filter(|pair| pair[0].as_ptr_range().end != pair[1].as_ptr()).count();
        assert!(gaps <= 4, "{gaps}");
        let long = vec![7; 2 * BUFFER_BYTES_MAX];
        assert_eq!(packed.put([b"", &long]), long);
    }

    #[test]
    fn one_string_takes_a_short_buffer_and_a_long_one_no_more_than_its_own() {
        let mut packed = Packed::default();
        packed.put([b"a", b"b"]);
        assert!(packed.buffer.capacity() < FIRST_BYTES);
        (0..100).for_each(|_| drop(packed.put([&[0; BUFFER_BYTES_MAX / 2], b""])));
        assert!(packed.buffer.capacity() <= BUFFER_BYTES_MAX);
    }
}
