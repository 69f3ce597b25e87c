//! A node's file: strict, every error at once, each where it stands.
#![expect(clippy::unwrap_used, clippy::panic, reason = "only tests use the fixtures")]

use std::{path::Path, sync::Arc};

use quorate::{
    Application, ChainId, Consensus, Discovery, FinalityProof, Hash, Service, Settings, Storage, Transport,
    consensus::Context,
    diagnostics::{Diagnostic, render},
    discovery::DiscoveryContext,
    plugin::{
        ApplicationPlugin, ConsensusPlugin, ConsensusReport, Descriptor, DiscoveryPlugin, ServicePlugin, SetupError,
        StoragePlugin, TransportPlugin,
    },
    service::ServiceContext,
    transport::TransportContext,
};
use quorate_kernel::{
    config::{Assembly, Config, Role},
    key::NodeKey,
    library::{LibraryFile, LibraryLoader, LibraryPlugin},
    prune::KEEP_BLOCKS_MIN,
    registry::Registry,
};
use serde::Deserialize;

/// A plugin for every slot that only has a name and settings.
#[derive(Clone, Copy)]
struct Stub {
    name: &'static str,
    observes: bool,
}

const fn stub(name: &'static str) -> Stub {
    Stub { name, observes: false }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listen {
    #[serde(rename = "listen")]
    _listen: Option<String>,
    #[serde(rename = "count")]
    _count: Option<u32>,
}

impl Stub {
    fn describe(self) -> Descriptor {
        Descriptor::new(self.name, "1.2.3", "a stub")
    }

    fn checked(settings: &Settings) -> Result<(), SetupError> {
        settings.parse::<Listen>()?;
        Ok(())
    }

    fn unmade<T>() -> Result<T, SetupError> {
        Err(SetupError::Other("a stub makes nothing".into()))
    }
}

impl ConsensusPlugin for Stub {
    fn descriptor(&self) -> Descriptor {
        self.describe()
    }

    fn observes(&self) -> bool {
        self.observes
    }

    fn check(&self, context: &Context) -> Result<ConsensusReport, SetupError> {
        let own = (!self.observes).then_some(&context.settings);
        let errors = [Some(&context.shared), own].map(|settings| settings?.parse::<Listen>().err());
        let errors: Vec<Diagnostic> = errors.into_iter().flatten().flatten().collect();
        if !errors.is_empty() {
            return Err(errors.into());
        }
        Ok(ConsensusReport { tolerates: format!("{} tolerates nothing", self.name), warnings: vec!["slow".into()] })
    }

    fn build(&self, _: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        Self::unmade()
    }

    fn proof(&self, _: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        Self::unmade()
    }
}

impl StoragePlugin for Stub {
    fn descriptor(&self) -> Descriptor {
        self.describe()
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        Self::checked(settings)
    }

    fn open(&self, _: &Settings, _: &Path) -> Result<Arc<dyn Storage>, SetupError> {
        Self::unmade()
    }
}

impl TransportPlugin for Stub {
    fn descriptor(&self) -> Descriptor {
        self.describe()
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        Self::checked(settings)
    }

    fn bind(&self, _: &Settings, _: TransportContext) -> Result<Box<dyn Transport>, SetupError> {
        Self::unmade()
    }
}

impl DiscoveryPlugin for Stub {
    fn descriptor(&self) -> Descriptor {
        self.describe()
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        Self::checked(settings)
    }

    fn build(&self, _: &Settings, _: DiscoveryContext) -> Result<Box<dyn Discovery>, SetupError> {
        Self::unmade()
    }
}

impl ApplicationPlugin for Stub {
    fn descriptor(&self) -> Descriptor {
        self.describe()
    }

    fn check(&self, shared: &Settings, settings: &Settings) -> Result<(), SetupError> {
        Self::checked(shared)?;
        Self::checked(settings)
    }

    fn build(&self, _: ChainId, _: &Settings, _: &Settings) -> Result<Arc<dyn Application>, SetupError> {
        Self::unmade()
    }
}

impl ServicePlugin for Stub {
    fn descriptor(&self) -> Descriptor {
        self.describe()
    }

    fn needs_history(&self) -> bool {
        self.name == "auditor"
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        Self::checked(settings)
    }

    fn build(&self, _: &Settings, _: ServiceContext) -> Result<Box<dyn Service>, SetupError> {
        Self::unmade()
    }
}

fn registry() -> Registry {
    Registry::new()
        .with_consensus(stub("voting"))
        .with_consensus(Stub { name: "watching", observes: true })
        .with_storage(stub("disk"))
        .with_transport(stub("wire"))
        .with_discovery(stub("list"))
        .with_application(stub("ledger"))
        .with_service(stub("gateway"))
}

const NODE: &str = r#"[node]
name = "a"
role = "validator"
genesis = "genesis.toml"
key_file = "a.key"
data_dir = "data"

[consensus]
plugin = "voting"

[storage]
plugin = "disk"

[transport]
plugin = "wire"
listen = "127.0.0.1:1"

[discovery]
plugin = "list"

[application]
plugin = "ledger"

[[service]]
plugin = "gateway"
"#;

/// A folder with a genesis, a key and a node's file.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = NodeKey::development("validator-1");
        key.save_new(&directory.path().join("a.key")).unwrap();
        let genesis = format!(
            "chain_name = \"t\"\ngenesis_time = 2026-01-01T00:00:00Z\n[consensus]\nplugin = \"voting\"\n\
             [application]\nplugin = \"ledger\"\n[[validator]]\nname = \"a\"\npublic_key = \"{}\"\n",
            key.public_key()
        );
        std::fs::write(directory.path().join("genesis.toml"), genesis).unwrap();
        Self(directory)
    }

    fn write(&self, text: &str) -> std::path::PathBuf {
        let path = self.0.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn load(&self, text: &str, environment: &[(&str, &str)]) -> Result<Assembly, Vec<Diagnostic>> {
        let path = self.write(text);
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Assembly::load(&path, &environment, &registry())
    }

    fn errors(&self, text: &str, environment: &[(&str, &str)]) -> Vec<Diagnostic> {
        match self.load(text, environment) {
            Ok(_) => panic!("accepted"),
            Err(errors) => errors,
        }
    }
}

