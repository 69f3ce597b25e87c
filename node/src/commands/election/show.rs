//! What anybody may see of elections, as a node says it.

use clap::Args;
use serde_json::{Value, json};

use crate::{
    exit::Failure,
    output,
    voting::{Elections, Hex, at_ms},
};

/// Which node, which election.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The election, or its draft
    #[arg(value_name = "ID")]
    pub id: Hex<32>,
    /// A node's RPC address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8001")]
    pub rpc: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Which node.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// A node's RPC address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8001")]
    pub rpc: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("-")
}

fn moment(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_u64).map_or_else(|| "-".into(), at_ms)
}

fn number(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_u64).map_or_else(|| "-".into(), |n| n.to_string())
}

fn list_of<'a>(value: &'a Value, at: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(at).and_then(Value::as_array).into_iter().flatten()
}

/// Lists elections.
pub(super) async fn list(args: &ListArgs) -> Result<(), Failure> {
    let elections = Elections::at(&args.rpc)?;
    let mut all: Vec<Value> = Vec::new();
    let mut from = json!(0);
    loop {
        let page = elections.query("elections", json!({ "from": from })).await?;
        all.extend(list_of(&page, "/elections").cloned());
        match page.get("next") {
            Some(next) if next.is_u64() => from = next.clone(),
            _ => break,
        }
    }
    if args.json {
        return output::json(&all);
    }
    if all.is_empty() {
        return output::line("No election is drafted on this chain.");
    }
    let mut rows: Vec<Vec<String>> = vec![
        ["TITLE", "STATE", "OPENS", "CLOSES", "VOTERS", "BALLOTS", "ELECTION OR DRAFT"].map(String::from).to_vec(),
    ];
    for one in &all {
        let id = if text(one, "eid") == "-" { text(one, "draft") } else { text(one, "eid") };
        rows.push(vec![
            text(one, "title").into(),
            text(one, "state").into(),
            moment(one, "opens_ms"),
            moment(one, "closes_ms"),
            number(one, "credentials"),
            number(one, "ballots"),
            id.into(),
        ]);
    }
    output::line(output::table(&rows).trim_end())
}

/// Shows an election.
pub(super) async fn show(args: &ShowArgs) -> Result<(), Failure> {
    let found = Elections::at(&args.rpc)?.query("election", json!({ "id": args.id })).await?;
    if args.json {
        return output::json(&found);
    }
    let mut lines = vec![
        format!("{} ({})", text(&found, "title"), text(&found, "state")),
        format!("draft    {}", text(&found, "draft")),
        format!("election {}", text(&found, "eid")),
        format!("opens    {}", moment(&found, "opens_ms")),
        format!("closes   {}", moment(&found, "closes_ms")),
    ];
    for (contest, at) in list_of(&found, "/contests").zip(1..) {
        let (least, most) = (number(contest, "lo"), number(contest, "hi"));
        lines.push(format!("contest {at}: {} (choose {least} to {most})", text(contest, "title")));
        for (option, at) in list_of(contest, "/options").zip(1..) {
            lines.push(format!("  {at}  {}", option.as_str().unwrap_or_default()));
        }
    }
    let ceremony = found.get("ceremony").cloned().unwrap_or_default();
    let trustees = list_of(&found, "/trustees/keys").count();
    lines.push(match found.get("list").filter(|list| !list.is_null()) {
        Some(list) => format!("list: sealed with {} credentials", number(list, "credentials")),
        None => "list: not sealed yet".into(),
    });
    lines.push(format!(
        "key ceremony, attempt {}: {} of {trustees} committed, {} revealed, {} acknowledged",
        number(&ceremony, "attempt"),
        number(&ceremony, "commitments"),
        number(&ceremony, "reveals"),
        number(&ceremony, "acks"),
    ));
    if found.get("ballots").is_some() {
        lines.push(format!("ballots: {}", number(&found, "ballots")));
    }
    output::line(&lines.join("\n"))
}

/// Shows the result.
pub(super) async fn result(args: &ShowArgs) -> Result<(), Failure> {
    let found = Elections::at(&args.rpc)?.query("election", json!({ "id": args.id })).await?;
    let result = found.get("result").filter(|result| !result.is_null());
    if args.json {
        let fields = ["eid", "title", "state", "ballots", "th", "result", "contests"];
        let shown: serde_json::Map<String, Value> =
            fields.iter().filter_map(|key| Some(((*key).to_owned(), found.get(*key)?.clone()))).collect();
        return output::json(&shown);
    }
    let Some(result) = result else {
        let why = match text(&found, "state") {
            "void" => "it had fewer ballots than its draft asks for: nothing of it is decrypted",
            "closed" => "it is closed; trustees have yet to decrypt (`quorate trustee decrypt`)",
            "manifest" => "it is not closed yet (`quorate election close`, after its last moment)",
            _ => "it is not opened yet",
        };
        return Err(Failure::failed(format!("{} has no result: {why}", args.id)));
    };
    let mut lines = vec![format!("{}, {} ballots", text(&found, "title"), number(&found, "ballots"))];
    for (contest, counts) in list_of(&found, "/contests").zip(result.as_array().into_iter().flatten()) {
        lines.push(text(contest, "title").to_owned());
        for (option, count) in list_of(contest, "/options").zip(counts.as_array().into_iter().flatten()) {
            lines.push(format!("{:>9}  {}", count.to_string(), option.as_str().unwrap_or_default()));
        }
    }
    lines.push(format!("So says {}. Check it yourself: quorate verify --rpc {} --genesis GENESIS", args.rpc, args.rpc));
    output::line(&lines.join("\n"))
}
