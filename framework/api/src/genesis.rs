//! Genesis: what all nodes of a network agree on before the first block.

use serde::Deserialize;

use crate::{
    diagnostics::Diagnostic,
    primitives::{ChainId, Hash, Timestamp},
    settings::{Settings, parse_file},
    validators::{Validator, ValidatorSet},
};

/// Bytes of a genesis file at most.
pub const GENESIS_BYTES_MAX: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    chain_name: toml::Spanned<String>,
    genesis_time: toml::Spanned<toml::value::Datetime>,
    consensus: Table,
    application: Table,
    validator: toml::Spanned<Vec<Validator>>,
}

#[derive(Deserialize)]
struct Table {
    plugin: String,
    #[serde(flatten)]
    rest: toml::Table,
}

/// A parsed genesis.
#[derive(Debug, Clone)]
pub struct Genesis {
    chain_name: String,
    time: Timestamp,
    consensus_plugin: String,
    application_plugin: String,
    validators: ValidatorSet,
    chain_id: ChainId,
    file: String,
    text: String,
}

impl Genesis {
    /// Reads a genesis file's text; `file` names it in errors. Plugins check their own tables.
    ///
    /// # Errors
    ///
    /// Every error, with its place.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        if text.len() > GENESIS_BYTES_MAX {
            let message = format!("genesis has {} bytes; the limit is {GENESIS_BYTES_MAX}", text.len());
            return Err(vec![Diagnostic::of_file(file, message)]);
        }
        let parsed: File = parse_file(file, text)?;
        let mut errors = Vec::new();
        if parsed.chain_name.get_ref().is_empty() || parsed.chain_name.get_ref().len() > 64 {
            errors.push(Diagnostic::at(file, text, parsed.chain_name.span(), "chain_name must have 1 to 64 bytes"));
        }
        let time = timestamp(parsed.genesis_time.get_ref());
        if time.is_none() {
            errors.push(
                Diagnostic::at(file, text, parsed.genesis_time.span(), "genesis_time must be a UTC time from 1970 on")
                    .with_help("write it like 2026-01-01T00:00:00Z"),
            );
        }
        let span = parsed.validator.span();
        let validators = ValidatorSet::new(parsed.validator.into_inner())
            .map_err(|error| errors.push(Diagnostic::at(file, text, span, error.to_string())))
            .ok();
        let mut canonical = b"quorate/genesis/1\0".to_vec();
        put_text(&mut canonical, parsed.chain_name.get_ref());
        canonical.extend_from_slice(&time.unwrap_or_default().0.to_le_bytes());
        for (name, table) in [("consensus", &parsed.consensus), ("application", &parsed.application)] {
            put_text(&mut canonical, &table.plugin);
            if let Err(key) = put_value(&mut canonical, &toml::Value::Table(table.rest.clone())) {
                let settings = Settings::new(file, text, &[name], &[]);
                errors.push(
                    settings
                        .error(&key, format!("[{name}] `{key}` is a float, which two machines may read differently"))
                        .with_help("use an integer in a smaller unit"),
                );
            }
        }
        let (Some(time), Some(validators)) = (time, validators) else { return Err(errors) };
        if !errors.is_empty() {
            return Err(errors);
        }
        canonical.extend_from_slice(validators.hash().as_bytes());
        Ok(Self {
            chain_name: parsed.chain_name.into_inner(),
            time,
            consensus_plugin: parsed.consensus.plugin,
            application_plugin: parsed.application.plugin,
            validators,
            chain_id: ChainId::new(*Hash::of(&[&canonical]).as_bytes()),
            file: file.into(),
            text: text.into(),
        })
    }

    /// The network's name.
    pub fn chain_name(&self) -> &str {
        &self.chain_name
    }

    /// When it began; block 1 is later.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The consensus that decides.
    pub fn consensus_plugin(&self) -> &str {
        &self.consensus_plugin
    }

    /// The application.
    pub fn application_plugin(&self) -> &str {
        &self.application_plugin
    }

    /// The validators of height 1 in turn order.
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// Hash of the canonical bytes: a comment or the order of keys does not change it, any value does.
    ///
    /// The bytes: `"quorate/genesis/1\0"`, the name, the time (u64le, ms), then of `[consensus]` and `[application]` the plugin
    /// and the rest, then the validators' hash. A text is its length (u32le) and its bytes. A value is a tag byte (0 text, 1
    /// integer as i64le, 2 boolean, 3 array, 4 table, 5 time as text); arrays and tables begin with their count (u32le), tables are in order
    /// of their keys. There are no floats.
    pub fn chain_id(&self) -> ChainId {
        self.chain_id
    }

    /// `[consensus]` without `plugin`.
    pub fn consensus_settings(&self) -> Settings {
        Settings::new(&self.file, &self.text, &["consensus"], &["plugin"])
    }

    /// `[application]` without `plugin`.
    pub fn application_settings(&self) -> Settings {
        Settings::new(&self.file, &self.text, &["application"], &["plugin"])
    }

    /// The text as given.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// Appends a value; fails with the key that holds a float.
