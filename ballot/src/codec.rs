//! Reading and writing fields of fixed order: big-endian numbers, elements, scalars, framed strings. Strict: one value, one encoding.

use crate::group::{Element, Scalar, decode_scalar};

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct DecodeError {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The bytes end inside it.
    #[error("is cut short: {needed} bytes are needed, {found} are left")]
    Short {
        /// Bytes of the field.
        needed: usize,
        /// Bytes that are left.
        found: usize,
    },
    /// There are bytes behind the last field.
    #[error("is followed by {0} bytes that do not belong to it")]
    Trailing(usize),
    /// Not the encoding of a group element.
    #[error("is not a canonical ristretto255 encoding (RFC 9496)")]
    NotCanonical,
    /// The neutral element, which no field may be.
    #[error("is the identity, which is not allowed anywhere")]
    Identity,
    /// Not below the group's order.
    #[error("is not below the group order")]
    NotReduced,
    /// More than the field may have.
    #[error("has {found}; at most {max} are allowed")]
    TooMany {
        /// As read.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// A rule of the record, in words which follow the field's name.
    #[error("{0}")]
    Rule(String),
}

impl DecodeError {
    /// A rule that the field breaks; `what` goes on after the field's name.
    pub fn rule(field: &'static str, what: impl Into<String>) -> Self {
        Self { field, problem: Problem::Rule(what.into()) }
    }

    fn new(field: &'static str, problem: Problem) -> Self {
        Self { field, problem }
    }
}

/// Reads fields one after the other.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    ///
    /// [`Problem::Short`].
    pub fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(DecodeError::new(field, Problem::Short { needed: count, found: self.rest.len() })),
        }
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    ///
    /// [`Problem::Short`].
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(field, N)?);
        Ok(bytes)
    }

    /// One byte.
    ///
    /// # Errors
    ///
    /// [`Problem::Short`].
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(u8::from_be_bytes)
    }

    /// Two bytes.
    ///
    /// # Errors
    ///
    /// [`Problem::Short`].
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    ///
    /// [`Problem::Short`].
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    ///
    /// [`Problem::Short`].
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// A count in two bytes, which is at most `max`.
    ///
    /// # Errors
    ///
    /// [`Problem::Short`], [`Problem::TooMany`].
    pub fn count16(&mut self, field: &'static str, max: usize) -> Result<usize, DecodeError> {
        let found = usize::from(self.u16(field)?);
        if found > max { Err(DecodeError::new(field, Problem::TooMany { found, max })) } else { Ok(found) }
    }

    /// `u32 length || bytes`, at most `max` of them.
    ///
    /// # Errors
    ///
    /// [`Problem::Short`], [`Problem::TooMany`].
    pub fn lp(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        // Above usize there is no slice either.
        let found = usize::try_from(self.u32(field)?).unwrap_or(usize::MAX);
        if found > max {
            Err(DecodeError::new(field, Problem::TooMany { found, max }))
        } else {
            self.take(field, found)
        }
    }

    /// A group element that is not the identity.
    ///
    /// # Errors
    ///
    /// [`Problem::Short`], [`Problem::NotCanonical`], [`Problem::Identity`].
    pub fn element(&mut self, field: &'static str) -> Result<Element, DecodeError> {
        Element::decode(&self.array(field)?).map_err(|problem| DecodeError::new(field, problem))
    }

    /// A scalar below the group's order.
    ///
    /// # Errors
    ///
    /// [`Problem::Short`], [`Problem::NotReduced`].
    pub fn scalar(&mut self, field: &'static str) -> Result<Scalar, DecodeError> {
        decode_scalar(&self.array(field)?).map_err(|problem| DecodeError::new(field, problem))
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Ends: nothing may be left.
    ///
    /// # Errors
    ///
    /// [`Problem::Trailing`].
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::new("the last field", Problem::Trailing(self.rest.len())))
        }
    }
}

/// Writes fields one after the other.
#[derive(Debug, Clone, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Begins with nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// A count in two bytes. What does not fit becomes 65535, which no reader here accepts.
    pub fn count16(&mut self, count: usize) -> &mut Self {
        self.u16(u16::try_from(count).unwrap_or(u16::MAX))
    }

    /// `u32 length || bytes`.
    pub fn lp(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).bytes(bytes)
    }

    /// A scalar, 32 bytes little-endian.
    pub fn scalar(&mut self, scalar: &Scalar) -> &mut Self {
        self.bytes(scalar.as_bytes())
    }

    /// What was written; the writer is empty then.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}
