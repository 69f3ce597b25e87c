//! `quorate election`: what officers do, and what anybody may see.

mod demo;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quorate_ballot::{
    random::{Draw as _, SystemDraw},
    record::{Body, Receipt},
};
use serde_json::json;

use crate::{
    exit::Failure,
    output,
    rpc::block_on,
    voting::{
        DRAFT_EXAMPLE, Hex, PassphraseArgs, Role, SecretFile, Sent, SubmitArgs, TransactionFile, Unlocked, draft_of,
    },
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Example, an election step by step:
  quorate election key --role trustee trustee-1.secret.json       each officer, on their own machine
  quorate election draft --example > election.toml                then write it
  quorate election draft --spec election.toml --secret admin.secret.json
  quorate enrol ...                                               voters and registrars
  quorate trustee ceremony ...                                    trustees, meanwhile
  quorate election open DRAFT --secret admin.secret.json
  quorate vote ...                                                voters, between the dates
  quorate election close EID
  quorate trustee decrypt ...
  quorate election result EID
  quorate verify --rpc http://127.0.0.1:8001 --genesis genesis.toml     anybody";

/// Options of `election`.
#[derive(Debug, Clone, Args)]
pub struct ElectionArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ElectionCommand,
}

/// What to do with elections.
#[derive(Debug, Clone, Subcommand)]
pub enum ElectionCommand {
    /// Make the key of an officer: a file with a secret (mode 0600), protected by a passphrase
    #[command(after_help = "Example:\n  quorate election key --role registrar registrar-1.secret.json")]
    Key(KeyArgs),
    /// Put a draft on the ledger: question, dates, officers
    #[command(after_help = "Example:\n  quorate election draft --spec election.toml --secret admin.secret.json")]
    Draft(DraftArgs),
    /// Make the election of a draft, once its list is sealed and its key is made
    #[command(after_help = "Example:\n  quorate election open 0xDRAFT --secret admin.secret.json")]
    Open(AdminArgs),
    /// Begin a draft's key ceremony anew, when a trustee is silent
    #[command(after_help = "Example:\n  quorate election restart 0xDRAFT --secret admin.secret.json")]
    Restart(AdminArgs),
    /// Close an election whose time is over; anybody may
    #[command(after_help = "Example:\n  quorate election close 0xEID")]
    Close(CloseArgs),
    /// Show the result, as the node says
    #[command(after_help = "Example:\n  quorate election result 0xEID --json")]
    Result(show::ShowArgs),
    /// List elections
    #[command(after_help = "Example:\n  quorate election list --rpc http://127.0.0.1:8001")]
    List(show::ListArgs),
    /// Show an election: question, dates, officers, how far it is
    #[command(after_help = "Example:\n  quorate election show 0xDRAFT")]
    Show(show::ShowArgs),
    /// Open an election of throwaway keys for trying a network, with ballots that are ready to be sent
    #[command(
        after_help = "Example:\n  quorate election demo --dir devnet\n  curl -d @devnet/demo/ballot-1.json http://127.0.0.1:8000/api/votes/submit"
    )]
    Demo(demo::DemoArgs),
    /// Submit a transaction that was written to a file with --out
    #[command(after_help = "Example:\n  quorate election send draft.tx.json")]
    Send(SendArgs),
}

/// Options of `election key`.
#[derive(Debug, Clone, Args)]
pub struct KeyArgs {
    /// Whose key it is
    #[arg(long, value_enum)]
    pub role: Role,
    /// Protect it by nothing but the file's mode: for trials
    #[arg(long)]
    pub no_passphrase: bool,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// Where to write
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `election draft`.
#[derive(Debug, Clone, Args)]
pub struct DraftArgs {
    /// Print a specification to begin with
    #[arg(long)]
    pub example: bool,
    /// The specification, a TOML file
    #[arg(long, value_name = "FILE", required_unless_present = "example")]
    pub spec: Option<PathBuf>,
    /// The admin's secret
    #[arg(long, value_name = "FILE", required_unless_present = "example")]
    pub secret: Option<PathBuf>,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// To whom it goes.
    #[command(flatten)]
    pub submit: SubmitArgs,
}

/// Options of what an admin does with a draft.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// The draft
    #[arg(value_name = "DRAFT")]
    pub draft: Hex<32>,
    /// The admin's secret
    #[arg(long, value_name = "FILE")]
    pub secret: PathBuf,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// To whom it goes.
    #[command(flatten)]
    pub submit: SubmitArgs,
}

/// Options of `election close`.
#[derive(Debug, Clone, Args)]
pub struct CloseArgs {
    /// The election
    #[arg(value_name = "EID")]
    pub eid: Hex<32>,
    /// To whom it goes.
    #[command(flatten)]
    pub submit: SubmitArgs,
}

