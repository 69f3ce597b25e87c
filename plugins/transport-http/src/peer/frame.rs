//! The bytes between two peers: frames, which carry greetings, heartbeats and fragments of messages.
//!
//! Inside TLS, each frame is
//!
//! | bytes | field |
//! |---|---|
//! | 4 | length of the body, little-endian |
//! | 1 | kind |
//! | .. | body |
//!
//! | kind | frame | body |
//! |---|---|---|
//! | 1 | hello | [`super::hello::Hello`], at most [`GREETING_BYTES_MAX`] |
//! | 2 | welcome | empty |
//! | 3 | goodbye | [`super::hello::Goodbye`], at most [`GREETING_BYTES_MAX`] |
//! | 4 | heartbeat | empty |
//! | 16, 17, 18 | first fragment of a message of class consensus, pool, sync | 4 bytes length of the whole message, little-endian, at most [`MESSAGE_BYTES_MAX`]; then at most [`FRAGMENT_BYTES_MAX`] of it |
//! | 32, 33, 34 | next fragment of the unfinished message of that class | 1 to [`FRAGMENT_BYTES_MAX`] bytes |
//!
//! Each class has one unfinished message at most; fragments of different classes may alternate, so that a vote never waits for
//! more of a long block than one fragment.

use bytes::{BufMut, BytesMut};
use quorate::transport::{Class, MESSAGE_BYTES_MAX};

/// Bytes of a message in one frame at most.
pub(super) const FRAGMENT_BYTES_MAX: usize = 64 << 10;

/// Bytes of a hello or goodbye at most.
pub(super) const GREETING_BYTES_MAX: usize = 1024;

/// Bytes before the body.
pub(super) const HEADER_BYTES: usize = 5;

/// Bytes of the whole message's length in a first fragment.
const TOTAL_BYTES: usize = 4;

/// What a peer sent that no peer may send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("frame of kind {0}; known are 1 to 4, 16 to 18, 32 to 34")]
    UnknownKind(u8),
    #[error("{kind:?} frame of {bytes} bytes; at most {limit}")]
    FrameTooLong { kind: Kind, bytes: usize, limit: usize },
    #[error("{class:?} message of {bytes} bytes; at most {MESSAGE_BYTES_MAX}")]
    MessageTooLong { class: Class, bytes: usize },
    #[error("{class:?} message begun before the one before it ended")]
    Interleaved { class: Class },
    #[error("{class:?} fragment that continues no message")]
    NothingToContinue { class: Class },
    #[error("{class:?} fragment of {bytes} bytes where 1 to {wanted} were wanted")]
    WrongFragment { class: Class, bytes: usize, wanted: usize },
    #[error("{kind:?} frame of {bytes} bytes, which is no such frame")]
    Malformed { kind: Kind, bytes: usize },
    #[error("{0:?} frame at the wrong time")]
    Unexpected(Kind),
    #[error("{class:?} message not complete after {seconds} s")]
    TooSlow { class: Class, seconds: u64 },
    #[error("{class:?} message of {bytes} bytes while unfinished messages of strangers fill their {limit} bytes")]
    NoMemory { class: Class, bytes: usize, limit: usize },
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Hello,
    Welcome,
    Goodbye,
    Heartbeat,
    First(Class),
    Next(Class),
}

impl Kind {
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Welcome => 2,
            Self::Goodbye => 3,
            Self::Heartbeat => 4,
            Self::First(class) => 16 + class_byte(class),
            Self::Next(class) => 32 + class_byte(class),
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Welcome,
            3 => Self::Goodbye,
            4 => Self::Heartbeat,
            16..=18 => Self::First(class_of(byte - 16)?),
            32..=34 => Self::Next(class_of(byte - 32)?),
            _ => return None,
        })
    }

    fn body_bytes_max(self) -> usize {
        match self {
            Self::Hello | Self::Goodbye => GREETING_BYTES_MAX,
            Self::Welcome | Self::Heartbeat => 0,
            Self::First(_) => FRAGMENT_BYTES_MAX + TOTAL_BYTES,
            Self::Next(_) => FRAGMENT_BYTES_MAX,
        }
    }
}

