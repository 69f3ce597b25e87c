//! The Discovery slot's rules, asked of nodes and a source on the loopback interface.

mod finding;
mod net;
mod source;

use std::any::Any;

use quorate::{
    Settings,
    discovery::DiscoveryContext,
    plugin::{DiscoveryPlugin, ServicePlugin},
};

use super::{
    common,
    rule::{OrBroken, Outcome, Rule},
    suite::{Report, Suite},
};
use crate::sim::Rng;

/// What settings have in the place of the source's address.
const SOURCE: &str = "{source}";

/// What settings have in the place of another node's key.
const PEER_KEY: &str = "{peer_key}";

/// What settings have in the place of another node's address.
const PEER_ADDRESS: &str = "{peer_address}";

/// Makes a node present; it is gone when what was made is dropped.
type Presence<'a> = Box<dyn Fn(&DiscoveryContext) -> Box<dyn Any> + 'a>;

/// A discovery plugin, to be asked for its slot's contract.
pub struct DiscoverySuite<'a> {
    plugin: &'a dyn DiscoveryPlugin,
    settings: String,
    source: Option<(&'a dyn ServicePlugin, String)>,
    presence: Option<Presence<'a>>,
}

/// The rules of the Discovery slot for `plugin`. In `settings`, a TOML text, `{source}` stands for the address of its source,
/// `{peer_key}` and `{peer_address}` for the node that it shall find.
pub fn discovery<'a>(plugin: &'a dyn DiscoveryPlugin, settings: &str) -> DiscoverySuite<'a> {
    DiscoverySuite { plugin, settings: settings.to_owned(), source: None, presence: None }
}

impl<'a> DiscoverySuite<'a> {
    /// Its source is this service; in its settings `{listen}` stands for the address where it listens.
    #[must_use]
    pub fn source(mut self, service: &'a dyn ServicePlugin, settings: &str) -> Self {
        self.source = Some((service, settings.to_owned()));
        self
    }

    /// A node is found not because its discovery runs, but because of what this makes.
    #[must_use]
    pub fn presence(mut self, make: impl Fn(&DiscoveryContext) -> Box<dyn Any> + 'a) -> Self {
        self.presence = Some(Box::new(make));
        self
    }

    /// The suite.
    pub fn suite(&self) -> Suite<'_> {
        Suite::new("discovery", self.plugin.descriptor().name, self, TABLE)
    }

    /// Tries every rule.
    pub fn run(&self) -> Report {
        self.suite().run()
    }

    /// Tries every rule; see [`Report::check`].
    ///
    /// # Panics
    ///
    /// When a rule is broken.
    pub fn check(&self) {
        self.run().check();
    }

    /// The settings of a node that asks there and shall find `peer`.
    fn settings(&self, source: &str, peer: u8) -> Settings {
        let key = net::key_of(peer).to_string();
        let text = self.settings.replace(SOURCE, source).replace(PEER_KEY, &key);
        Settings::from_text(&text.replace(PEER_ADDRESS, &net::address_of(peer)))
    }
}

const CONTRACT: &str = "discovery.rs";

const AGAIN: &str = "A source that does not answer is tried again for ever.";

type Trial = fn(&DiscoverySuite<'_>, &mut Rng) -> Outcome;

/// Each rule, and what tries it.
const TABLE: &[(Rule, Trial)] = &[
    (common::DESCRIPTOR, |suite, _| common::descriptor(&suite.plugin.descriptor())),
    (common::EXAMPLE, |suite, _| common::example(&suite.plugin.descriptor(), |text| suite.plugin.check(text))),
    (common::UNKNOWN_KEY, |suite, _| {
        let key = net::key_of(2).to_string();
        let text = suite.settings.replace(SOURCE, "127.0.0.1:1").replace(PEER_KEY, &key);
        common::unknown_key(&text.replace(PEER_ADDRESS, &net::address_of(2)), |text| suite.plugin.check(text))
    }),
    (
        Rule { name: "it finds a node", sentence: "A node, and where to reach it. May be told again.", file: CONTRACT },
        finding::finds,
    ),
    (
        Rule {
            name: "nodes of another network are not found",
            sentence: "The network: nodes of another are not to be dialled.",
            file: CONTRACT,
        },
        finding::other_network,
    ),
    (
        Rule { name: "a source that is down at start is tried again", sentence: AGAIN, file: CONTRACT },
        source::down_at_start,
    ),
    (Rule { name: "a source that comes back is asked again", sentence: AGAIN, file: CONTRACT }, source::comes_back),
    (
        Rule {
            name: "it tells how its source stands",
            sentence: "The source answers, or does not: for the status.",
            file: CONTRACT,
        },
        source::told,
    ),
    (
        Rule {
            name: "a lying source neither ends nor misleads it",
            sentence: "What it finds is a hint: the transport checks the key of whoever answers, so that a lying source costs attempts, not safety.",
            file: CONTRACT,
        },
        source::lies,
    ),
    (
        Rule {
            name: "it stops within two seconds",
            sentence: "Runs until [`DiscoveryCommand::Stop`] or until the commands close; returns within two seconds then.",
            file: CONTRACT,
        },
        source::stops,
    ),
    (Rule { name: "two discoveries share nothing", sentence: common::APART, file: "plugin.rs" }, finding::apart),
    (common::NOTHING_LEFT, |suite, _| {
        let settings = suite.settings("127.0.0.1:1", 2);
        common::many_times(|| {
            suite.plugin.build(&settings, net::context(1, net::CHAIN)).or_broken("making a discovery").map(drop)
        })
    }),
];

pub(super) fn rules() -> Vec<Rule> {
    TABLE.iter().map(|(rule, _)| *rule).collect()
}
