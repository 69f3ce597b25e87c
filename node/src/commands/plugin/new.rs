//! `quorate plugin new`: writes a crate with the smallest plugin of a slot, which builds, keeps its contract and runs at once.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use quorate_abi::Slot;

use super::test::slot;
use crate::{bundled, exit::Failure, output};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate plugin new consensus my-rule
  quorate plugin new storage my-store --dir crates/my-store --quorate ../quorate

Writes a crate with the smallest plugin of its kind, its conformance suite, a library of it, and a README.md with the commands \
that build, test and run it.";

/// The folder of the program's own crate, when it was built.
const BUILT_FROM: &str = env!("CARGO_MANIFEST_DIR");

/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 40;

/// Names that a crate can't have: words of the language, and crates which it uses.
const TAKEN: [&str; 66] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "async-trait",
    "await",
    "become",
    "borsh",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "debug",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "quorate",
    "ref",
    "release",
    "return",
    "self",
    "serde",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "tokio",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "where",
    "while",
    "yield",
];

/// Options of `plugin new`.
#[derive(Debug, Clone, Args)]
pub struct NewArgs {
    /// Which slot it is for: consensus, storage, application, transport, discovery, service
    #[arg(value_name = "KIND", value_parser = slot)]
    pub kind: Slot,
    /// Its name, in TOML and as a crate: lower-case letters, digits and hyphens
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The folder to write, which must not exist [default: NAME]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Quorate's source: a folder, or the URL of a git repository [default: the folder from which this program was built]
    #[arg(long, value_name = "SOURCE")]
    pub quorate: Option<String>,
}

/// What a kind of plugin is written from.
struct Template {
    source: &'static str,
    conformance: &'static str,
    readme: &'static str,
    /// Crates besides the framework's.
    dependencies: &'static [&'static str],
    /// Files of this kind alone.
    more: &'static [(&'static str, &'static str)],
}

/// A kind's files.
macro_rules! template {
    ($kind:literal, $dependencies:expr $(, $more:expr)*) => {
        Template {
            source: include_str!(concat!("../../../templates/", $kind, "/lib.rs")),
            conformance: include_str!(concat!("../../../templates/", $kind, "/conformance.rs")),
            readme: include_str!(concat!("../../../templates/", $kind, "/readme.txt")),
            dependencies: &$dependencies,
            more: &[$($more),*],
        }
    };
}

const MANIFEST: &str = include_str!("../../../templates/common/Cargo.toml");
const LIBRARY_MANIFEST: &str = include_str!("../../../templates/common/dylib.toml");
const LIBRARY: &str = include_str!("../../../templates/common/dylib.rs");
const RUSTFMT: &str = include_str!("../../../templates/common/rustfmt.toml");
const TRANSACTIONS: &str = include_str!("../../../templates/application/transactions.txt");

/// A line of a manifest for a crate of others.
fn outside(crate_name: &str) -> String {
    let rest = match crate_name {
        "getrandom" => "{ version = \"0.4\", features = [\"sys_rng\"] }",
        "tokio" => {
            "{ version = \"1\", default-features = false, features = [\"io-util\", \"macros\", \"net\", \"rt\", \"sync\", \"time\"] }"
        }
        _ => "{ version = \"1\", features = [\"derive\"] }",
    };
    format!("{crate_name} = {rest}\n")
}

fn template(kind: Slot) -> Template {
    match kind {
        Slot::Consensus => template!("consensus", ["borsh", "serde"]),
        Slot::Storage => template!("storage", ["borsh", "serde"]),
        Slot::Application => template!("application", ["serde"], ("transactions.txt", TRANSACTIONS)),
        Slot::Transport => template!("transport", ["getrandom", "serde", "tokio"]),
        Slot::Discovery => template!("discovery", ["serde", "tokio"]),
        Slot::Service => template!("service", ["serde", "tokio"]),
    }
}

/// Where the framework's crates come from.
enum Source {
    /// A checkout.
    Folder(PathBuf),
    /// A repository.
    Git(String),
}

impl Source {
    fn find(given: Option<&str>) -> Result<Self, Failure> {
        let checkout = |path: &Path| path.join("framework/api/Cargo.toml").exists();
        let Some(given) = given else {
            return match Path::new(BUILT_FROM).parent().filter(|path| checkout(path)) {
                Some(path) => Ok(Self::Folder(path.to_owned())),
                None => Err(Failure::usage(
                    "the folder from which this program was built is gone: say with --quorate where Quorate's source is, a folder or \
                     the URL of a git repository",
                )),
            };
        };
        let path = Path::new(given);
        if path.is_dir() {
            if !checkout(path) {
                let message =
                    format!("--quorate {given}: holds no source of Quorate (there is no framework/api/Cargo.toml)");
                return Err(Failure::usage(message));
            }
            return Ok(Self::Folder(path.canonicalize().map_err(|error| Failure::disk(given, &error))?));
        }
        if given.contains("://") || given.starts_with("git@") {
            return Ok(Self::Git(given.to_owned()));
        }
        Err(Failure::usage(format!("--quorate {given}: no such folder, and no URL of a git repository")))
    }

    /// A line of a manifest for one of the framework's crates.
    fn dependency(&self, crate_name: &str, folder: &str, rest: &str) -> String {
        let place = match self {
            Self::Folder(path) => format!("path = {}", quoted(&path.join(folder).display().to_string())),
            Self::Git(url) => format!("git = {}", quoted(url)),
        };
        format!("{crate_name} = {{ {place}{rest} }}\n")
    }