fn said(errors: &[Diagnostic]) -> Vec<(usize, usize, &str)> {
    errors.iter().map(|one| (one.line, one.column, one.message.as_str())).collect()
}

#[test]
fn a_good_file_becomes_an_assembly() {
    let folder = Folder::new();
    let assembly = folder.load(NODE, &[]).unwrap_or_else(|errors| panic!("{}", render(&errors)));
    assert_eq!((assembly.node.name.as_str(), assembly.node.role), ("a", Role::Validator));
    assert_eq!(assembly.node.data_dir, folder.0.path().join("data"), "paths are relative to the file");
    let chain = assembly.chain.as_ref().unwrap();
    assert_eq!(chain.report.tolerates, "voting tolerates nothing");
    assert_eq!(chain.genesis.chain_name(), "t");
    let mut slots: Vec<_> = assembly.plugins.iter().map(|(slot, plugin)| (slot.slot, plugin.name)).collect();
    slots.sort();
    let expected = [
        ("application", "ledger"),
        ("consensus", "voting"),
        ("discovery", "list"),
        ("service", "gateway"),
        ("storage", "disk"),
        ("transport", "wire"),
    ];
    assert_eq!(slots, expected);
    assert_eq!(assembly.warnings, ["slow"]);
    assert_eq!((assembly.pool.count_max, assembly.pool.bytes_max), (10_000, 32 << 20));
}

