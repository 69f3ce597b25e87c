//! The JSON schema of a plugin's settings, from an example of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The schema of settings which `example` (TOML) shows: every key with its type, described by the comment above it.
///
/// An example does not say which keys may be left out, which there are besides (it may have some in comments), or which values a key
/// may have: a plugin which wants to say so writes its schema itself ([`crate::plugin::Descriptor::with_schema`]).
pub fn of_example(example: &str) -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": properties(example),
    })
}

/// Properties of a plugin from its example: each key's type and default, described by the comment above it.
fn properties(example: &str) -> Map<String, Value> {
    let Ok(table) = example.parse::<toml::Table>() else { return Map::new() };
    let mut comment = String::new();
    let mut comments: BTreeMap<&str, String> = BTreeMap::new();
    for line in example.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix('#') {
            comment = format!("{comment} {}", text.trim()).trim().to_owned();
        } else {
            if let Some((key, _)) = line.split_once('=') {
                comments.insert(key.trim(), comment.clone());
            }
            comment.clear();
        }
    }
    table
        .iter()
        .map(|(key, value)| {
            let kind = match value {
                toml::Value::String(_) | toml::Value::Datetime(_) => "string",
                toml::Value::Integer(_) => "integer",
                toml::Value::Float(_) => "number",
                toml::Value::Boolean(_) => "boolean",
                toml::Value::Array(_) => "array",
                toml::Value::Table(_) => "object",
            };
            let description = comments.get(key.as_str()).cloned().unwrap_or_default();
            (key.clone(), json!({"type": kind, "description": description}))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_examples_comments_become_descriptions() {
        let properties = properties("# Where clients ask.\n# And more.\nlisten = \"a\"\n\nmax = 3\n");
        assert_eq!(properties["listen"], json!({"type": "string", "description": "Where clients ask. And more."}));
        assert_eq!(properties["max"], json!({"type": "integer", "description": ""}));
    }

    #[test]
    fn what_is_no_toml_has_no_properties() {
        assert_eq!(of_example("not TOML")["properties"], json!({}));
        assert_eq!(of_example("max = 3\n")["properties"]["max"]["type"], "integer");
    }
}
