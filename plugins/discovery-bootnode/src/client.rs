//! Discovery through bootnodes: registers this node, and tells the kernel of others.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use quorate::{
    Discovery, PublicKey, Settings,
    diagnostics::Diagnostic,
    discovery::{DiscoveryCommand, DiscoveryContext, DiscoveryError, DiscoveryEvent},
    plugin::{Descriptor, DiscoveryPlugin, SetupError},
    transport::Io,
};
use serde::Deserialize;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    VERSION,
    fixed::{Peer, checked, stopped},
    http::Endpoint,
    record::{PEER_SCHEME, Place, peer_address},
    source::{Report, Sequence, Source},
};

/// Bootnodes that a node may use at most.
pub const URLS_MAX: usize = 8;

/// Peers whose latest sequence is remembered at most, so that an older record does not replace a newer.
pub const PEERS_KNOWN_MAX: usize = 1024;

/// Reports that may wait.
const REPORTS_MAX: usize = 16;

const EXAMPLE: &str = r#"# The bootnode. A node that started without it keeps trying; nodes that know each other go on without it.
url = "http://127.0.0.1:8546"
# Several, instead of `url`: any one that answers is enough.
# urls = ["http://192.0.2.1:8546", "http://192.0.2.2:8546"]
# Seconds between two rounds of saying that this node is there and asking for others: 1 to 120. The first ones are shorter.
refresh_s = 30

# Peers which are known without a bootnode; what a bootnode says of them later is newer. Such as
# { name = "validator-2", public_key = "0x...", address = "192.0.2.2:30303" }.
peer = []
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientSettings {
    url: Option<String>,
    urls: Option<Vec<String>>,
    #[serde(default = "refresh_s")]
    refresh_s: u64,
    #[serde(default)]
    peer: Vec<Peer>,
}

/// What the settings say.
#[derive(Debug)]
struct Bootnodes {
    /// Each bootnode's URL, as written and taken apart.
    endpoints: Vec<(String, Endpoint)>,
    refresh: Duration,
    /// Peers which are known without them.
    peers: Vec<Peer>,
}

fn refresh_s() -> u64 {
    30
}

fn read(settings: &Settings) -> Result<Bootnodes, Vec<Diagnostic>> {
    let read: ClientSettings = settings.parse()?;
    let mut errors = Vec::new();
    let (key, urls) = match (read.url, read.urls) {
        (Some(url), None) => ("url", vec![url]),
        (None, Some(urls)) => ("urls", urls),
        (Some(_), Some(_)) => return Err(vec![settings.error("urls", "`url` and `urls` are both given; use one")]),
        (None, None) => {
            return Err(vec![settings.error("url", "missing key `url` in [discovery]: where is the bootnode?")]);
        }
    };
    if urls.is_empty() || urls.len() > URLS_MAX {
        errors.push(settings.error(key, format!("{} bootnodes; there must be 1 to {URLS_MAX}", urls.len())));
    }
    let mut endpoints = Vec::new();
    for url in urls {
        match Endpoint::parse(&url) {
            Ok(endpoint) => endpoints.push((url, endpoint)),
            Err(error) => errors.push(settings.error(key, error.to_string())),
        }
    }
    if !(1..=120).contains(&read.refresh_s) {
        errors.push(settings.error("refresh_s", format!("refresh_s is {}; it must be 1 to 120", read.refresh_s)));
    }
    let peers = checked(settings, read.peer).unwrap_or_else(|found| {
        errors.extend(found);
        Vec::new()
    });
    let refresh = Duration::from_secs(read.refresh_s);
    if errors.is_empty() { Ok(Bootnodes { endpoints, refresh, peers }) } else { Err(errors) }
}

/// The discovery `bootnode`: signed records at one or more bootnodes.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootnodeDiscoveryPlugin;

impl DiscoveryPlugin for BootnodeDiscoveryPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("bootnode", VERSION, "signed records at a bootnode, which is trusted with nothing")
            .with_example(EXAMPLE)
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        read(settings)?;
        Ok(())
    }

    fn build(&self, settings: &Settings, context: DiscoveryContext) -> Result<Box<dyn Discovery>, SetupError> {
        let Bootnodes { endpoints, refresh, mut peers } = read(settings)?;
        let own = context.identity.public_key();
        peers.retain(|peer| peer.public_key != own);
        let place = peer_address(&context.peer_address).map(|address| Place {
            node_id: context.name.clone(),
            p2p_url: format!("{PEER_SCHEME}{address}"),
            rpc_url: context.rpc_url.clone(),
            chain_id: Some(context.chain_id),
        });
        let sequence = Arc::new(Sequence::default());
        let sources = endpoints.into_iter().enumerate().map(|(index, (url, endpoint))| Source {
            index,
            url,
            endpoint,
            chain_id: context.chain_id,
            place: place.clone(),
            identity: Arc::clone(&context.identity),
            sequence: Arc::clone(&sequence),
            refresh,
            known: BTreeMap::new(),
            registered: false,
        });
        Ok(Box::new(BootnodeDiscovery { sources: sources.collect(), peers }))
    }
}

struct BootnodeDiscovery {
    sources: Vec<Source>,
    peers: Vec<Peer>,
}