#[test]
fn the_kernels_and_every_plugins_errors_come_at_once_in_the_order_of_the_file() {
    let text = NODE
        .replace("data_dir", "data_dri")
        .replace("plugin = \"disk\"", "plugin = \"disc\"")
        .replace("listen =", "lisen =")
        .replace("[discovery]", "[discover]")
        .replace("[[service]]\n", "[[service]]\ncount = \"many\"\n")
        + "[pool]\ncount_max = 0\n";
    let errors = Folder::new().errors(&text, &[]);
    let shown = render(&errors);
    let at = |line: usize, words: &str, help: Option<&str>| {
        let found = errors.iter().find(|one| one.line == line && one.message.contains(words));
        let found = found.unwrap_or_else(|| panic!("no error with `{words}` in line {line}:\n{shown}"));
        assert_eq!(found.help.as_deref(), help, "{shown}");
    };
    at(6, "unknown key `data_dri`", Some("did you mean `data_dir`?"));
    at(12, "unknown storage plugin `disc`", Some("did you mean `disk`?"));
    at(16, "unknown key `lisen`", Some("did you mean `listen`?"));
    at(18, "unknown key `discover`", Some("did you mean `discovery`?"));
    at(25, "invalid type", None);
    at(28, "pool.count_max is 0", None);
    let lines: Vec<_> = errors.iter().map(|one| one.line).collect();
    assert!(lines.is_sorted(), "{shown}");
    assert!(
        shown.contains("node.toml:16:1: unknown key `lisen`\n   |\n16 | lisen = \"127.0.0.1:1\"\n   | ^^^^^\n"),
        "{shown}"
    );
}

#[test]
fn missing_tables_and_keys_are_named() {
    let folder = Folder::new();
    let text =
        NODE.replace("[storage]\nplugin = \"disk\"\n", "").replace("[transport]\nplugin = \"wire\"\n", "[transport]\n");
    let errors = folder.errors(&text, &[]);
    assert_eq!(said(&errors), [(0, 0, "missing table [storage]"), (12, 1, "missing key `plugin` in [transport]")]);
    let errors = folder.errors("", &[]);
    assert!(render(&errors).contains("missing key `name` in [node]"), "{}", render(&errors));
    let errors = folder.errors(&NODE.replace("genesis = \"genesis.toml\"\n", ""), &[]);
    assert_eq!(said(&errors), [(0, 0, "missing key `genesis` in [node]")]);
    let errors = folder.errors(&NODE.replace("genesis.toml", "nowhere.toml"), &[]);
    assert_eq!((errors.len(), errors[0].line), (1, 4), "{errors:?}");
    let errors = folder.errors("storage = 1\n[[transport]]\n[service]\n", &[]);
    let shown = render(&errors);
    for words in ["`storage` must be a table", "`transport` must be a table", "`service` must be a list of tables"] {
        assert!(shown.contains(words), "{shown}");
    }
}

#[test]
fn broken_toml_is_shown_where_it_breaks() {
    let errors = Folder::new().errors("[node]\nname = \n[storage\n", &[]);
    assert_eq!(errors.iter().map(|one| one.line).collect::<Vec<_>>(), [2, 3], "{}", render(&errors));
}

#[test]
fn a_plugin_other_than_genesis_names_is_refused() {
    let folder = Folder::new();
    let genesis = std::fs::read_to_string(folder.0.path().join("genesis.toml")).unwrap();
    std::fs::write(folder.0.path().join("genesis.toml"), genesis.replace("voting", "other").replace("ledger", "cash"))
        .unwrap();
    let errors = folder.errors(NODE, &[]);
    assert_eq!(
        said(&errors),
        [
            (9, 10, "[consensus] plugin is `voting`, genesis says `other`"),
            (22, 10, "[application] plugin is `ledger`, genesis says `cash`")
        ]
    );
}

#[test]
fn a_watcher_follows_the_consensus_of_genesis_but_is_no_validator() {
    let folder = Folder::new();
    let watching = NODE.replace("plugin = \"voting\"", "plugin = \"watching\"\neye = 1");
    let errors = folder.errors(&watching, &[]);
    assert_eq!(said(&errors), [(9, 10, "[consensus] plugin `watching` only watches, a validator must vote")]);
    let assembly = folder.load(&watching.replace("\"validator\"", "\"follower\""), &[]).unwrap_or_else(|_| panic!());
    assert_eq!(assembly.chain.unwrap().report.tolerates, "voting tolerates nothing", "genesis' plugin reports");
}

