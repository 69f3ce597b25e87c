//! What can be told of an ELF file before the system's loader maps it: a truncated one would end the process there.

use super::error::LoadErrorKind;

/// Length of the header of a 64-bit file.
const HEADER_BYTES: usize = 64;

/// Length of an entry of its table of segments.
const SEGMENT_BYTES: u64 = 56;

/// A shared object, in `e_type`.
const SHARED_OBJECT: u16 = 3;

/// A segment that is mapped, in `p_type`.
const LOADED: u32 = 1;

/// Names of machines by `e_machine`, as Rust has them.
const MACHINES: [(u16, &str); 10] = [
    (3, "x86"),
    (8, "mips"),
    (20, "powerpc"),
    (21, "powerpc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
    (258, "loongarch64"),
];

/// Whether the bytes are a whole shared library of this machine.
pub(super) fn check(bytes: &[u8]) -> Result<(), LoadErrorKind> {
    if bytes.get(..4) != Some(b"\x7fELF") {
        return Err(LoadErrorKind::NotALibrary);
    }
    let truncated = |promised: u64| LoadErrorKind::Truncated { found: bytes.len() as u64, promised };
    let header = bytes.get(..HEADER_BYTES).ok_or_else(|| truncated(HEADER_BYTES as u64))?;
    let file = Elf { bytes, big: header.get(5) == Some(&2) };
    let machine = file.number(18, 2).and_then(|number| u16::try_from(number).ok()).unwrap_or(0);
    let found = MACHINES.iter().find(|(number, _)| *number == machine).map(|(_, name)| *name);
    let wide = header.get(4) == Some(&2);
    if found != Some(std::env::consts::ARCH) || wide != cfg!(target_pointer_width = "64") {
        let bits = if wide { "64-bit" } else { "32-bit" };
        let found = found.map_or_else(|| format!("machine {machine} ({bits})"), str::to_owned);
        return Err(LoadErrorKind::Machine { found, expected: std::env::consts::ARCH });
    }
    if file.number(16, 2) != Some(u64::from(SHARED_OBJECT)) {
        return Err(LoadErrorKind::NotALibrary);
    }
    if !wide {
        return Ok(());
    }
    match file.promised() {
        Some(promised) if promised > bytes.len() as u64 => Err(truncated(promised)),
        Some(_) => Ok(()),
        None => Err(LoadErrorKind::NotALibrary),
    }
}

struct Elf<'a> {
    bytes: &'a [u8],
    big: bool,
}

impl Elf<'_> {
    /// The number of `len` bytes at `at`.
    fn number(&self, at: u64, len: usize) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let field = self.bytes.get(at..at.checked_add(len)?)?;
        let fold = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.big { field.iter().fold(0, fold) } else { field.iter().rev().fold(0, fold) })
    }

    /// The least size by the headers: the end of every table and of every segment that is mapped.
    fn promised(&self) -> Option<u64> {
        let (segments, sections) = (self.number(32, 8)?, self.number(40, 8)?);
        let (segment_len, segments_len) = (self.number(54, 2)?, self.number(56, 2)?);
        let (section_len, sections_len) = (self.number(58, 2)?, self.number(60, 2)?);
        if segment_len != SEGMENT_BYTES || segments_len == 0 {
            return None;
        }
        let mut least = segments.checked_add(segment_len * segments_len)?;
        if sections != 0 {
            least = least.max(sections.checked_add(section_len * sections_len)?);
        }
        for index in 0..segments_len {
            let at = segments.checked_add(index * segment_len)?;
            // The table itself may be cut off; what it promises is then enough to tell.
            if self.number(at, 4) == Some(u64::from(LOADED)) {
                let end = self.number(at.checked_add(8)?, 8)?.checked_add(self.number(at.checked_add(32)?, 8)?)?;
                least = least.max(end);
            }
        }
        Some(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn this_program_is_whole_and_every_part_of_it_is_not() {
        let whole = own();
        assert!(check(&whole).is_ok());
        for len in [64, 100, 4096, whole.len() / 2, whole.len() - 1] {
            let error = check(&whole[..len]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("is truncated: {len} bytes on disk")), "{error}");
        }
    }

    #[test]
    fn no_changed_byte_of_the_header_panics() {
        let mut bytes = own();
        bytes.truncate(4096);
        for at in 0..128 {
            for value in [0, 1, 0x7f, 0xff] {
                let kept = std::mem::replace(&mut bytes[at], value);
                drop(check(&bytes));
                bytes[at] = kept;
            }
        }
    }

    #[test]
    fn another_machine_is_named() {
        let mut bytes = own();
        bytes[18..20].copy_from_slice(&22u16.to_le_bytes());
        let error = check(&bytes).unwrap_err().to_string();
        assert_eq!(error, format!("was built for s390x, this node runs on {}", std::env::consts::ARCH));
        assert_eq!(check(b"hello").unwrap_err().to_string(), "is not a shared library");
        assert_eq!(check(b"").unwrap_err().to_string(), "is not a shared library");
    }
}
