//! Writes a few keys, in a program without a runtime.
//!
//! ```text
//! cargo run -p quorate-client --example blocking -- genesis.toml http://127.0.0.1:8001 http://127.0.0.1:8002 http://127.0.0.1:8003
//! ```
//!
//! Genesis has the consensus `poa` and the application `kv`.

use std::{error::Error, sync::Arc, time::Duration};

use quorate::{
    Genesis, Settings as Table,
    consensus::Context,
    plugin::{ApplicationPlugin as _, ConsensusPlugin as _, SetupError},
    service::Rules,
};
use quorate_client::{Endpoint, Settings, blocking::Client};
use quorate_kv::{KvPlugin, Put};
use quorate_poa::PoaPlugin;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give the path of genesis and the validators' URLs")?;
    let genesis = Genesis::parse(&path, &std::fs::read_to_string(&path)?).map_err(SetupError::from)?;
    let chain_id = genesis.chain_id();
    let rules = Rules {
        finality: PoaPlugin.proof(&Context::of(&genesis))?,
        application: KvPlugin.build(chain_id, &genesis.application_settings(), &Table::from_text(""))?,
        genesis: Arc::new(genesis),
    };
    let validators = arguments.enumerate().map(|(at, url)| Endpoint::new(format!("validator-{}", at + 1), url));
    let client = Client::new(Settings::of(validators), rules)?;

    // A new signer, whose writes are numbered from 0.
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    for (nonce, colour) in (0u64..).zip(["red", "green", "blue"]) {
        let accepted = client.submit(Put::sign(&seed, &chain_id, nonce, b"colour", colour.as_bytes()))?;
        let receipt = client.wait_for_confirmation(&accepted.id, Duration::from_secs(60))?;
        println!("{colour}: {} is final in block {}", accepted.id, receipt.header.height);
    }

    let state = client.chain_state()?;
    let agree = if state.agree { "agree" } else { "do not agree" };
    println!("{} validators answer, and {agree}", state.heads.len());
    Ok(())
}
