//! Seeded changes to bytes, of the kinds that break decoders.

/// Bytes of an input at most.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

/// Changes of one input at most.
const CHANGES_MAX: usize = 6;

/// Text which means something to a parser of JSON or TOML.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "[[",
    "]]",
    "\"",
    "'",
    "\"\"\"",
    "\\u0000",
    "\\",
    ",",
    ":",
    "=",
    ".",
    "\n",
    "#",
    "null",
    "true",
    "-1",
    "0x",
    "1e999",
    "18446744073709551616",
    "9223372036854775807",
    "-9223372036854775808",
    "nan",
    "inf",
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999-23:59",
    "\u{feff}",
    "ü",
    "validator",
    "plugin",
    "a.b.c = 1\n",
    "[[[[[[[[[[[[[[[[",
    "{a={a={a={a={a={a=",
    "\0",
];

/// Numbers at which lengths, counts and times go wrong.
const NUMBERS: &[u64] = &[
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x1_0000,
    0xff_ffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

/// A stream of numbers that a seed determines (SplitMix64; Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `below`; 0 when that is 0.
    pub fn below(&mut self, below: usize) -> usize {
        let below = u64::try_from(below).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.number() % below).unwrap_or(0)
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}

/// A changed copy of one of `seeds`, or bytes out of nothing.
pub fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = match (random.below(50), random.pick(seeds)) {
        (1.., Some(seed)) => seed.clone(),
        _ => (0..random.below(300)).map(|_| random.number().to_le_bytes()[0]).collect(),
    };
    // One in some is left as it is: what is good must be taken.
    for _ in 0..random.below(CHANGES_MAX + 1) {
        change(random, &mut bytes, seeds);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = random.below(bytes.len() + 1);
    match random.below(10) {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.number().to_le_bytes()[0];
            }
        }
        3 => overwrite(bytes, at, &number(random)),
        4 => insert(bytes, at, &number(random)),
        5 => {
            let word = random.pick(WORDS).copied().unwrap_or_default();
            insert(bytes, at, word.as_bytes());
        }
        6 => bytes.truncate(at),
        7 => {
            let end = at + random.below(bytes.len() - at + 1).min(64);
            bytes.drain(at..end);
        }
        8 => {
            let part = slice(random, bytes);
            insert(bytes, at, &part);
        }
        _ => {
            let other = random.pick(seeds).cloned().unwrap_or_default();
            let part = slice(random, &other);
            overwrite(bytes, at, &part);
        }
    }
}

/// A number at an edge, or near one, in 1, 2, 4 or 8 bytes of either order.
fn number(random: &mut Random) -> Vec<u8> {
    let edge = random.pick(NUMBERS).copied().unwrap_or_default();
    let near = edge.wrapping_add(random.number() % 5).wrapping_sub(2);
    let mut bytes = near.to_le_bytes().to_vec();
    bytes.truncate(1 << random.below(4));
    if random.below(4) == 0 {
        bytes.reverse();
    }
    bytes
}

fn slice(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let start = random.below(bytes.len() + 1);
    let len = random.below(bytes.len() - start + 1);
    bytes.iter().skip(start).take(len).copied().collect()
}

fn overwrite(bytes: &mut [u8], at: usize, part: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(part) {
        *to = *from;
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    bytes.splice(at..at, part.iter().copied());
}
