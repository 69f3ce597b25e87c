//! The plugins that this program has: the one list.

use std::{path::Path, sync::Arc};

use quorate::{Application, FinalityProof, Genesis, Settings, consensus::Context, plugin::StoragePlugin};
use quorate_bft_tendermint::TendermintPlugin;
use quorate_discovery_bootnode::{BootnodeDiscoveryPlugin, RegistryServicePlugin, StaticDiscoveryPlugin};
use quorate_gateway::{GatewayPlugin, OutboxPlugin};
use quorate_kernel::registry::Registry;
use quorate_kv::KvPlugin;
use quorate_poa::PoaPlugin;
use quorate_solo::{FollowerPlugin, SoloPlugin};
use quorate_storage_fjall::FjallPlugin;
use quorate_storage_redb::RedbPlugin;
use quorate_transport_http::HttpPlugin;
use quorate_voting::VotingPlugin;

use crate::{
    exit::{Exit, Failure},
    libraries::{Libraries, LibraryArgs, Named},
};

/// The store which the offline commands make where there is none.
const STORAGE: &str = "redb";

/// What is in a data directory of another store, and its plugin's name.
const OTHER_STORAGE: &[(&str, &str)] = &[(quorate_storage_fjall::FOLDER, "fjall")];

/// Every bundled plugin, and what loads others.
pub fn registry() -> Registry {
    Registry::new()
        .with_consensus(PoaPlugin)
        .with_consensus(TendermintPlugin)
        .with_consensus(SoloPlugin)
        .with_consensus(FollowerPlugin)
        .with_storage(RedbPlugin)
        .with_storage(FjallPlugin)
        .with_transport(HttpPlugin)
        .with_discovery(BootnodeDiscoveryPlugin)
        .with_discovery(StaticDiscoveryPlugin)
        .with_application(KvPlugin)
        .with_application(VotingPlugin)
        .with_application(OutboxPlugin)
        .with_service(RegistryServicePlugin::default())
        .with_service(GatewayPlugin)
        .with_libraries(Libraries)
}

/// The store of a data directory: the one that is in it, or the default where there is none.
///
/// # Errors
///
/// [`Exit::Plugin`].
pub fn storage(directory: &Path) -> Result<Arc<dyn StoragePlugin>, Failure> {
    let other = OTHER_STORAGE.iter().find(|(there, _)| directory.join(there).exists());
    let name = other.map_or(STORAGE, |(_, name)| name);
    registry().storage(name).map_err(|known| missing("storage", name, &known))
}

/// The pure parts of the plugins that a genesis names.
pub struct Rules {
    /// What transactions do.
    pub application: Arc<dyn Application>,
    /// What makes a block final.
    pub finality: Arc<dyn FinalityProof>,
}

/// The rules of a network.
///
/// # Errors
///
/// [`Exit::Plugin`] when neither `libraries` nor this program has a plugin, or a library can't be used; [`Exit::Config`] when genesis'
/// settings are wrong.
pub fn rules(genesis: &Genesis, libraries: &LibraryArgs) -> Result<Rules, Failure> {
    let (registry, libraries) = (registry(), Named::load(&libraries.library)?);
    let unknown = |slot: &str, name: &str, known: &[&str]| {
        let mut failure = missing(slot, name, known);
        failure.message += "; one of a shared library needs --library FILE";
        failure
    };
    let name = genesis.application_plugin();
    let application = match libraries.application(name) {
        Some(plugin) => plugin,
        None => registry.application(name).map_err(|known| unknown("application", name, &known))?,
    };
    let name = genesis.consensus_plugin();
    let consensus = match libraries.consensus(name) {
        Some(plugin) => plugin,
        None => registry.consensus(name).map_err(|known| unknown("consensus", name, &known))?,
    };
    let shared = genesis.application_settings();
    Ok(Rules {
        application: application.build(genesis.chain_id(), &shared, &Settings::from_text(""))?,
        finality: consensus.proof(&Context::of(genesis))?,
    })
}

/// A plugin that is not in the list.
pub(crate) fn missing(slot: &str, name: &str, known: &[&str]) -> Failure {
    let message = format!("this program has no {slot} plugin `{name}`; it has: {}", known.join(", "));
    Failure::new(Exit::Plugin, message)
}
