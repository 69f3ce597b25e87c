//! The text of each node's TOML file, every key commented.

use quorate_kernel::prune::KEEP_BLOCKS_MIN;

use crate::network::{ConsensusChoice, FromLibrary, Member, Plan, genesis_file::quoted};

/// Where editors find the schema, beside the files.
pub(super) const SCHEMA_FILE: &str = "node.schema.json";

fn head(plan: &Plan, what: &str, name: &str, role: &str, role_comment: &str) -> String {
    format!(
        r#"#:schema ./{SCHEMA_FILE}
# {what}
# Run it: `quorate run --config {name}.toml`; check it: `quorate check --config {name}.toml`.
# Paths are relative to this file. What is not set has a default; see it all: `quorate config show --config {name}.toml`.
# One value may be replaced from outside: QUORATE__TRANSPORT__RPC_LISTEN=127.0.0.1:9001.

[node]
# The node's name, for people: in logs, status and other nodes' lists of peers.
name = {name_quoted}
# {role_comment}
role = "{role}"
# What all nodes of the network agree on; must be the same file everywhere.
genesis = "genesis.toml"
# The node's private key (mode 0600). Its guard, which never lets it sign twice differently and keeps what it is bound to, lies beside it as {name}.guard:
# move the two only together, and never run one key on two machines.
key_file = "keys/{name}.key"
# Where the node keeps what it must not lose.
data_dir = "data/{name}"
# The operator's secret, which operator-only requests such as `quorate backup` must carry.
{token}admin_token_file = "admin.token"
"#,
        name_quoted = quoted(name),
        // There is no secret in files that everybody has.
        token = if plan.admin_token { "" } else { "# " },
    )
}

/// The line which names the library of a plugin, if it comes from one.
fn library(key: &str, from: Option<&FromLibrary>) -> String {
    from.map(|from| format!("{key} = {}\n", quoted(&from.library.display().to_string()))).unwrap_or_default()
}

/// The library of the consensus that genesis names.
fn consensus_library(plan: &Plan) -> Option<&FromLibrary> {
    match &plan.chosen.consensus {
        ConsensusChoice::Library(from) => Some(from),
        ConsensusChoice::Poa | ConsensusChoice::BftTendermint => None,
    }
}

/// What stands under `[storage]`.
fn storage(plan: &Plan) -> String {
    let chosen = &plan.chosen.storage;
    let example = chosen.from.as_ref().map(|from| from.example.trim_end()).filter(|example| !example.is_empty());
    let library = library("library", chosen.from.as_ref());
    format!(
        "plugin = {}\n{library}{}",
        quoted(&chosen.plugin),
        example.map(|text| format!("{text}\n")).unwrap_or_default()
    )
}

/// Peers which a node knows without the bootnode.
fn known_peers(plan: &Plan) -> String {
    let peers = plan.validators.iter().zip(0u16..).map(|(member, index)| {
        let (name, key, port) = (quoted(&member.name), member.public_key, plan.ports.peer(index));
        format!("    {{ name = {name}, public_key = \"{key}\", address = \"127.0.0.1:{port}\" }},\n")
    });
    format!(
        "# The validators' keys and addresses: they are found without the bootnode too.\npeer = [\n{}]\n",
        peers.collect::<String>()
    )
}

fn slots(
    plan: &Plan,
    consensus: &str,
    consensus_comment: &str,
    (rpc_port, peer_port): (u16, u16),
    known_peers: &str,
) -> String {
    format!(
        r#"
# {consensus_comment}
[consensus]
{consensus}
# Where the chain is kept: in data_dir.
[storage]
{storage}
# How peers and clients reach this node.
[transport]
plugin = "http"
# Where clients ask: JSON-RPC, WebSocket, /health, /metrics.
rpc_listen = "127.0.0.1:{rpc_port}"
# Where peers connect, over TLS with both nodes' keys.
peer_listen = "127.0.0.1:{peer_port}"

# How peers are found.
[discovery]
plugin = "bootnode"
# The bootnode's address. A node that started without it keeps trying; nodes that know each other go on without it.
url = "http://127.0.0.1:{bootnode_port}"
{known_peers}
# What the chain is for: the plugin that genesis names. Its shared settings stand there.
[application]
plugin = {application}
{application_library}"#,
        storage = storage(plan),
        bootnode_port = plan.ports.bootnode(),
        application = quoted(&plan.chosen.application.plugin),
        application_library = library("library", plan.chosen.application.from.as_ref()),
    )
}

