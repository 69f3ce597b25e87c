//! Bytes and quantities in `0x` hexadecimal, as JSON texts.

use std::{fmt, sync::LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes, two digits each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HexBytes<'a>(pub(crate) &'a [u8]);

impl fmt::Display for HexBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Bytes turned into text at a time.
        const CHUNK: usize = 256;
        let mut text = [0u8; CHUNK * 2];
        f.write_str("0x")?;
        for chunk in self.0.chunks(CHUNK) {
            let Some(digits) = text.get_mut(..chunk.len() * 2) else { return Err(fmt::Error) };
            hex::encode_to_slice(chunk, digits).map_err(|_| fmt::Error)?;
            f.write_str(std::str::from_utf8(digits).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

impl Serialize for HexBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number without leading zeros: `0x0`, `0x1f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quantity(pub(crate) u64);

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// Reads a quantity: `0x` and 1 to 16 digits.
pub(crate) fn parse_quantity(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

/// Bytes read from `0x` hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decoded(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Decoded;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes as `0x` and hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Decoded, E> {
                let digits = text
                    .strip_prefix("0x")
                    .ok_or_else(|| E::custom("expected bytes as `0x` and hexadecimal digits; `0x` is missing"))?;
                decode(digits)
                    .map(Decoded)
                    .map_err(|error| E::custom(format_args!("expected hexadecimal digits after `0x`: {error}")))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// What every byte is as a digit; [`NO_DIGIT`] if it is none.
static DIGITS: LazyLock<[u8; 256]> = LazyLock::new(|| {
    let value = |digit: usize| u8::try_from(digit).ok().and_then(|digit| char::from(digit).to_digit(16));
    std::array::from_fn(|digit| value(digit).and_then(|value| u8::try_from(value).ok()).unwrap_or(NO_DIGIT))
});

const NO_DIGIT: u8 = 0xff;

/// As [`hex::decode`], which tells what is wrong and looks at each digit for it.
fn decode(digits: &str) -> Result<Vec<u8>, hex::FromHexError> {
    let (pairs, rest) = digits.as_bytes().as_chunks();
    let known: &[u8; 256] = &DIGITS;
    let value = |digit: u8| known.get(usize::from(digit)).copied().unwrap_or(NO_DIGIT);
    let mut wrong = 0;
    let mut bytes = Vec::with_capacity(pairs.len());
    bytes.extend(pairs.iter().map(|[high, low]| {
        let (high, low) = (value(*high), value(*low));
        wrong |= high | low;
        (high << 4) | (low & 0xf)
    }));
    if wrong > 0xf || !rest.is_empty() { hex::decode(digits) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_no_leading_zeros() {
        let texts = [0, 1, 16, u64::MAX].map(|number| serde_json::to_string(&Quantity(number)).unwrap());
        assert_eq!(texts, ["\"0x0\"", "\"0x1\"", "\"0x10\"", "\"0xffffffffffffffff\""]);
    }

    #[test]
    fn only_quantities_that_fit_are_read() {
        assert_eq!(parse_quantity("0x1f"), Some(31));
        for wrong in ["", "0x", "1f", "0x+1", "0x-1", "0x10000000000000000", "0xzz"] {
            assert_eq!(parse_quantity(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn long_bytes_are_written_whole() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        assert_eq!(HexBytes(&bytes).to_string(), format!("0x{}", hex::encode(&bytes)));
    }

    #[test]
    fn digits_are_read_as_everybody_reads_them_and_nothing_else_is() {
        let text = hex::encode((0..=255).collect::<Vec<u8>>());
        assert_eq!(decode(&text), hex::decode(&text));
        assert_eq!(decode(&text.to_uppercase()), hex::decode(&text));
        for byte in 0..=127u8 {
            for text in [
                format!("0{}", char::from(byte)),
                format!("{}0", char::from(byte)),
                format!("a{}", char::from(byte)) + "c",
            ] {
                assert_eq!(decode(&text), hex::decode(&text), "{text}");
            }
        }
        for text in ["", "0", "é", "00é0"] {
            assert_eq!(decode(text), hex::decode(text), "{text}");
        }
    }
}
