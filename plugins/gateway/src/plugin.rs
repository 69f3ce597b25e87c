//! What the names `gateway` and `outbox` in TOML stand for.

use std::sync::Arc;

use quorate::{
    Application, ChainId, Service, Settings,
    plugin::{ApplicationPlugin, Descriptor, ServicePlugin, SetupError},
    service::ServiceContext,
};

use crate::{
    outbox::application::OutboxLedger,
    service::GatewayService,
    settings::{EXAMPLE, GatewaySettings},
};

/// The service `gateway`.
#[derive(Debug, Clone, Copy, Default)]
pub struct GatewayPlugin;

impl ServicePlugin for GatewayPlugin {
    fn descriptor(&self) -> Descriptor {
        let summary = "the backend of a voting network: takes ballots, holds them until they are final, tells results";
        Descriptor::new("gateway", env!("CARGO_PKG_VERSION"), summary).with_example(EXAMPLE)
    }

    fn needs_chain(&self) -> bool {
        true
    }

    /// Voters' receipts are of any block, and its check of the chain begins with the first.
    fn needs_history(&self) -> bool {
        true
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        GatewaySettings::read(settings)?;
        Ok(())
    }

    fn build(&self, settings: &Settings, context: ServiceContext) -> Result<Box<dyn Service>, SetupError> {
        let read = GatewaySettings::read(settings)?;
        if context.loopback_only && !read.listen.ip().is_loopback() {
            let message =
                format!("this node's key is a well-known development key; it does not listen on {}", read.listen);
            let help = "listen on 127.0.0.1, or make a key of its own: quorate key new FILE";
            return Err(vec![settings.error("listen", message).with_help(help)].into());
        }
        Ok(Box::new(GatewayService::new(read, context)?))
    }
}

/// The application `outbox`: what a gateway's ledger of held ballots means, so that it can be audited like any other chain.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutboxPlugin;

impl ApplicationPlugin for OutboxPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("outbox", env!("CARGO_PKG_VERSION"), "the ledger of ballots which a gateway holds")
    }

    fn check(&self, shared: &Settings, settings: &Settings) -> Result<(), SetupError> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        shared.parse::<Nothing>()?;
        settings.parse::<Nothing>()?;
        Ok(())
    }

    fn build(&self, _: ChainId, shared: &Settings, settings: &Settings) -> Result<Arc<dyn Application>, SetupError> {
        self.check(shared, settings)?;
        Ok(Arc::new(OutboxLedger))
    }
}
