//! The Transport slot's rules, asked of nodes on the loopback interface.

mod addresses;
mod delivery;
mod flow;
mod net;
mod peers;

use quorate::{Settings, plugin::TransportPlugin};

use super::{
    common,
    identity::{ANY_PORT, LISTEN},
    rule::{Outcome, Rule},
    suite::{Report, Suite},
};
use crate::sim::Rng;

/// A transport plugin, to be asked for its slot's contract.
pub struct TransportSuite<'a> {
    plugin: &'a dyn TransportPlugin,
    settings: String,
}

/// The rules of the Transport slot for `plugin`. In `settings`, a TOML text, `{listen}` stands for the address where a node
/// listens for peers, such as `127.0.0.1:0`; anything else that it listens on must be given a free port in the same way.
pub fn transport<'a>(plugin: &'a dyn TransportPlugin, settings: &str) -> TransportSuite<'a> {
    TransportSuite { plugin, settings: settings.to_owned() }
}

impl TransportSuite<'_> {
    /// The suite.
    pub fn suite(&self) -> Suite<'_> {
        Suite::new("transport", self.plugin.descriptor().name, self, TABLE)
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

    /// The settings of a node that listens there.
    fn settings(&self, listen: &str) -> Settings {
        Settings::from_text(&self.settings.replace(LISTEN, listen))
    }
}

const CONTRACT: &str = "transport.rs";

const SEND: &str = "To one peer, if connected; dropped otherwise.";

const CLASSES: &str =
    "Classes of messages, the most urgent first: a lower class never delays or displaces a higher one.";

const DIAL: &str =
    "Keep a connection to this peer: dial, and dial again with backoff for ever. A newer address replaces the older.";

type Trial = fn(&TransportSuite<'_>, &mut Rng) -> Outcome;

/// Each rule, and what tries it.
const TABLE: &[(Rule, Trial)] = &[
    (common::DESCRIPTOR, |suite, _| common::descriptor(&suite.plugin.descriptor())),
    (common::EXAMPLE, |suite, _| common::example(&suite.plugin.descriptor(), |text| suite.plugin.check(text))),
    (common::UNKNOWN_KEY, |suite, _| {
        let text = suite.settings.replace(LISTEN, ANY_PORT);
        common::unknown_key(&text, |text| suite.plugin.check(text))
    }),
    (
        Rule {
            name: "a peer is told once",
            sentence: "A connection to an authenticated peer of the same network stands. Told once a peer, however many connections.",
            file: CONTRACT,
        },
        peers::told_once,
    ),
    (
        Rule {
            name: "messages of one peer and class come in order",
            sentence: "A message from a connected peer. In order for one peer and class.",
            file: CONTRACT,
        },
        delivery::in_order,
    ),
    (
        Rule { name: "on a standing connection nothing is lost or doubled", sentence: SEND, file: CONTRACT },
        delivery::nothing_lost,
    ),
    (Rule { name: "a message to one peer reaches no other", sentence: SEND, file: CONTRACT }, delivery::to_one_peer),
    (
        Rule { name: "a broadcast reaches every peer", sentence: "To every connected peer.", file: CONTRACT },
        delivery::to_every_peer,
    ),
    (
        Rule { name: "the longest message arrives whole", sentence: "At most [`MESSAGE_BYTES_MAX`].", file: CONTRACT },
        delivery::longest_arrives,
    ),
    (
        Rule { name: "a longer message does not arrive", sentence: "At most [`MESSAGE_BYTES_MAX`].", file: CONTRACT },
        delivery::longer_does_not_arrive,
    ),
    (Rule { name: "urgent messages overtake", sentence: CLASSES, file: CONTRACT }, flow::urgent_overtakes),
    (
        Rule { name: "a slow receiver loses no consensus message", sentence: CLASSES, file: CONTRACT },
        flow::slow_loses_nothing,
    ),
    (
        Rule {
            name: "a slow receiver does not fill the memory",
            sentence: "To the kernel. Full: wait; that is the backpressure on peers.",
            file: CONTRACT,
        },
        flow::slow_is_bounded,
    ),
    (
        Rule {
            name: "a peer of another network is refused",
            sentence: "The network: peers of another are refused.",
            file: CONTRACT,
        },
        peers::other_network,
    ),
    (
        Rule { name: "another key is refused", sentence: "The key that must answer there.", file: CONTRACT },
        peers::other_key,
    ),
    (Rule { name: "a peer that comes back is connected again", sentence: DIAL, file: CONTRACT }, peers::comes_back),
    (Rule { name: "a newer address replaces the older", sentence: DIAL, file: CONTRACT }, peers::newer_address),
    (
        Rule {
            name: "a banned peer stays away",
            sentence: "Close the connection, and do not take or dial the peer for this long.",
            file: CONTRACT,
        },
        peers::banned,
    ),
    (
        Rule {
            name: "it stops within two seconds",
            sentence: "Runs until [`TransportCommand::Stop`] or until the commands close; returns within two seconds then.",
            file: CONTRACT,
        },
        flow::stops,
    ),
    (
        Rule {
            name: "nothing is accepted before it runs",
            sentence: "Binds its sockets. Called on no runtime; nothing is accepted before `run`.",
            file: "plugin.rs",
        },
        addresses::nothing_before_run,
    ),
    (
        Rule {
            name: "it says where it listens",
            sentence: "Where it listens, resolved: port 0 is shown as the port that was given.",
            file: CONTRACT,
        },
        addresses::says_where,
    ),
    (
        Rule {
            name: "an address in use is an error",
            sentence: "Sockets bind when the plugin is made, so that an address in use is an error at start.",
            file: CONTRACT,
        },
        addresses::in_use,
    ),
    (
        Rule {
            name: "a development key stays on loopback",
            sentence: "Whether only loopback may be listened on, because the node's key is a well-known development key.",
            file: CONTRACT,
        },
        addresses::loopback_only,
    ),
    (
        Rule {
            name: "strangers disturb nobody",
            sentence: "Whoever connects and is no peer changes nothing for those who are, whatever bytes they send.",
            file: CONTRACT,
        },
        addresses::strangers,
    ),
    (common::NOTHING_LEFT, addresses::nothing_left),
];

pub(super) fn rules() -> Vec<Rule> {
    TABLE.iter().map(|(rule, _)| *rule).collect()
}