#[test]
fn errors_in_genesis_are_told_with_its_name_and_lines() {
    let folder = Folder::new();
    let path = folder.0.path().join("genesis.toml");
    let genesis = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, genesis.replace("plugin = \"voting\"\n", "plugin = \"voting\"\ncuont = 1\n")).unwrap();
    let errors = folder.errors(&NODE.replace("[discovery]", "[discovery]\nx = 1"), &[]);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].file.ends_with("node.toml"));
    assert_eq!((errors[1].file.as_str(), errors[1].line), (path.to_str().unwrap(), 5));
    assert_eq!(errors[1].help.as_deref(), Some("did you mean `count`?"));
}

/// Has one consensus, in whatever file is named.
struct OneConsensus;

impl LibraryLoader for OneConsensus {
    fn load(&self, library: &LibraryFile, slot: &'static str, plugin: &str) -> Result<LibraryPlugin, String> {
        let LibraryFile { path, shown, sha256 } = library;
        assert!(path.ends_with(shown) && sha256.is_none_or(|hash| hash == Hash::new([0xab; 32])));
        match (shown.as_str(), plugin) {
            ("lib.so", "voting") => Ok(LibraryPlugin::Consensus(Arc::new(stub("voting")))),
            _ => Err(format!("plugin library `{shown}`: no {slot} plugin `{plugin}`")),
        }
    }
}

#[test]
fn a_library_goes_before_the_programs_own_plugin_and_is_told() {
    let folder = Folder::new();
    let text = NODE.replace(
        "plugin = \"voting\"",
        &format!("plugin = \"voting\"\nlibrary = \"lib.so\"\nsha256 = \"{}\"", "ab".repeat(32)),
    );
    let path = folder.write(&text);
    let assembly = Assembly::load(&path, &[], &registry().with_libraries(OneConsensus))
        .unwrap_or_else(|e| panic!("{}", render(&e)));
    let origins: Vec<_> = assembly.plugins.iter().map(|(slot, _)| (slot.slot, slot.origin().to_owned())).collect();
    assert!(
        origins.contains(&("consensus", "lib.so".into())) && origins.contains(&("storage", "bundled".into())),
        "{origins:?}"
    );
    let errors = Assembly::load(&path, &[], &registry()).err().unwrap();
    assert!(errors[0].message.contains("does not load plugins from libraries"), "{errors:?}");
}

#[test]
fn a_follower_checks_proofs_by_the_library_of_the_consensus_that_decides() {
    let folder = Folder::new();
    let registry = || {
        let watching = Stub { name: "watching", observes: true };
        let registry = Registry::new().with_consensus(watching).with_storage(stub("disk")).with_transport(stub("wire"));
        let registry = registry.with_discovery(stub("list")).with_application(stub("ledger"));
        registry.with_service(stub("gateway")).with_libraries(OneConsensus)
    };
    let text = NODE.replace("role = \"validator\"", "role = \"follower\"");
    let with = |lines: &str| text.replace("plugin = \"voting\"", &format!("plugin = \"watching\"\n{lines}"));
    let load = |text: &str| Assembly::load(&folder.write(text), &[], &registry());
    let chain = load(&with("proof_library = \"lib.so\"")).unwrap_or_else(|e| panic!("{}", render(&e))).chain.unwrap();
    assert_eq!((chain.consensus.descriptor().name, chain.finality.descriptor().name), ("watching", "voting"));
    let missing = load(&with("")).err().unwrap();
    assert!(missing[0].help.as_deref().unwrap().contains("proof_library"), "{missing:?}");
    let wrong = load(&with("proof_library = \"x.so\"")).err().unwrap();
    assert_eq!(said(&wrong), [(10, 17, "plugin library `x.so`: no consensus plugin `voting`")]);
    let voting =
        folder.errors(&NODE.replace("plugin = \"voting\"", "plugin = \"voting\"\nproof_library = \"lib.so\""), &[]);
    assert!(voting[0].message.contains("`voting` votes, and checks its own proofs"), "{voting:?}");
}

