//! `quorate status`: how nodes stand, in a table.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    exit::Failure,
    output,
    rpc::{Rpc, RpcError, block_on},
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate status
  quorate status --rpc http://127.0.0.1:8001 --rpc http://10.0.0.7:8001 --json

Exits with 1 when a node does not answer.";

/// The validators of a network with default ports.
const DEFAULT_RPC: [&str; 3] = ["http://127.0.0.1:8001", "http://127.0.0.1:8002", "http://127.0.0.1:8003"];

/// How long a node may take to tell its status.
const STATUS_WITHIN: Duration = Duration::from_secs(5);

/// Options of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// A node's RPC address; may be given more than once [default: ports 8001, 8002 and 8003 of this machine]
    #[arg(long, value_name = "URL")]
    pub rpc: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`], also when a node does not answer.
pub fn run(args: &StatusArgs) -> Result<(), Failure> {
    let urls: Vec<String> =
        if args.rpc.is_empty() { DEFAULT_RPC.map(str::to_owned).to_vec() } else { args.rpc.clone() };
    let nodes = urls.iter().map(|url| Rpc::new(url)).collect::<Result<Vec<_>, _>>()?;
    let answers = block_on(async {
        let asked: Vec<_> = nodes
            .iter()
            .cloned()
            .map(|node| tokio::spawn(async move { node.call_within(STATUS_WITHIN, "quorate_status", json!([])).await }))
            .collect();
        let mut answers = Vec::with_capacity(asked.len());
        for task in asked {
            answers.push(task.await.map_err(|error| Failure::failed(error.to_string()))?);
        }
        Ok(answers)
    })?;
    let silent = answers.iter().filter(|answer| answer.is_err()).count();
    if args.json {
        output::json(&as_json(&nodes, &answers))?;
    } else {
        output::line(&as_text(&nodes, &answers))?;
    }
    match silent {
        0 => Ok(()),
        _ => Err(Failure::failed(format!("{silent} of {} nodes did not answer", answers.len()))),
    }
}

fn as_json(nodes: &[Rpc], answers: &[Result<Value, RpcError>]) -> Value {
    let entries = nodes.iter().zip(answers).map(|(node, answer)| match answer {
        Ok(status) => json!({"rpc_url": node.url(), "status": status}),
        Err(error) => json!({"rpc_url": node.url(), "error": error.to_string()}),
    });
    entries.collect()
}

fn as_text(nodes: &[Rpc], answers: &[Result<Value, RpcError>]) -> String {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let heading = ["node", "role", "health", "height", "round", "last block", "peers", "pool", "address"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut notes = Vec::new();
    for (node, answer) in nodes.iter().zip(answers) {
        let status = match answer {
            Ok(status) => status,
            Err(error) => {
                let mut row = ["-", "-", "silent", "-", "-", "-", "-", "-"].map(str::to_owned).to_vec();
                row.push(node.url().to_owned());
                rows.push(row);
                notes.push(error.to_string());
                continue;
            }
        };
        let text = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
        let number = |path: &str| status.pointer(path).and_then(Value::as_u64);
        let peers = status.get("peers").and_then(Value::as_array);
        let connected = peers
            .map_or(0, |peers| peers.iter().filter(|peer| peer.get("connected") == Some(&Value::Bool(true))).count());
        let age = match (number("/height"), number("/time")) {
            (Some(1..), Some(time)) => {
                output::ago(u64::try_from(now_ms).unwrap_or(u64::MAX).saturating_sub(time)) + " ago"
            }
            _ => "-".to_owned(),
        };
        let shown = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        rows.push(vec![
            text("name"),
            text("role"),
            text("status"),
            shown(number("/height")),
            shown(number("/engine/round")),
            age,
            connected.to_string(),
            shown(number("/pool/count")),
            node.url().to_owned(),
        ]);
        if let Some(from) = number("/blocks_from").filter(|from| *from > 1) {
            notes.push(format!("{}: has the blocks from {from} on", text("name")));
        }
        if let Some(detail) = status.get("detail").and_then(Value::as_str) {
            notes.push(format!("{}: {detail}", text("name")));
        }
    }
    let mut shown = output::table(&rows);
    for note in notes {
        shown += &format!("\n{note}");
    }
    shown
}
