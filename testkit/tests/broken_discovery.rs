//! Each rule of the Discovery slot catches a discovery that breaks it: the one by a bootnode, with one mistake at a time.

mod broken;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use broken::{assert_all_proven, catches, try_all};
use quorate::{
    ChainId, Discovery, PeerId, Settings,
    discovery::{DiscoveryCommand, DiscoveryContext, DiscoveryError, DiscoveryEvent},
    plugin::{Descriptor, DiscoveryPlugin, SetupError},
    transport::Io,
};
use quorate_discovery_bootnode::{BootnodeDiscoveryPlugin, RegistryServicePlugin};
use quorate_testkit::conformance;
use tokio::sync::mpsc;

/// One mistake of a discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    NamedBadly,
    BadExample,
    TakesAnyKey,
    FindsNobody,
    AnyNetwork,
    GivesUp,
    GivesUpLater,
    TellsNothing,
    Invents,
    StopsSlowly,
    OneForAll,
    LeavesThreads,
}

const BUGS: &[(Bug, &str)] = &[
    (Bug::NamedBadly, "the descriptor says who it is"),
    (Bug::BadExample, "the example of its settings parses"),
    (Bug::TakesAnyKey, "an unknown key is refused with its place"),
    (Bug::FindsNobody, "it finds a node"),
    (Bug::AnyNetwork, "nodes of another network are not found"),
    (Bug::GivesUp, "a source that is down at start is tried again"),
    (Bug::GivesUpLater, "a source that comes back is asked again"),
    (Bug::TellsNothing, "it tells how its source stands"),
    (Bug::Invents, "a lying source neither ends nor misleads it"),
    (Bug::StopsSlowly, "it stops within two seconds"),
    (Bug::OneForAll, "two discoveries share nothing"),
    (Bug::LeavesThreads, "made and dropped a hundred times leaves nothing"),
];

const SETTINGS: &str = "url = \"http://{source}\"\nrefresh_s = 1\n";

#[test]
fn every_rule_catches_a_discovery_that_breaks_it() {
    let registry = RegistryServicePlugin::default();
    try_all(BUGS, |bug, rule| {
        let plugin = WrongPlugin(bug);
        let suite = conformance::discovery(&plugin, SETTINGS).source(&registry, "listen = \"{listen}\"\n");
        catches(&suite.suite(), rule);
    });
    assert_all_proven("discovery", BUGS.iter().map(|(_, rule)| *rule));
}

struct WrongPlugin(Bug);

impl DiscoveryPlugin for WrongPlugin {
    fn descriptor(&self) -> Descriptor {
        let mut descriptor = BootnodeDiscoveryPlugin.descriptor();
        if self.0 == Bug::NamedBadly {
            descriptor.name = "";
        }
        if self.0 == Bug::BadExample {
            descriptor.example = "# Where to ask.\nurls = 7\n";
        }
        descriptor
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        // With a sentence, but without the place.
        BootnodeDiscoveryPlugin.check(settings).map_err(|error| match self.0 {
            Bug::TakesAnyKey => SetupError::Other("something is wrong with the settings".into()),
            _ => error,
        })
    }

    fn build(&self, settings: &Settings, mut context: DiscoveryContext) -> Result<Box<dyn Discovery>, SetupError> {
        if self.0 == Bug::AnyNetwork {
            context.chain_id = ChainId::new([0; 32]);
        }
        if self.0 == Bug::LeavesThreads {
            std::thread::spawn(|| std::thread::sleep(Duration::from_secs(60)));
        }
        Ok(Box::new(Wrong { bug: self.0, inner: BootnodeDiscoveryPlugin.build(settings, context)? }))
    }
}

static FOUND: Mutex<Vec<DiscoveryEvent>> = Mutex::new(Vec::new());

struct Wrong {
    bug: Bug,
    inner: Box<dyn Discovery>,
}

#[quorate::async_trait]
impl Discovery for Wrong {
    async fn run(self: Box<Self>, io: Io<DiscoveryCommand, DiscoveryEvent>) -> Result<(), DiscoveryError> {
        let Io { commands, events } = io;
        let (to_us, inner_events) = mpsc::channel(16);
        let running = self.inner.run(Io { commands, events: to_us });
        let ended = tokio::select! {
            ended = running => ended,
            () = forward(self.bug, inner_events, events) => Err(DiscoveryError("it gave up".into())),
        };
        if self.bug == Bug::StopsSlowly {
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
        ended
    }
}

/// Events on their way to the kernel; returns to give up.
async fn forward(bug: Bug, mut from: mpsc::Receiver<DiscoveryEvent>, to: mpsc::Sender<DiscoveryEvent>) {
    let mut reached = false;
    while let Some(event) = from.recv().await {
        let mut events = vec![event.clone()];
        match (bug, &event) {
            (Bug::FindsNobody, DiscoveryEvent::Found { .. }) | (Bug::TellsNothing, DiscoveryEvent::Source { .. }) => {
                events.clear();
            }
            (Bug::OneForAll, DiscoveryEvent::Found { .. }) => {
                let mut all = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(event);
                events.clone_from(&all);
            }
            (Bug::GivesUp, DiscoveryEvent::Source { reachable: false, .. }) => return,
            (Bug::GivesUpLater, DiscoveryEvent::Source { reachable: false, .. }) if reached => return,
            (Bug::Invents, DiscoveryEvent::Source { reachable: false, .. }) => {
                let (name, address) = ("nobody".into(), "127.0.0.1:1".into());
                events.push(DiscoveryEvent::Found { peer: PeerId::new([7; 32]), name, address });
            }
            (_, DiscoveryEvent::Source { reachable, .. }) => reached |= reachable,
            _ => {}
        }
        for event in events {
            if to.send(event).await.is_err() {
                return;
            }
        }
    }
    std::future::pending().await
}