#[quorate::async_trait]
impl Discovery for BootnodeDiscovery {
    async fn run(self: Box<Self>, mut io: Io<DiscoveryCommand, DiscoveryEvent>) -> Result<(), DiscoveryError> {
        let (reports, mut inbox) = mpsc::channel(REPORTS_MAX);
        let mut view = View::new(self.sources.len());
        // Dropping the set ends the sources.
        let mut sources = JoinSet::new();
        for source in self.sources {
            sources.spawn(source.run(reports.clone()));
        }
        drop(reports);
        let peers = self.peers;
        let tell = async {
            for peer in peers {
                if io.events.send(peer.into()).await.is_err() {
                    return Ok(());
                }
            }
            while let Some(report) = inbox.recv().await {
                for event in view.take(report) {
                    if io.events.send(event).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Err(DiscoveryError("every source ended".into()))
        };
        tokio::select! {
            ended = tell => ended,
            () = stopped(&mut io.commands) => Ok(()),
        }
    }
}

/// What all sources together say: reports in, events out.
struct View {
    states: Vec<Option<(bool, String)>>,
    told: Option<(bool, String)>,
    /// The latest sequence of each peer, at most [`PEERS_KNOWN_MAX`].
    latest: BTreeMap<PublicKey, u64>,
}

impl View {
    fn new(sources: usize) -> Self {
        Self { states: vec![None; sources], told: None, latest: BTreeMap::new() }
    }

    fn take(&mut self, report: Report) -> Vec<DiscoveryEvent> {
        let mut events = Vec::new();
        if let Some(state) = self.states.get_mut(report.source) {
            *state = Some((report.reachable, report.detail));
        }
        let known = self.states.iter().flatten();
        let reachable = known.clone().any(|(reachable, _)| *reachable);
        let detail = known.map(|(_, detail)| detail.as_str()).collect::<Vec<_>>().join("; ");
        let now = Some((reachable, detail.clone()));
        if self.told != now {
            self.told = now;
            events.push(DiscoveryEvent::Source { reachable, detail });
        }
        for (record, address) in report.records {
            let key = record.public_key;
            if self.latest.get(&key).is_some_and(|latest| record.sequence <= *latest) {
                continue;
            }
            if self.latest.len() >= PEERS_KNOWN_MAX && !self.latest.contains_key(&key) {
                let oldest = self.latest.iter().min_by_key(|(_, sequence)| **sequence).map(|(key, _)| *key);
                if let Some(oldest) = oldest {
                    self.latest.remove(&oldest);
                }
            }
            self.latest.insert(key, record.sequence);
            events.push(DiscoveryEvent::Found { peer: key.into(), name: record.node_id, address });
        }
        events.extend(report.elsewhere.into_iter().map(|(record, address)| DiscoveryEvent::Elsewhere {
            peer: record.public_key.into(),
            address,
            chain_id: record.chain_id,
        }));
        events
    }
}

#[cfg(test)]
mod tests {
    use quorate::Signature;

    use super::*;
    use crate::record::Record;

    fn record(key: u8, sequence: u64) -> (Record, String) {
        let record = Record {
            node_id: format!("n{key}"),
            public_key: PublicKey::new([key; 32]),
            p2p_url: "h:1".into(),
            rpc_url: String::new(),
            chain_id: None,
            sequence,
            signature: Signature::new([0; 64]),
        };
        (record, format!("h:{sequence}"))
    }

    fn report(source: usize, reachable: bool, records: Vec<(Record, String)>) -> Report {
        Report { source, reachable, detail: format!("source {source} {reachable}"), records, elsewhere: vec![] }
    }

    fn found(events: &[DiscoveryEvent]) -> Vec<&str> {
        events
            .iter()
            .filter_map(|event| match event {
                DiscoveryEvent::Found { address, .. } => Some(address.as_str()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn an_older_record_from_another_bootnode_does_not_replace_a_newer() {
        let mut view = View::new(2);
        assert_eq!(found(&view.take(report(0, true, vec![record(1, 5)]))), ["h:5"]);
        assert_eq!(found(&view.take(report(1, true, vec![record(1, 4), record(1, 5)]))), [""; 0]);
        assert_eq!(found(&view.take(report(1, true, vec![record(1, 6)]))), ["h:6"]);
    }

    #[test]
    fn one_reachable_source_is_enough_and_only_changes_are_told() {
        let mut view = View::new(2);
        let reachable = |events: Vec<DiscoveryEvent>| match events.first() {
            Some(DiscoveryEvent::Source { reachable, .. }) => Some(*reachable),
            _ => None,
        };
        assert_eq!(reachable(view.take(report(0, false, vec![]))), Some(false));
        assert_eq!(reachable(view.take(report(1, true, vec![]))), Some(true));
        assert_eq!(reachable(view.take(report(1, true, vec![]))), None);
        assert_eq!(reachable(view.take(report(1, false, vec![]))), Some(false));
    }

    #[test]
    fn settings_are_checked_all_at_once() {
        let errors = read(&Settings::from_text("url = \"ftp://x\"\nrefresh_s = 0\n")).unwrap_err();
        let lines: Vec<_> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [1, 2], "{errors:?}");
        assert!(read(&Settings::from_text("")).unwrap_err()[0].message.contains("missing key `url`"));
        assert!(read(&Settings::from_text(EXAMPLE)).is_ok());
    }
}
