//! Clients that submit to every node at a bounded rate, whatever happens to the nodes, and remember what they were told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::{Value, json};

use super::{Network, Random, Writer, eventually, is_final, rpc};

/// The pause between two submissions of one client.
const PAUSE: Duration = Duration::from_millis(40);

/// Transactions of one client that are waited for at most; it submits no more then.
const WAITING_MAX: usize = 64;

/// Receipts asked for between two submissions at most.
const ASKED_MAX: usize = 4;

/// Transactions by their ids.
type Sent = BTreeMap<String, String>;

/// Blocks by the ids of the transactions which were said to be final in them.
type Final = BTreeMap<String, Value>;

/// Running clients, one for each node.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(Sent, Final)>>,
}

/// What the clients were told until they stopped.
pub(crate) struct Settled {
    sent: Sent,
    told: Final,
}

impl Load {
    /// Starts clients for these nodes.
    pub(crate) fn start(network: &Network, nodes: &[usize], who: u8, random: &mut Random) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let urls: Vec<String> = nodes.iter().map(|at| network.rpc(*at).to_owned()).collect();
        let clients = (0u8..).zip(&urls).map(|(index, url)| {
            let mut client = Client {
                url: url.clone(),
                others: urls.clone(),
                writer: Writer::new(&network.genesis(), who + index),
                random: random.fork(),
                waiting: Vec::new(),
                sent: Sent::new(),
                told: Final::new(),
            };
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    client.submit();
                    client.ask();
                    std::thread::sleep(PAUSE);
                }
                (client.sent, client.told)
            })
        });
        Self { clients: clients.collect(), stop }
    }

    /// Stops the clients; panics with what one of them found wrong.
    pub(crate) fn stop(self) -> Settled {
        self.stop.store(true, Ordering::Relaxed);
        let (mut sent, mut told) = (Sent::new(), Final::new());
        for client in self.clients {
            let (more_sent, more_told) = client.join().unwrap();
            sent.extend(more_sent);
            told.extend(more_told);
        }
        Settled { sent, told }
    }
}

struct Client {
    url: String,
    others: Vec<String>,
    writer: Writer,
    random: Random,
    waiting: Vec<String>,
    sent: Sent,
    told: Final,
}

impl Client {
    fn submit(&mut self) {
        if self.waiting.len() >= WAITING_MAX {
            return;
        }
        let transaction = self.writer.next();
        // A node that is down, or dies before it answers, says nothing: then nothing is known of the transaction.
        let Some(answer) = rpc(&self.url, "quorate_submit", json!([transaction])) else { return };
        let id = answer["result"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        self.waiting.push(id.clone());
        self.sent.insert(id, transaction);
    }

    /// Asks any node about some that wait.
    fn ask(&mut self) {
        for _ in 0..ASKED_MAX.min(self.waiting.len()) {
            let at = self.random.below(self.waiting.len());
            let url = &self.others[self.random.below(self.others.len())];
            if let Some(receipt) = is_final(url, &self.waiting[at]) {
                let id = self.waiting.swap_remove(at);
                self.told.insert(id, receipt["block_hash"].clone());
            }
        }
    }
}

impl Settled {
    /// How many transactions were taken, and of how many it was said that they are final.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.sent.len(), self.told.len())
    }

    /// What was said to be final is final at each of these nodes, in the same block; and what was only taken, and then perhaps lost
    /// with a killed node's pool, becomes final when it is submitted again.
    pub(crate) fn check(&self, network: &Network, nodes: &[usize]) {
        for (id, transaction) in &self.sent {
            if self.told.contains_key(id) {
                continue;
            }
            let answer = rpc(network.rpc(nodes[0]), "quorate_submit", json!([transaction])).unwrap();
            assert_eq!(answer["result"], *id, "the same bytes have the same id: {answer}");
        }
        for id in self.sent.keys() {
            let blocks = nodes.iter().map(|at| {
                let what = format!("{id} is final at node {at}");
                eventually(&what, || is_final(network.rpc(*at), id))["block_hash"].clone()
            });
            let blocks: Vec<Value> = blocks.chain(self.told.get(id).cloned()).collect();
            assert!(blocks.windows(2).all(|pair| pair[0] == pair[1]), "{id} is in several blocks: {blocks:?}");
        }
    }
}
