//! Submits a signed write to a network of validators, waits until it is final, and shows what proves it.
//!
//! ```text
//! cargo run -p quorate-client --example submit_and_verify -- genesis.toml http://127.0.0.1:8001 http://127.0.0.1:8002 http://127.0.0.1:8003
//! ```
//!
//! Genesis is all that it trusts: its consensus is `poa` or `solo`, its application `kv`. Stop validators while it runs: as long as a quorum
//! of them makes blocks and one that knows them answers, it ends with a receipt.

use std::{error::Error, sync::Arc, time::Duration};

use quorate::{
    FinalityProof, Genesis, Settings as Table,
    consensus::Context,
    plugin::{ApplicationPlugin as _, ConsensusPlugin as _, SetupError},
    service::Rules,
};
use quorate_client::{Client, Endpoint, Settings};
use quorate_kv::{KvPlugin, Put};
use quorate_poa::PoaPlugin;
use quorate_solo::SoloPlugin;

/// How long a transaction may take to become final.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the network's genesis says of its rules.
fn rules(path: &str) -> Result<Rules, Box<dyn Error>> {
    let genesis = Genesis::parse(path, &std::fs::read_to_string(path)?).map_err(SetupError::from)?;
    let context = Context::of(&genesis);
    let finality: Arc<dyn FinalityProof> = match genesis.consensus_plugin() {
        "poa" => PoaPlugin.proof(&context)?,
        "solo" => SoloPlugin.proof(&context)?,
        other => return Err(format!("consensus `{other}`: this example knows poa and solo").into()),
    };
    if genesis.application_plugin() != "kv" {
        return Err(format!("application `{}`: this example writes to kv", genesis.application_plugin()).into());
    }
    let application = KvPlugin.build(genesis.chain_id(), &genesis.application_settings(), &Table::from_text(""))?;
    Ok(Rules { genesis: Arc::new(genesis), finality, application })
}

/// A new signer: its first write has number 0.
fn seed() -> Result<[u8; 32], Box<dyn Error>> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    Ok(seed)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let genesis = arguments.next().ok_or("give the path of genesis and the validators' URLs")?;
    let rules = rules(&genesis)?;
    let validators = arguments.enumerate().map(|(at, url)| Endpoint::new(format!("validator-{}", at + 1), url));
    let client = Client::new(Settings::of(validators), rules)?;

    for one in client.refresh_validator_status().await {
        let reason = one.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        println!("{} is {:?}{reason}", one.node_id, one.status);
    }
    let watch = client.clone();
    let _watch = tokio::spawn(async move { watch.watch().await });

    let chain_id = client.rules().genesis.chain_id();
    let accepted = client.submit(Put::sign(&seed()?, &chain_id, 0, b"greeting", b"hello")).await?;
    println!("{} is pending at {}", accepted.id, accepted.validator);

    let receipt = client.wait_for_confirmation(&accepted.id, PATIENCE).await?;
    let signatures = client.rules().finality.certificate(&receipt.proof)?.signatures.len();
    let validators = receipt.validators.len();
    println!("final in block {} ({}): {signatures} of {validators} signed", receipt.header.height, receipt.block_hash);

    let integrity = client.verify_integrity().await?;
    match integrity.problem {
        Some(problem) => println!("{}: its chain is wrong: {problem}", integrity.validator),
        None => println!("{}: all {} blocks up to there are final", integrity.validator, integrity.height),
    }
    for disagreement in client.disagreements() {
        println!("{disagreement:?}");
    }
    Ok(())
}