#[test]
fn what_is_wrong_with_a_library_is_told_where_it_is_named() {
    let folder = Folder::new();
    let errors = |line: &str| {
        let path = folder.write(&NODE.replace("plugin = \"wire\"", &format!("plugin = \"wire\"\n{line}")));
        let errors = Assembly::load(&path, &[], &registry().with_libraries(OneConsensus)).err().unwrap();
        errors.into_iter().map(|error| (error.line, error.column, error.message)).collect::<Vec<_>>()
    };
    let one = |column: usize, message: &str| vec![(16, column, message.to_owned())];
    assert_eq!(errors("library = \"x.so\""), one(11, "plugin library `x.so`: no transport plugin `wire`"));
    assert_eq!(errors("library = 3"), one(11, "[transport] `library` must be a text, and not empty"));
    assert_eq!(
        errors("sha256 = \"00\""),
        one(10, "[transport] `sha256`: expected 64 hexadecimal digits after `0x`, found `00`")
    );
    assert_eq!(
        errors(&format!("sha256 = \"{}\"", "ab".repeat(32))),
        one(10, "[transport] `sha256` is of a `library`, and there is none")
    );
}

#[test]
fn a_bootnode_needs_neither_slots_nor_genesis() {
    let folder = Folder::new();
    let text = "[node]\nname = \"b\"\nrole = \"bootnode\"\nkey_file = \"a.key\"\ndata_dir = \"d\"\n";
    let assembly = folder.load(&format!("{text}[[service]]\nplugin = \"gateway\"\n"), &[]).unwrap_or_else(|_| panic!());
    assert!(assembly.chain.is_none() && assembly.services.len() == 1 && assembly.warnings.is_empty());
    let idle = folder.load(text, &[]).unwrap_or_else(|_| panic!());
    assert_eq!(idle.warnings, ["this bootnode has no [[service]]: it does nothing"]);
    let errors = folder.errors(&text.replace("bootnode", "bootnod"), &[]);
    assert_eq!(errors.len(), 1, "a misspelt role is one error, not also four missing tables: {errors:?}");
    assert_eq!(errors[0].help.as_deref(), Some("did you mean `bootnode`?"));
}

#[test]
fn the_environment_goes_before_the_file_for_the_kernel_and_for_plugins() {
    let folder = Folder::new();
    let environment = [
        ("QUORATE__NODE__NAME", "renamed"),
        ("QUORATE__TRANSPORT__LISTEN", "127.0.0.1:9001"),
        ("QUORATE__SERVICE__0__COUNT", "7"),
        ("QUORATE__POOL__COUNT_MAX", "5"),
        ("OTHER__NODE__NAME", "ignored"),
    ];
    let assembly = folder.load(NODE, &environment).unwrap_or_else(|errors| panic!("{}", render(&errors)));
    assert_eq!((assembly.node.name.as_str(), assembly.pool.count_max), ("renamed", 5));
    let transport: toml::Table = assembly.chain.unwrap().transport_slot.settings.parse().unwrap();
    assert_eq!(transport["listen"].as_str(), Some("127.0.0.1:9001"));
    let service: toml::Table = assembly.services[0].1.settings.parse().unwrap();
    assert_eq!(service["count"].as_integer(), Some(7));
}

#[test]
fn a_wrong_variable_is_named_and_the_files_lines_stay_right() {
    let folder = Folder::new();
    let text = NODE.replace("[discovery]", "[discovery]\nbad = 1");
    let environment = [
        ("QUORATE__TRANSPORT__COUNT", "many"),
        ("QUORATE__STORAGE__PLUGIN", "disc"),
        ("QUORATE__NODE__ADMIN_TOKEN_FILE", "t"),
        ("QUORATE__TRANSPROT__X", "1"),
    ];
    let errors = folder.errors(&text, &environment);
    let of = |name: &str| errors.iter().find(|one| one.file == format!("environment variable QUORATE__{name}"));
    assert!(of("TRANSPORT__COUNT").unwrap().message.contains("invalid type"), "{errors:?}");
    assert_eq!(of("STORAGE__PLUGIN").unwrap().help.as_deref(), Some("did you mean `disk`?"));
    assert_eq!(of("TRANSPROT__X").unwrap().help.as_deref(), Some("did you mean `transport`?"));
    let in_file: Vec<_> = errors.iter().filter(|one| one.file.ends_with("node.toml")).collect();
    assert_eq!(in_file.len(), 1, "{errors:?}");
    assert_eq!((in_file[0].line, in_file[0].source.as_str()), (19, "bad = 1"), "though lines were put in above it");
}

