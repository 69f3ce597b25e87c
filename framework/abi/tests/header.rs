//! The C header is what the Rust declarations say, and the ABI does not change by accident.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::path::Path;

use quorate::Hash;

/// SHA-256 of the header. Whoever changes it changes the ABI: raise the minor version for what is added at the end of a structure, the major
/// version for anything else, then put the new hash here.
const PINNED: &str = "0xc396e36000ee6c7a01fecc2576d1233dbc535700a00cd3b9e3dc1a444316cf89";

const ABOUT: &str = "/* What crosses the boundary between a Quorate node and a plugin in a shared library.
 *
 * Made from framework/abi/src/raw, do not edit: QUORATE_BLESS=1 cargo test -p quorate-abi --test header
 * The encodings of heads are in framework/abi/ABI.md. */";

fn generated() -> String {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        header: Some(ABOUT.into()),
        include_guard: Some("QUORATE_PLUGIN_H".into()),
        no_includes: true,
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        after_includes: Some(
            "\n// The first bytes of `QuorateLibrary`, with the terminating zero.\n#define QUORATE_MAGIC \"quorate\""
                .into(),
        ),
        documentation: true,
        documentation_style: cbindgen::DocumentationStyle::C99,
        cpp_compat: true,
        style: cbindgen::Style::Type,
        usize_is_size_t: true,
        line_length: 110,
        trailer: Some(
            "/* The one symbol which a plugin library exports. */\nextern const QuorateLibrary QUORATE_PLUGIN;".into(),
        ),
        ..cbindgen::Config::default()
    };
    config.export.include =
        ["QuorateLibrary", "QuorateConsensus", "QuorateStorage", "QuorateApplication", "QuorateActor"]
            .map(str::to_owned)
            .to_vec();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/raw");
    let mut text = Vec::new();
    let builder = cbindgen::Builder::new().with_config(config);
    builder.with_src(source.join("mod.rs")).with_src(source.join("actor.rs")).generate().unwrap().write(&mut text);
    // Links between items are for Rust's documentation.
    String::from_utf8(text).unwrap().replace("[`super::", "`").replace("[`", "`").replace("`]", "`")
}

#[test]
fn the_header_is_what_the_declarations_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/quorate_plugin.h");
    let generated = generated();
    if std::env::var_os("QUORATE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &generated).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == generated, "the header differs: QUORATE_BLESS=1 cargo test -p quorate-abi --test header");
    assert_eq!(Hash::of(&[generated.as_bytes()]).to_string(), PINNED, "the ABI changed: read the comment at PINNED");
}
