//! The author's side: from the traits of `quorate` to functions which a node in another file can call.
//!
//! Nothing here is for authors to call: [`crate::export!`] does.

mod actor;
mod actors;
mod application;
mod call;
mod consensus;
mod describe;
mod host;
mod remote;
mod state;
mod storage;

pub use self::{
    actors::{discovery, service, transport},
    application::application,
    consensus::consensus,
    storage::storage,
};

use crate::raw::{
    QUORATE_ABI_MAJOR, QUORATE_ABI_MINOR, QUORATE_LIBRARY_PANIC_ABORTS, QUORATE_MAGIC, QuorateBytes, QuorateLibrary,
    QuoratePlugin,
};

/// A plugin named in [`crate::export!`]: `P` is the trait of its slot.
pub trait Exported<P: ?Sized>: 'static {
    /// The plugin.
    fn plugin() -> &'static P;
}

/// What the symbol `QUORATE_PLUGIN` holds.
pub const fn library(plugins: &'static [QuoratePlugin]) -> QuorateLibrary {
    QuorateLibrary {
        magic: QUORATE_MAGIC,
        abi_major: QUORATE_ABI_MAJOR,
        abi_minor: QUORATE_ABI_MINOR,
        size: size_of::<QuorateLibrary>() as u32,
        flags: if cfg!(panic = "abort") { QUORATE_LIBRARY_PANIC_ABORTS } else { 0 },
        build: QuorateBytes::of(concat!("quorate-abi ", env!("CARGO_PKG_VERSION")).as_bytes()),
        start: Some(host::start),
        plugins: plugins.as_ptr(),
        // Nobody lists four billion plugins.
        plugins_len: plugins.len() as u32,
        plugin_size: size_of::<QuoratePlugin>() as u32,
    }
}

/// Makes a shared library of plugins: one line in a crate of the type `cdylib`, which does nothing else.
///
/// Each plugin is its slot (`consensus`, `storage`, `application`, `transport`, `discovery`, `service`) and a value that implements the slot's trait, as it would be
/// linked into a node.
///
/// ```
/// quorate_abi::export!(storage: quorate_testkit::memory::MemoryStoragePlugin::new());
/// ```
#[macro_export]
macro_rules! export {
    ($($slot:ident: $plugin:expr),+ $(,)?) => {
        const _: () = {
            static PLUGINS: &[$crate::raw::QuoratePlugin] = &[$($crate::exported!($slot: $plugin)),+];

            #[unsafe(no_mangle)]
            static QUORATE_PLUGIN: $crate::raw::QuorateLibrary = $crate::guest::library(PLUGINS);
        };
    };
}

/// One plugin of [`export!`].
#[doc(hidden)]
#[macro_export]
macro_rules! exported {
    (consensus: $plugin:expr) => {
        $crate::exported!(@ consensus, $crate::quorate::plugin::ConsensusPlugin, $plugin)
    };
    (storage: $plugin:expr) => {
        $crate::exported!(@ storage, $crate::quorate::plugin::StoragePlugin, $plugin)
    };
    (application: $plugin:expr) => {
        $crate::exported!(@ application, $crate::quorate::plugin::ApplicationPlugin, $plugin)
    };
    (transport: $plugin:expr) => {
        $crate::exported!(@ transport, $crate::quorate::plugin::TransportPlugin, $plugin)
    };
    (discovery: $plugin:expr) => {
        $crate::exported!(@ discovery, $crate::quorate::plugin::DiscoveryPlugin, $plugin)
    };
    (service: $plugin:expr) => {
        $crate::exported!(@ service, $crate::quorate::plugin::ServicePlugin, $plugin)
    };
    (@ $slot:ident, $trait:path, $plugin:expr) => {{
        struct Entry;

        impl $crate::guest::Exported<dyn $trait> for Entry {
            fn plugin() -> &'static dyn $trait {
                static PLUGIN: ::std::sync::LazyLock<::std::boxed::Box<dyn $trait>> =
                    ::std::sync::LazyLock::new(|| ::std::boxed::Box::new($plugin));
                PLUGIN.as_ref()
            }
        }

        $crate::guest::$slot::<Entry>()
    }};
}
