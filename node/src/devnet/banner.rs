//! What a devnet shows when it is ready: what runs where, how to submit, where to look.

use std::path::Path;

use crate::{
    devnet::{NODES_FILE, Role, child::Child},
    network::ADMIN_TOKEN,
    output,
};

/// How this program is called from here: its name if the shell finds it by that, else its path.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "quorate".into() };
    let searched = std::env::var_os("PATH").unwrap_or_default();
    let by_name = std::env::split_paths(&searched).map(|folder| folder.join("quorate")).find(|found| found.exists());
    if by_name.and_then(|found| found.canonicalize().ok()) == Some(path.clone()) {
        return "quorate".into();
    }
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(&path).display().to_string()
}

/// How to submit and ask, by the network's application.
fn how_to_submit(directory: &Path, rpc: &str, gateway: Option<&str>) -> String {
    let (quorate, name) = (program(), directory.join("genesis.toml"));
    let genesis =
        std::fs::read_to_string(&name).ok().and_then(|text| quorate::Genesis::parse("genesis.toml", &text).ok());
    match genesis.as_ref().map(quorate::Genesis::application_plugin) {
        Some("kv") => format!(
            "Submit   {quorate} kv put --rpc {rpc} --key-seed alice --wait greeting hello\n\
             Ask      {quorate} kv get --rpc {rpc} --key-seed alice greeting"
        ),
        Some("voting") => {
            let backend = gateway.map_or_else(String::new, |url| {
                format!("\nVote     curl -d @{}/demo/ballot-1.json {url}/api/votes/submit", directory.display())
            });
            format!(
                "Begin    {quorate} election demo --dir {} --rpc {rpc}{backend}\n\
                 Ask      {quorate} election list --rpc {rpc}",
                directory.display()
            )
        }
        _ => format!("Submit   quorate_submit, by JSON-RPC at {rpc}\nAsk      quorate_query"),
    }
}

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
    let gateway = children.iter().find(|child| child.member.node_rpc_address.is_some());
    let gateway = gateway.map(|child| child.member.rpc_url());
    let how = how_to_submit(directory, &first, gateway.as_deref());
    let (table, directory, quorate) = (output::table(&rows), directory.display(), program());
    format!(
        "\nA network of {} runs in {directory}\n\n{table}\n
{how}
Look     {quorate} status{all}
Verify   {quorate} verify --rpc {first} --genesis {directory}/genesis.toml
Logs     {directory}/logs/   nodes {directory}/{NODES_FILE}   operator's token {directory}/{ADMIN_TOKEN}
Stop     Ctrl-C; started again, it goes on with the same chain
",
        if validators.len() == 1 { "1 validator".to_owned() } else { format!("{} validators", validators.len()) }
    )
}
