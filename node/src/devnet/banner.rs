//! What a devnet shows when it is ready: what runs where, how to submit, where to look.

use std::path::Path;

use crate::{
    devnet::{NODES_FILE, Role, child::Child},
    network::ADMIN_TOKEN,
    output,
};

/// The banner.
pub(super) fn text(directory: &Path, children: &[Child]) -> String {
    let mut rows = vec![["node", "role", "pid", "clients", "peers"].map(str::to_owned).to_vec()];
    for child in children {
        let role = match child.member.role {
            Role::Bootnode => "bootnode",
            Role::Validator => "validator",
            Role::Gateway => "gateway",
        };
        rows.push(vec![
            child.member.name.clone(),
            role.to_owned(),
            child.pid.to_string(),
            child.member.rpc_url(),
            child.member.peer_address.clone().unwrap_or_else(|| "-".into()),
        ]);
    }
    let validators: Vec<&Child> = children.iter().filter(|child| child.member.role == Role::Validator).collect();
    let first = validators.first().map_or_else(String::new, |child| child.member.rpc_url());
    let all: String = validators.iter().map(|child| format!(" --rpc {}", child.member.rpc_url())).collect();
    let (table, directory) = (output::table(&rows), directory.display());
    format!(
        "\nA network of {} runs in {directory}\n\n{table}\n
Submit   quorate kv put --rpc {first} --key-seed alice --wait greeting hello
Ask      quorate kv get --rpc {first} --key-seed alice greeting
Look     quorate status{all}
Verify   quorate verify --rpc {first} --genesis {directory}/genesis.toml
Logs     {directory}/logs/   nodes {directory}/{NODES_FILE}   operator's token {directory}/{ADMIN_TOKEN}
Stop     Ctrl-C; started again, it goes on with the same chain
",
        if validators.len() == 1 { "1 validator".to_owned() } else { format!("{} validators", validators.len()) }
    )
}
