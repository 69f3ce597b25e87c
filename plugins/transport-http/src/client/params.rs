//! A call's parameters, by position or by name.

use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::errors::{INVALID_PARAMS, RpcError};

/// Parameters of one method at most.
const PARAMETERS_MAX: usize = 8;

/// Parameters as they came: an array, an object or nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Params<'a>(pub(crate) Option<&'a RawValue>);

/// Parameters in the order of their names.
#[derive(Debug)]
pub(crate) struct Arguments<'a> {
    names: &'static [&'static str],
    values: [Option<&'a RawValue>; PARAMETERS_MAX],
    surplus: Option<String>,
}

impl<'a> Params<'a> {
    /// Assigns the values to `names`; refuses any that is left over.
    ///
    /// # Errors
    ///
    /// [`INVALID_PARAMS`].
    pub(crate) fn read(self, names: &'static [&'static str]) -> Result<Arguments<'a>, RpcError> {
        let arguments = self.read_first(names)?;
        match &arguments.surplus {
            None => Ok(arguments),
            Some(surplus) => {
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let reason = format!("unexpected parameter {surplus}; this method's parameters are: {known}");
                Err(RpcError::new(INVALID_PARAMS, json!({ "reason": reason, "parameter": surplus })))
            }
        }
    }

    /// Assigns the values to `names` and ignores what is left over.
    ///
    /// # Errors
    ///
    /// [`INVALID_PARAMS`].
    pub(crate) fn read_first(self, names: &'static [&'static str]) -> Result<Arguments<'a>, RpcError> {
        let mut arguments = Arguments { names, values: [None; PARAMETERS_MAX], surplus: None };
        let Some(raw) = self.0 else { return Ok(arguments) };
        if raw.get().starts_with('[') {
            let list: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|error| malformed(&error))?;
            for (at, value) in list.into_iter().enumerate() {
                match arguments.values.get_mut(at) {
                    Some(slot) if at < names.len() => *slot = Some(value),
                    _ => arguments.surplus = Some(format!("{}", at + 1)),
                }
            }
        } else {
            let object: Vec<(String, &RawValue)> = entries(raw)?;
            for (name, value) in object {
                let slot = names.iter().position(|known| *known == name).and_then(|at| arguments.values.get_mut(at));
                match slot {
                    Some(slot) if slot.is_some() => {
                        let reason = format!("parameter `{name}` is given twice");
                        return Err(RpcError::new(INVALID_PARAMS, json!({ "reason": reason, "parameter": name })));
                    }
                    Some(slot) => *slot = Some(value),
                    None => arguments.surplus = Some(format!("`{}`", name.chars().take(64).collect::<String>())),
                }
            }
        }
        Ok(arguments)
    }
}

impl<'a> Arguments<'a> {
    /// The value at `at` of the names.
    ///
    /// # Errors
    ///
    /// [`INVALID_PARAMS`] if it is missing or not a `T`.
    pub(crate) fn required<T: Deserialize<'a>>(&self, at: usize) -> Result<T, RpcError> {
        self.optional(at)?.ok_or_else(|| self.wrong(at, "it is missing"))
    }

    /// The value at `at` of the names, if it is there and not null.
    ///
    /// # Errors
    ///
    /// [`INVALID_PARAMS`] if it is not a `T`.
    pub(crate) fn optional<T: Deserialize<'a>>(&self, at: usize) -> Result<Option<T>, RpcError> {
        match self.raw(at) {
            None => Ok(None),
            Some(raw) => serde_json::from_str(raw.get()).map(Some).map_err(|error| {
                // Our own words first; serde's place in the text is of no use here.
                let words = error.to_string();
                self.wrong(at, words.split(" at line ").next().unwrap_or_default())
            }),
        }
    }

    /// The value at `at` as it came, if it is there and not null.
    pub(crate) fn raw(&self, at: usize) -> Option<&'a RawValue> {
        self.values.get(at).copied().flatten().filter(|raw| raw.get() != "null")
    }

    /// An error about the value at `at`.
    pub(crate) fn wrong(&self, at: usize, reason: impl std::fmt::Display) -> RpcError {
        let name = self.names.get(at).copied().unwrap_or_default();
        let reason = format!("parameter {} (`{name}`): {reason}", at + 1);
        RpcError::new(INVALID_PARAMS, json!({ "reason": reason, "parameter": name }))
    }
}

fn malformed(error: &serde_json::Error) -> RpcError {
    RpcError::because(INVALID_PARAMS, error.to_string())
}

/// The entries of an object in order, doubles too.
fn entries(raw: &RawValue) -> Result<Vec<(String, &RawValue)>, RpcError> {
    struct Entries<'a>(Vec<(String, &'a RawValue)>);
    impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Walk;
            impl<'de> serde::de::Visitor<'de> for Walk {
                type Value = Vec<(String, &'de RawValue)>;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an array or an object")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                    let mut list = Vec::new();
                    while let Some(entry) = map.next_entry()? {
                        list.push(entry);
                    }
                    Ok(list)
                }
            }
            deserializer.deserialize_map(Walk).map(Entries)
        }
    }
    serde_json::from_str::<Entries<'_>>(raw.get()).map(|entries| entries.0).map_err(|error| malformed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Option<u64>, Option<String>), RpcError> {
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        let arguments = Params(Some(raw)).read(&["from", "name"])?;
        Ok((arguments.optional(0)?, arguments.optional(1)?))
    }

    #[test]
    fn position_and_name_give_the_same() {
        let expected = Ok((Some(3), Some("x".to_owned())));
        assert_eq!(read("[3, \"x\"]"), expected);
        assert_eq!(read("{\"name\": \"x\", \"from\": 3}"), expected);
        assert_eq!(read("[null]"), Ok((None, None)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("[\"a\"]", "parameter 1 (`from`): invalid type: string \"a\", expected u64"),
            ("[1, \"a\", 5]", "unexpected parameter 3; this method's parameters are: from, name"),
            ("{\"form\": 1}", "unexpected parameter `form`"),
            ("{\"from\": 1, \"from\": 2}", "parameter `from` is given twice"),
            ("[-1]", "parameter 1 (`from`): invalid value"),
            ("[1e400]", "number out of range"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.data["reason"].as_str().unwrap().contains(expected), "{text}: {error:?}");
        }
    }
}
