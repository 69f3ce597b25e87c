//! Three fakes on one chain, and a client which knows them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quorate_client::{Client, Disagreement, Endpoint, Health, Settings, ValidatorStatus};

use crate::{
    chain::{Chain, VALIDATORS, name},
    fake::Fake,
};

/// No wait of a test lasts longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Network {
    pub(crate) chain: Arc<Chain>,
    pub(crate) fakes: Vec<Fake>,
}

impl Network {
    /// With a chain of `blocks` blocks.
    pub(crate) fn of(blocks: u64) -> Self {
        let chain = Chain::new("test");
        chain.grow(100, blocks);
        let fakes = (0..VALIDATORS).map(|at| Fake::start(name(at), Arc::clone(&chain))).collect();
        Self { chain, fakes }
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.fakes.iter().map(|fake| Endpoint::new(&fake.name, fake.url())).collect()
    }

    /// Patient, so that a slow machine makes nobody unhealthy; the rest after a failure is long, so that nothing depends on its end.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            attempt_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(15),
            slow_after: Duration::from_secs(3),
            backoff_min: Duration::from_secs(60),
            backoff_max: Duration::from_secs(60),
            ..Settings::of(self.endpoints())
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.client_with(self.settings())
    }

    pub(crate) fn client_with(&self, settings: Settings) -> Client {
        Client::new(settings, self.chain.rules.clone()).unwrap()
    }

    /// Makes everything final that waits in a pool.
    pub(crate) fn finish(&self) {
        let mut all: Vec<quorate::Bytes> = self.fakes.iter().flat_map(Fake::pool).collect();
        all.sort();
        all.dedup();
        all.retain(|one| self.chain.receipt(&self.chain.id(one), usize::MAX).is_none());
        self.chain.append(&all);
    }
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How the client says that a validator stands.
pub(crate) fn of(client: &Client, name: &str) -> ValidatorStatus {
    client.validator_status().into_iter().find(|one| one.node_id == name).expect(name)
}

/// In a word, and why.
pub(crate) fn health(client: &Client, name: &str) -> (Health, String) {
    let status = of(client, name);
    (status.status, status.reason.unwrap_or_default())
}

/// What was noticed of a validator.
pub(crate) fn lies(client: &Client, name: &str) -> Vec<String> {
    let of = |one: Disagreement| match one {
        Disagreement::Lie { validator, what } if validator == name => Some(what),
        _ => None,
    };
    client.disagreements().into_iter().filter_map(of).collect()
}