    fn shown(&self) -> String {
        match self {
            Self::Folder(path) => path.display().to_string(),
            Self::Git(url) => url.clone(),
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Runs the command.
///
/// # Errors
///
/// A usage error for a bad name; [`Exit::Failed`](crate::exit::Exit::Failed) when the folder exists.
pub fn run(args: &NewArgs) -> Result<(), Failure> {
    let NewArgs { kind, name, .. } = args;
    check_name(*kind, name)?;
    let source = Source::find(args.quorate.as_deref())?;
    let files = files(*kind, name, &source);
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(name));
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|error| Failure::disk(parent.display(), &error))?;
    }
    fs::create_dir(&folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::failed(format!("{}: exists already; choose another --dir", folder.display()))
        }
        _ => Failure::disk(folder.display(), &error),
    })?;
    for (path, text) in &files {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(&folder);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| Failure::disk(path.display(), &error))?;
    }
    output::line(&format!(
        "The {kind} plugin `{name}` is written to {folder}\nTest it:  cd {folder} && cargo test\nBuild it: cargo build --workspace\nMore:     {folder}/README.md",
        folder = folder.display()
    ))
}

/// Refuses what is no name of a plugin and of a crate.
fn check_name(kind: Slot, name: &str) -> Result<(), Failure> {
    let refused = |why: &str| Err(Failure::usage(format!("the name `{name}` {why}")));
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(good) {
        return refused(
            "is not one of lower-case letters, digits and hyphens which begins with a letter, such as my-rule",
        );
    }
    if name.ends_with('-') || name.contains("--") {
        return refused("has a hyphen at its end, or two in a row");
    }
    if name.len() > NAME_BYTES_MAX {
        return refused(&format!("has {} letters; the limit is {NAME_BYTES_MAX}", name.len()));
    }
    if TAKEN.contains(&name) || name.starts_with("quorate-") {
        return refused("is taken: by Rust, or by a crate which the new one uses");
    }
    let known = bundled::registry().list();
    if known.iter().any(|(slot, plugin)| *slot == kind.as_str() && plugin.name == name) {
        return refused(&format!("is that of a {kind} plugin which this program has"));
    }
    Ok(())
}

/// `my-rule` as a type: `MyRule`.
fn type_name(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    name.split('-').map(word).collect()
}

/// The crate's files.
fn files(kind: Slot, name: &str, source: &Source) -> Vec<(&'static str, String)> {
    let template = template(kind);
    let library_name = name.replace('-', "_");
    let named = |text: &str| {
        text.replace("MyPlugin", &type_name(name))
            .replace("my-plugin", name)
            .replace("my_plugin", &library_name)
            .replace("QUORATE_SOURCE", &source.shown())
    };
    let mut dependencies = source.dependency("quorate", "framework/api", "");
    template.dependencies.iter().for_each(|name| dependencies.push_str(&outside(name)));
    let testkit = source.dependency("quorate-testkit", "testkit", "");
    let manifest = MANIFEST
        .replace("A kind plugin", &format!("The {kind} plugin {name}"))
        .replace("DEPENDENCIES_DEV\n", &testkit)
        .replace("DEPENDENCIES\n", &dependencies);
    // A plugin does not load libraries.
    let abi = source.dependency("quorate-abi", "framework/abi", ", default-features = false");
    let mut files = vec![
        ("Cargo.toml", named(&manifest)),
        (".gitignore", "/target\n/devnet\n".to_owned()),
        ("rustfmt.toml", RUSTFMT.to_owned()),
        ("README.md", named(template.readme)),
        ("src/lib.rs", named(template.source)),
        ("tests/conformance.rs", named(template.conformance)),
        ("dylib/Cargo.toml", named(LIBRARY_MANIFEST).replace("QUORATE_ABI\n", &abi)),
        ("dylib/src/lib.rs", named(&LIBRARY.replace("kind:", &format!("{kind}:")))),
    ];
    files.extend(template.more.iter().map(|(name, text)| (*name, (*text).to_owned())));
    if let Source::Folder(path) = source {
        // The versions with which the framework itself was tested.
        let lock = path.join("Cargo.lock");
        if let Ok(lock) = fs::read_to_string(lock) {
            files.push(("Cargo.lock", lock));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn only_names_of_plugins_and_crates_are_taken() {
        for (name, expected) in [
            ("MyRule", "is not one of lower-case letters"),
            ("my_rule", "is not one of lower-case letters"),
            ("1st", "begins with a letter"),
            ("../x", "is not one of lower-case letters"),
            ("", "is not one of lower-case letters"),
            ("my-", "has a hyphen at its end"),
            ("my--rule", "two in a row"),
            ("fn", "is taken"),
            ("serde", "is taken"),
            ("quorate-mine", "is taken"),
            ("poa", "which this program has"),
        ] {
            let failure = check_name(Slot::Consensus, name).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(expected), "{failure}");
        }
        check_name(Slot::Consensus, &"a".repeat(NAME_BYTES_MAX + 1)).unwrap_err();
        check_name(Slot::Consensus, "my-rule-2").unwrap();
        // Another slot's name does not matter.
        check_name(Slot::Storage, "poa").unwrap();
        assert_eq!(type_name("my-rule-2"), "MyRule2");
    }
}
