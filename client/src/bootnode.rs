//! Validators that a bootnode knows. A record counts only when its key is one of genesis' validators; what a lying bootnode can
//! do is to name addresses where nobody, or a liar, answers: that costs attempts, as every answer is verified.

use std::time::Duration;

use quorate::{PublicKey, service::Rules};
use serde::Deserialize;

use crate::{
    http::{Http, NoAnswer},
    settings::{Endpoint, url},
};

#[derive(Deserialize)]
struct Peers {
    peers: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    node_id: String,
    public_key: PublicKey,
    #[serde(default)]
    p2p_url: String,
    #[serde(default)]
    rpc_url: String,
}

pub(crate) async fn validators(
    http: &Http,
    bootnode: &str,
    rules: &Rules,
    within: Duration,
) -> Result<Vec<Endpoint>, NoAnswer> {
    let wrong = |error: &dyn std::fmt::Display| NoAnswer::nonsense(error.to_string());
    let uri = url(&format!("{}/peers", bootnode.trim_end_matches('/'))).map_err(|error| wrong(&error))?;
    let answer = http.get(&uri, within).await?;
    let Peers { peers } = serde_json::from_slice(&answer).map_err(|error| wrong(&error))?;
    let of_genesis = |key: &PublicKey| rules.genesis.validators().index_of(key).is_some();
    let found = peers.into_iter().filter(|peer| of_genesis(&peer.public_key) && url(&peer.rpc_url).is_ok());
    Ok(found
        .map(|peer| {
            // The name that genesis has for the key, not what the record says.
            let known = rules.genesis.validators().iter().find(|(_, one)| one.public_key == peer.public_key);
            Endpoint {
                name: known.map_or(peer.node_id, |(_, one)| one.name.clone()),
                rpc_url: peer.rpc_url,
                p2p_url: Some(peer.p2p_url).filter(|url| !url.is_empty()),
            }
        })
        .collect())
}