/// Options of `election send`.
#[derive(Debug, Clone, Args)]
pub struct SendArgs {
    /// The transaction
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// To whom it goes.
    #[command(flatten)]
    pub submit: SubmitArgs,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &ElectionArgs) -> Result<(), Failure> {
    match &args.command {
        ElectionCommand::Key(args) => key(args),
        ElectionCommand::Draft(args) if args.example => output::line(DRAFT_EXAMPLE.trim_end()),
        ElectionCommand::Draft(args) => block_on(draft(args)),
        ElectionCommand::Open(args) => block_on(open(args)),
        ElectionCommand::Restart(args) => block_on(restart(args)),
        ElectionCommand::Close(args) => block_on(close(args)),
        ElectionCommand::Result(args) => block_on(show::result(args)),
        ElectionCommand::List(args) => block_on(show::list(args)),
        ElectionCommand::Show(args) => block_on(show::show(args)),
        ElectionCommand::Demo(args) => block_on(demo::run(args)),
        ElectionCommand::Send(args) => block_on(send(args)),
    }
}

fn key(args: &KeyArgs) -> Result<(), Failure> {
    if args.role == Role::Voter {
        return Err(Failure::usage("a voter's credential is made by `quorate enrol request`, for one election"));
    }
    let passphrase = if args.no_passphrase { None } else { Some(args.passphrase.fresh(&args.file)?) };
    let secret = SystemDraw.secret().map_err(|error| Failure::failed(error.to_string()))?;
    let bytes = Unlocked::new(*secret.expose().as_bytes());
    let public = secret.public();
    let file = SecretFile::new(args.role, &public, None, &bytes, passphrase.as_ref().map(|text| text.as_str()))?;
    file.save_new(&args.file)?;
    if args.json {
        return output::json(&json!({ "role": args.role, "public_key": public.to_string(), "file": args.file }));
    }
    output::line(&format!(
        "Public key of the {}: {public}\nThe secret is in {}. Keep a copy where nobody else finds it.",
        args.role,
        args.file.display()
    ))
}

async fn draft(args: &DraftArgs) -> Result<(), Failure> {
    let (Some(spec), Some(path)) = (&args.spec, &args.secret) else {
        return Err(Failure::usage("give --spec and --secret"));
    };
    let secret = SecretFile::load(path, &[Role::Admin])?.unlock_key(path, &args.passphrase)?;
    let chain_id = args.submit.elections()?.chain_id().await?;
    let draft = draft_of(spec, chain_id.as_bytes(), secret.public())?;
    let id = Hex(draft.hash());
    let transaction = signed(Body::Draft(Box::new(draft)), &secret)?;
    let sent = args.submit.send(&transaction).await?;
    sent.tell(args.submit.json, &format!("Draft {id}"), &json!({ "draft": id }))
}

fn signed(
    body: Body,
    secret: &quorate_ballot::group::SecretScalar,
) -> Result<quorate_ballot::record::Transaction, Failure> {
    body.sign(secret, &mut SystemDraw).map_err(|error| Failure::failed(error.to_string()))
}

async fn open(args: &AdminArgs) -> Result<(), Failure> {
    let secret = SecretFile::load(&args.secret, &[Role::Admin])?.unlock_key(&args.secret, &args.passphrase)?;
    let manifest = args.submit.elections()?.manifest(&args.draft).await?;
    let eid = Hex(manifest.eid());
    let body = Body::Open { draft: manifest.draft.hash(), eid: eid.0 };
    let sent = args.submit.send(&signed(body, &secret)?).await?;
    sent.tell(
        args.submit.json,
        &format!("Election {eid}"),
        &json!({ "draft": args.draft, "eid": eid, "credentials": manifest.credentials }),
    )
}

async fn restart(args: &AdminArgs) -> Result<(), Failure> {
    let secret = SecretFile::load(&args.secret, &[Role::Admin])?.unlock_key(&args.secret, &args.passphrase)?;
    let shown = args.submit.elections()?.query("ceremony", json!({ "id": args.draft })).await?;
    let attempt = shown.get("attempt").and_then(serde_json::Value::as_u64).unwrap_or_default();
    let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
    let sent = args.submit.send(&signed(Body::Restart { draft: args.draft.0, attempt }, &secret)?).await?;
    let next = attempt.saturating_add(1);
    sent.tell(args.submit.json, &format!("Ceremony, attempt {next}"), &json!({ "draft": args.draft, "attempt": next }))
}

async fn close(args: &CloseArgs) -> Result<(), Failure> {
    let sent = args.submit.send(&Body::Close { eid: args.eid.0 }.unsigned()).await?;
    let mut fields = json!({ "eid": args.eid });
    let mut what = format!("Election {} closed", args.eid);
    if let Sent::Final { receipt, .. } = &sent
        && let Receipt::Close { ballots, tally, is_void, .. } = receipt.as_ref()
    {
        fields = json!({ "eid": args.eid, "ballots": ballots, "th": Hex(*tally), "is_void": is_void });
        what.push_str(&format!(" with {ballots} ballots"));
        if *is_void {
            what.push_str(", fewer than its draft asks for: nothing of it will be decrypted");
        }
    }
    sent.tell(args.submit.json, &what, &fields)
}

async fn send(args: &SendArgs) -> Result<(), Failure> {
    let transaction = TransactionFile::load(&args.file)?;
    let kind = transaction.body.kind().name();
    let sent = args.submit.elections()?.submit(&transaction).await?;
    sent.tell(args.submit.json, &format!("The {kind} of {}", args.file.display()), &json!({ "kind": kind }))
}