fn put_value(out: &mut Vec<u8>, value: &toml::Value) -> Result<(), String> {
    match value {
        toml::Value::String(text) => {
            out.push(0);
            put_text(out, text);
        }
        toml::Value::Integer(number) => {
            out.push(1);
            out.extend_from_slice(&number.to_le_bytes());
        }
        toml::Value::Boolean(flag) => out.extend_from_slice(&[2, u8::from(*flag)]),
        toml::Value::Array(items) => {
            out.push(3);
            put_count(out, items.len());
            for item in items {
                put_value(out, item)?;
            }
        }
        toml::Value::Table(table) => {
            out.push(4);
            put_count(out, table.len());
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_bytes());
            for (key, value) in entries {
                put_text(out, key);
                put_value(out, value).map_err(|inner| if inner.is_empty() { key.clone() } else { inner })?;
            }
        }
        toml::Value::Datetime(time) => {
            out.push(5);
            put_text(out, &time.to_string());
        }
        toml::Value::Float(_) => return Err(String::new()),
    }
    Ok(())
}

/// Milliseconds since 1970 of a UTC date and time (days by the civil calendar, no leap seconds).
fn timestamp(time: &toml::value::Datetime) -> Option<Timestamp> {
    let date = time.date?;
    let clock = time.time?;
    let offset_minutes = match time.offset? {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let (year, month, day) = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
    // Days from civil: Howard Hinnant, "chrono-compatible low-level date algorithms".
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    let seconds = days * 86_400
        + i64::from(clock.hour) * 3600
        + i64::from(clock.minute) * 60
        + i64::from(clock.second.unwrap_or(0))
        - offset_minutes * 60;
    let ms = seconds * 1000 + i64::from(clock.nanosecond.unwrap_or(0) / 1_000_000);
    u64::try_from(ms).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
chain_name = "test"
genesis_time = 2026-01-01T00:00:00Z
[consensus]
plugin = "poa"
block_interval_ms = 5000
fault_model = "crash"
[application]
plugin = "kv"
[[validator]]
name = "a"
public_key = "0x0101010101010101010101010101010101010101010101010101010101010101"
"#;

    #[test]
    fn chain_id_ignores_comments_and_order_but_no_value() {
        let id = |text: &str| Genesis::parse("g", text).unwrap().chain_id();
        let base = id(GOOD);
        let swapped = GOOD.replace(
            "block_interval_ms = 5000\nfault_model = \"crash\"",
            "fault_model = \"crash\" # c\nblock_interval_ms = 5000",
        );
        assert_eq!(id(&swapped), base);
        assert_ne!(id(&GOOD.replace("5000", "5001")), base);
        assert_ne!(id(&GOOD.replace("\"a\"", "\"b\"")), base);
        assert_ne!(id(&GOOD.replace("2026", "2027")), base);
        assert_eq!(base.to_string(), "0x146ee0b2d5b06b37544a88ace8cef9dc190d1ac68b36c1dadda2e990bda2f673");
    }

    #[test]
    fn time_is_read() {
        assert_eq!(Genesis::parse("g", GOOD).unwrap().time(), Timestamp(1_767_225_600_000));
    }

    #[test]
    fn floats_are_refused() {
        let errors = Genesis::parse("g", &GOOD.replace("5000", "5.0")).unwrap_err();
        assert!(errors[0].message.contains("float"), "{errors:?}");
    }
}