#[test]
fn a_node_that_keeps_few_blocks_keeps_as_many_as_peers_need_and_nothing_beside_it_reads_all() {
    let folder = Folder::new();
    let kept =
        |value: &str| NODE.replace("data_dir = \"data\"\n", &format!("data_dir = \"data\"\nkeep_blocks = {value}\n"));
    let least = KEEP_BLOCKS_MIN.to_string();
    let assembly = folder.load(&kept(&least), &[]).unwrap_or_else(|errors| panic!("{}", render(&errors)));
    assert_eq!(assembly.node.keep_blocks, Some(KEEP_BLOCKS_MIN));
    assert!(assembly.warnings.iter().any(|one| one.contains("need another node")), "{:?}", assembly.warnings);
    let assembly = folder.load(NODE, &[]).unwrap_or_else(|errors| panic!("{}", render(&errors)));
    assert_eq!(assembly.node.keep_blocks, None);

    let errors = folder.errors(&kept("9999"), &[]);
    assert_eq!(said(&errors), [(7, 15, "node.keep_blocks is 9999; the minimum is 10000")]);
    let errors = folder.errors(&kept(&least), &[("QUORATE__NODE__KEEP_BLOCKS", "5")]);
    assert!(errors[0].message.contains("node.keep_blocks is 5; the minimum is 10000"), "{}", render(&errors));
    assert_eq!(folder.errors(&kept("-1"), &[]).len(), 1);

    let text = kept(&least).replace("plugin = \"gateway\"", "plugin = \"auditor\"");
    let load = |text: &str| {
        let path = folder.write(text);
        Assembly::load(&path, &[], &registry().with_service(stub("auditor")))
    };
    let errors = load(&text).map(drop).unwrap_err();
    let why = "the service `auditor` reads the chain from block 1 on, and this node keeps the last 10000";
    assert_eq!(said(&errors), [(26, 10, why)]);
    assert!(load(&text.replace("keep_blocks", "# keep_blocks")).is_ok());

    let bootnode =
        "[node]\nname = \"b\"\nrole = \"bootnode\"\nkey_file = \"a.key\"\ndata_dir = \"d\"\nkeep_blocks = 10000\n";
    assert_eq!(said(&folder.errors(bootnode, &[])), [(6, 15, "node.keep_blocks is set, but this node has no chain")]);
}

#[test]
fn a_key_that_cannot_vote_is_a_warning() {
    let folder = Folder::new();
    let stranger = folder.0.path().join("b.key");
    NodeKey::development("validator-2").save_new(&stranger).unwrap();
    let assembly = folder.load(&NODE.replace("a.key", "b.key"), &[]).unwrap_or_else(|_| panic!());
    assert!(assembly.warnings.iter().any(|one| one.contains("no validator of genesis")), "{:?}", assembly.warnings);
    let assembly = folder.load(&NODE.replace("a.key", "none.key"), &[]).unwrap_or_else(|_| panic!());
    assert!(assembly.warnings.iter().any(|one| one.contains("none.key")), "{:?}", assembly.warnings);
}

#[test]
fn what_is_no_file_or_too_large_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let load = |path: &Path| Config::load(path, &[]).unwrap_err()[0].message.clone();
    assert!(load(directory.path()).contains("could not be read"));
    assert!(load(&directory.path().join("none.toml")).contains("could not be read"));
    let path = directory.path().join("large.toml");
    std::fs::write(&path, " ".repeat(2 << 20)).unwrap();
    assert!(load(&path).contains("more than 1048576 bytes"));
    std::fs::write(&path, b"a\xff").unwrap();
    assert!(load(&path).contains("not UTF-8"));
}

#[test]
fn the_registry_lists_and_replaces_by_name() {
    let registry = registry().with_storage(stub("disk")).with_storage(stub("memory"));
    let storage: Vec<_> =
        registry.list().into_iter().filter(|(slot, _)| *slot == "storage").map(|(_, plugin)| plugin.name).collect();
    assert_eq!(storage, ["disk", "memory"]);
    assert_eq!(registry.storage("disc").err(), Some(vec!["disk", "memory"]));
}
