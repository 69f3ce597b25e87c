//! The plugins that this program has: the one list.

use std::sync::Arc;

use quorate::{Application, FinalityProof, Genesis, Settings, consensus::Context, plugin::StoragePlugin};
use quorate_discovery_bootnode::{BootnodeDiscoveryPlugin, RegistryServicePlugin, StaticDiscoveryPlugin};
use quorate_kernel::registry::Registry;
use quorate_kv::KvPlugin;
use quorate_poa::PoaPlugin;
use quorate_solo::{FollowerPlugin, SoloPlugin};
use quorate_storage_redb::RedbPlugin;
use quorate_transport_http::HttpPlugin;

use crate::exit::{Exit, Failure};

/// The store whose data directories the offline commands read.
const STORAGE: &str = "redb";

/// Every bundled plugin.
pub fn registry() -> Registry {
    Registry::new()
        .with_consensus(PoaPlugin)
        .with_consensus(SoloPlugin)
        .with_consensus(FollowerPlugin)
        .with_storage(RedbPlugin)
        .with_transport(HttpPlugin)
        .with_discovery(BootnodeDiscoveryPlugin)
        .with_discovery(StaticDiscoveryPlugin)
        .with_application(KvPlugin)
        .with_service(RegistryServicePlugin::default())
}

/// The store of a data directory.
///
/// # Errors
///
/// [`Exit::Plugin`].
pub fn storage() -> Result<Arc<dyn StoragePlugin>, Failure> {
    registry().storage(STORAGE).map_err(|known| missing("storage", STORAGE, &known))
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
/// [`Exit::Plugin`] when this program lacks a plugin; [`Exit::Config`] when genesis' settings are wrong.
pub fn rules(genesis: &Genesis) -> Result<Rules, Failure> {
    let registry = registry();
    let name = genesis.application_plugin();
    let application = registry.application(name).map_err(|known| missing("application", name, &known))?;
    let name = genesis.consensus_plugin();
    let consensus = registry.consensus(name).map_err(|known| missing("consensus", name, &known))?;
    let context = Context {
        chain_id: genesis.chain_id(),
        validators: genesis.validators().clone(),
        shared: genesis.consensus_settings(),
        settings: Settings::from_text(""),
        seed: 0,
    };
    let shared = genesis.application_settings();
    Ok(Rules {
        application: application.build(genesis.chain_id(), &shared, &Settings::from_text(""))?,
        finality: consensus.proof(&context)?,
    })
}

/// A plugin that is not in the list.
pub(crate) fn missing(slot: &str, name: &str, known: &[&str]) -> Failure {
    let message = format!("this program has no {slot} plugin `{name}`; it has: {}", known.join(", "));
    Failure::new(Exit::Plugin, message)
}