/// Renders the file of validator `index`, from 0.
pub fn validator(plan: &Plan, index: u16, member: &Member) -> String {
    let count = plan.validators.len();
    let what =
        format!("{}: validator {} of {count}. It makes blocks in its turn and votes on all.", member.name, index + 1);
    let role = "validator: votes with its key, which genesis lists.";
    let mut text = head(plan, &what, &member.name, "validator", role);
    text.push_str(&format!(
        "# How many of the last blocks are kept, {KEEP_BLOCKS_MIN} at least. Without it all: some node must keep all, for audits and for new nodes.\n\
         # keep_blocks = 100000\n"
    ));
    let comment = "The plugin that genesis names. What all nodes must agree on stands there, not here.";
    let consensus =
        format!("plugin = {}\n{}", quoted(plan.chosen.consensus.as_str()), library("library", consensus_library(plan)));
    text.push_str(&slots(plan, &consensus, comment, (plan.ports.rpc(index), plan.ports.peer(index)), ""));
    text
}

/// Renders the backend's file: a node that verifies every block, and the gateway for voters beside it.
pub fn backend(plan: &Plan) -> String {
    let role = "follower: checks everything, signs nothing.";
    let comment = "Only verifies what genesis' plugin decides.";
    let consensus = format!("plugin = \"follower\"\n{}", library("proof_library", consensus_library(plan)));
    if !plan.chosen.is_voting() {
        let what = "backend: verifies every block from genesis on and answers clients; it has no vote.";
        let mut text = head(plan, what, "backend", "follower", role);
        text.push_str(&slots(plan, &consensus, comment, (plan.ports.gateway(), plan.ports.gateway_peer()), ""));
        return text;
    }
    let what = "backend: takes votes over HTTP and forwards them to the validators, and verifies every block from genesis on; it has no vote.";
    let mut text = head(plan, what, "backend", "follower", role);
    let (rpc, peer) = (plan.ports.gateway_rpc(), plan.ports.gateway_peer());
    text.push_str(&slots(plan, &consensus, comment, (rpc, peer), &known_peers(plan)));
    text.push_str(&gateway(plan));
    text
}

/// The gateway's table.
fn gateway(plan: &Plan) -> String {
    let validators = plan.validators.iter().zip(0u16..).map(|(member, index)| {
        let (name, rpc, peer) = (quoted(&member.name), plan.ports.rpc(index), plan.ports.peer(index));
        format!(
            "    {{ name = {name}, rpc_url = \"http://127.0.0.1:{rpc}\", p2p_url = \"tcp://127.0.0.1:{peer}\" }},\n"
        )
    });
    format!(
        r#"
# Takes votes over HTTP, holds them until they are final, and tells results; the routes: GET /openapi.json.
[[service]]
plugin = "gateway"
# Where voters' booths and operators ask.
listen = "127.0.0.1:{}"
# Asked for validators that are not listed below. It may be away, also at the start.
bootnode = "http://127.0.0.1:{}"
# Pages of these origins may ask from a browser, such as "https://booth.example".
cors_origins = []
# Votes which may be held at a time until they are final; beyond, votes are refused with 503.
outbox_count_max = 50000
# And their bytes.
outbox_bytes_max = 268435456
# The validators to which votes are forwarded.
validator = [
{}]
# TLS, with a certificate chain and its key, both PEM:
# [service.tls]
# cert_file = "gateway.pem"
# key_file = "gateway.key"
"#,
        plan.ports.gateway(),
        plan.ports.bootnode(),
        validators.collect::<String>()
    )
}

/// Renders the bootnode's file: the registry by which nodes find each other.
pub fn bootnode(plan: &Plan) -> String {
    let what = "bootnode: the registry by which nodes find each other. It has no chain and no vote; nodes check each other's keys.";
    let role = "bootnode: runs services only.";
    let mut text = head(plan, what, "bootnode", "bootnode", role);
    text.push_str(&format!(
        r#"
# The registry of signed records.
[[service]]
plugin = "bootnode"
# Where nodes register and ask.
listen = "127.0.0.1:{}"
"#,
        plan.ports.bootnode()
    ));
    text
}