fn class_byte(class: Class) -> u8 {
    match class {
        Class::Consensus => 0,
        Class::Pool => 1,
        Class::Sync => 2,
    }
}

fn class_of(byte: u8) -> Option<Class> {
    Some(match byte {
        0 => Class::Consensus,
        1 => Class::Pool,
        2 => Class::Sync,
        _ => return None,
    })
}

/// The start of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) body_bytes: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` while they are too few.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let Some(&[l0, l1, l2, l3, kind]) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let kind = Kind::from_byte(kind).ok_or(Violation::UnknownKind(kind))?;
        let body_bytes = to_usize(u32::from_le_bytes([l0, l1, l2, l3]));
        let limit = kind.body_bytes_max();
        if body_bytes > limit {
            return Err(Violation::FrameTooLong { kind, bytes: body_bytes, limit });
        }
        Ok(Some(Self { kind, body_bytes }))
    }
}

/// Appends a frame.
pub(super) fn put(out: &mut BytesMut, kind: Kind, body: &[u8]) {
    put_header(out, kind, body.len());
    out.put_slice(body);
}

/// Appends the first fragment of a message of `total` bytes.
pub(super) fn put_first(out: &mut BytesMut, class: Class, total: usize, fragment: &[u8]) {
    put_header(out, Kind::First(class), fragment.len() + TOTAL_BYTES);
    out.put_u32_le(u32::try_from(total).unwrap_or(u32::MAX));
    out.put_slice(fragment);
}

fn put_header(out: &mut BytesMut, kind: Kind, body_bytes: usize) {
    out.put_u32_le(u32::try_from(body_bytes).unwrap_or(u32::MAX));
    out.put_u8(kind.byte());
}

/// Splits the body of a first fragment into the length of the whole and the fragment.
pub(super) fn split_first(class: Class, body: &[u8]) -> Result<(usize, &[u8]), Violation> {
    let Some((total, fragment)) = body.split_first_chunk::<TOTAL_BYTES>() else {
        return Err(Violation::Malformed { kind: Kind::First(class), bytes: body.len() });
    };
    let total = to_usize(u32::from_le_bytes(*total));
    if total > MESSAGE_BYTES_MAX {
        return Err(Violation::MessageTooLong { class, bytes: total });
    }
    if fragment.len() > total || (fragment.is_empty() && total > 0) {
        return Err(Violation::WrongFragment { class, bytes: fragment.len(), wanted: total });
    }
    Ok((total, fragment))
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// One of something for each class.
#[derive(Debug, Default)]
pub(super) struct PerClass<T> {
    pub(super) consensus: T,
    pub(super) pool: T,
    pub(super) sync: T,
}

impl<T> PerClass<T> {
    pub(super) fn of_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Consensus => &mut self.consensus,
            Class::Pool => &mut self.pool,
            Class::Sync => &mut self.sync,
        }
    }
}

/// The classes, the most urgent first.
pub(super) const CLASSES: [Class; 3] = [Class::Consensus, Class::Pool, Class::Sync];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back() {
        for byte in 0..=u8::MAX {
            match Kind::from_byte(byte) {
                Some(kind) => assert_eq!(kind.byte(), byte),
                None => assert!(!matches!(byte, 1..=4 | 16..=18 | 32..=34)),
            }
        }
    }

    #[test]
    fn a_frame_longer_than_its_kind_allows_is_refused_by_its_header_alone() {
        let mut bytes = BytesMut::new();
        put_header(&mut bytes, Kind::Next(Class::Sync), FRAGMENT_BYTES_MAX + 1);
        let refused = Header::parse(&bytes).unwrap_err();
        assert_eq!(refused.to_string(), "Next(Sync) frame of 65537 bytes; at most 65536");
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_first_fragment() {
        let mut bytes = BytesMut::new();
        put_first(&mut bytes, Class::Pool, MESSAGE_BYTES_MAX + 1, b"x");
        let refused = split_first(Class::Pool, &bytes[HEADER_BYTES..]).unwrap_err();
        assert_eq!(refused, Violation::MessageTooLong { class: Class::Pool, bytes: MESSAGE_BYTES_MAX + 1 });
    }
}
