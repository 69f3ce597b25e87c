//! How a world comes about: keys, links, faults, and who is dishonest in which way.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_zebra::SigningKey;
use quorate::{
    ChainId, Hash, Height, PublicKey, Settings, Timestamp, Validator, ValidatorSet,
    consensus::{Context, Tip},
    signature::Memo,
};

use super::{
    actor::{Actor, Memory},
    adversary::Puppet,
    checks::Checks,
    ledger::{Chain, PLAIN_BYTES, Rules},
    plan,
    record::{Coverage, Trace},
    rng::Rng,
    scenario::{Scenario, Strategy},
    signer::{self, SimSigner},
    world::{GENESIS_MS, Setup, World},
};

/// The context from which engines of a scenario are made.
///
/// # Errors
///
/// When its validators are none.
pub fn context(scenario: &Scenario) -> Result<Context, String> {
    let names = scenario.validators + scenario.standby;
    let members = members(names);
    let validators = ValidatorSet::new(members.into_iter().take(scenario.validators).collect())
        .map_err(|error| error.to_string())?;
    Ok(Context {
        chain_id: ChainId::new([9; 32]),
        validators,
        shared: Settings::from_text(&scenario.settings),
        settings: Settings::from_text(""),
        seed: 0,
    })
}

fn members(count: usize) -> Vec<Validator> {
    (0..count)
        .map(|node| Validator { name: format!("node-{node}"), public_key: signer::public_key(&signer::key_of(node)) })
        .collect()
}

pub(crate) fn draw_corrupt(scenario: &Scenario, rng: &mut Rng) -> BTreeSet<usize> {
    if let Some(fixed) = &scenario.byzantine_are {
        return fixed.iter().copied().take(scenario.byzantine).collect();
    }
    let mut all: Vec<usize> = (0..scenario.validators).collect();
    rng.shuffle(&mut all);
    all.into_iter().take(scenario.byzantine).collect()
}

impl World {
    pub(crate) fn new(setup: Setup<'_>, seed: u64) -> Result<Self, String> {
        let scenario = setup.scenario.clone();
        let nodes = scenario.validators + scenario.standby;
        let base = Rng::new(seed).fork(0x51);
        let mut rng = base.fork(1);
        let context = context(&scenario)?;
        let proof = setup.engines.proof(&context).map_err(|error| error.to_string())?;
        let keys: Vec<SigningKey> = (0..nodes).map(signer::key_of).collect();
        let public: Vec<PublicKey> = keys.iter().map(signer::public_key).collect();
        let corrupt = draw_corrupt(&scenario, &mut rng);
        let honest: Vec<usize> = (0..nodes).filter(|node| !corrupt.contains(node)).collect();
        let faults = setup.faults.unwrap_or_else(|| plan::draw(&scenario, &honest, &mut base.fork(2)));
        let genesis =
            Tip { height: Height::GENESIS, hash: Hash::new(*context.chain_id.as_bytes()), time: Timestamp(GENESIS_MS) };
        let chain = Chain::new(genesis, context.validators.clone());
        let rules = Rules {
            chain_id: context.chain_id,
            members: members(nodes),
            fewest: scenario.validators,
            transaction_bytes: PLAIN_BYTES,
        };
        let mut world = Self {
            rules,
            proof,
            by_key: public.iter().enumerate().map(|(node, key)| (*key, node)).collect(),
            base: base.fork(4),
            drawn: BTreeMap::new(),
            memo: Memo::start(),
            actors: Vec::new(),
            actors_of: vec![Vec::new(); nodes],
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            adversary_rng: base.fork(3),
            checks: Checks::new(&scenario, setup.kinds, corrupt),
            inspector: setup.inspector,
            adversary: setup.adversary,
            kinds: setup.kinds,
            coverage: Coverage::default(),
            trace: Trace::new(setup.told),
            violation: None,
            faults,
            cut: BTreeMap::new(),
            links: BTreeMap::new(),
            in_order: base.fork(5).chance(scenario.network.in_order_permille),
            status: base.fork(6).chance(scenario.kernel.status_permille),
            last_on_link: BTreeMap::new(),
            submitted: Vec::new(),
            healed: false,
            target: u64::MAX,
            done: false,
            steps: 0,
            meter: None,
            rng,
            keys,
            public,
            scenario,
        };
        world.links = world.draw_links();
        world.make_actors(&chain, &base);
        Ok(world)
    }

    fn make_actors(&mut self, chain: &Chain, base: &Rng) {
        let nodes = self.nodes();
        for node in 0..nodes {
            let honest = !self.checks.corrupt.contains(&node);
            if honest {
                self.add_actor(node, chain, None, u64::MAX, String::new());
                continue;
            }
            if self.adversary.is_some() {
                continue;
            }
            let mut rng = base.fork(0x100 + node as u64);
            let strategy = rng.pick(&self.scenario.strategies).copied().unwrap_or(Strategy::Silent);
            let seed = rng.fork(1);
            let puppet = |salt: u64| Puppet::draw(strategy, nodes, seed.fork(salt));
            match strategy {
                Strategy::Twins | Strategy::PuppetTwins => {
                    // Every node is on one side; a few are on both.
                    let side = rng.next_u64();
                    let both = rng.next_u64() & rng.next_u64() & rng.next_u64();
                    let (first, second) = (puppet(1), puppet(2));
                    self.add_actor(node, chain, Some(first), side | both, "a".into());
                    self.add_actor(node, chain, Some(second), !side | both, "b".into());
                }
                _ => {
                    let puppet = puppet(1);
                    self.add_actor(node, chain, Some(puppet), u64::MAX, String::new());
                }
            }
            self.coverage.met(match strategy {
                Strategy::Silent => "validators silent",
                Strategy::Twins => "validators twinned",
                Strategy::Puppet => "validators as puppets",
                Strategy::PuppetTwins => "validators twinned as puppets",
                Strategy::Amnesiac => "validators amnesiac",
            });
        }
    }

    fn add_actor(&mut self, node: usize, chain: &Chain, puppet: Option<Puppet>, side: u64, suffix: String) {
        let skew = i64::try_from(self.rng.below(self.scenario.network.skew_max_ms + 1)).unwrap_or(0);
        let Some(key) = self.keys.get(node).copied() else { return };
        let at = self.actors.len();
        if let Some(list) = self.actors_of.get_mut(node) {
            list.push(at);
        }
        self.actors.push(Actor {
            node,
            name: format!("{}{node}{suffix}", if puppet.is_some() { "byz" } else { "node" }),
            honest: puppet.is_none(),
            clock_permille: puppet.as_ref().map_or(1000, |puppet| puppet.clock_permille),
            signer: SimSigner::new(key, self.scenario.signer),
            puppet,
            side,
            life: 0,
            origin: self.rng.below(1 << 40),
            skew_ms: skew,
            up_since_us: 0,
            up_us: 0,
            sent: 0,
            armed: None,
            armed_suspend: None,
            chain: chain.clone(),
            saved: None,
            memory: Memory::default(),
        });
    }
}
