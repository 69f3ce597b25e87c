//! The OpenRPC document that `rpc.discover` serves (<https://spec.open-rpc.org>).

use std::sync::LazyLock;

use serde_json::Value;

use super::ethereum;

const NATIVE: &str = include_str!("openrpc.json");

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut document: Value = serde_json::from_str(NATIVE).unwrap_or_default();
    let more: Value = serde_json::from_str(ethereum::OPENRPC_METHODS).unwrap_or_default();
    if let (Some(methods), Value::Array(more)) = (document.get_mut("methods").and_then(Value::as_array_mut), more) {
        methods.extend(more);
    }
    if let Some(about) = document.get_mut("info").and_then(Value::as_object_mut) {
        about.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    }
    document.to_string()
});

/// The document, as JSON.
pub(crate) fn document() -> &'static str {
    &DOCUMENT
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::client::{errors::ERROR_CODES, methods::Method, native};

    fn documented() -> BTreeMap<String, Vec<String>> {
        let document: Value = serde_json::from_str(document()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        document["methods"]
            .as_array()
            .unwrap()
            .iter()
            .map(|method| {
                let params = method["params"].as_array().unwrap();
                (text(&method["name"]), params.iter().map(|param| text(&param["name"])).collect())
            })
            .collect()
    }

    #[test]
    fn every_method_is_documented_and_every_documented_one_exists() {
        let expected: BTreeMap<String, Vec<String>> = Method::names()
            .map(|name| {
                let parameters = match Method::from_name(name).unwrap() {
                    Method::Native(method) => method.parameters(),
                    Method::Ethereum(method) => method.parameters(),
                };
                (name.to_owned(), parameters.iter().map(|&name| name.to_owned()).collect())
            })
            .collect();
        assert_eq!(documented(), expected);
        assert_eq!(Method::COUNT, expected.len());
        assert!(native::Method::NAMES.contains(&"rpc.discover"));
    }

    #[test]
    fn every_method_has_a_summary_a_result_and_typed_parameters() {
        let document: Value = serde_json::from_str(document()).unwrap();
        for method in document["methods"].as_array().unwrap() {
            let name = &method["name"];
            assert!(method["summary"].is_string(), "{name}");
            assert!(method["result"]["schema"].is_object(), "{name}");
            for param in method["params"].as_array().unwrap() {
                assert!(param["schema"].is_object() && param["required"].is_boolean(), "{name} {param}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document: Value = serde_json::from_str(document()).unwrap();
        fn walk(value: &Value, root: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(reference)) = map.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(root.pointer(pointer).is_some(), "{reference}");
                    }
                    map.values().for_each(|value| walk(value, root));
                }
                Value::Array(list) => list.iter().for_each(|value| walk(value, root)),
                _ => {}
            }
        }
        walk(&document, &document);
    }

    #[test]
    fn every_error_is_listed() {
        let document: Value = serde_json::from_str(document()).unwrap();
        let listed: Vec<i64> = document["components"]["errors"]
            .as_object()
            .unwrap()
            .values()
            .map(|error| error["code"].as_i64().unwrap())
            .collect();
        for one in ERROR_CODES {
            assert!(listed.contains(&i64::from(one.code)), "{one:?}");
        }
        assert_eq!(listed.len(), ERROR_CODES.len());
    }
}
