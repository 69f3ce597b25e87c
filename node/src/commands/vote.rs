//! `quorate vote`: a voter encrypts, audits or casts a ballot, and keeps a receipt that anybody can check.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use quorate::TransactionId;
use quorate_ballot::{
    ballot::{self, Ballot, Choices, Openings, Sealed},
    group::{Element, Scalar, decode_scalar},
    random::SystemDraw,
    record::{Body, Manifest, Receipt},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    exit::Failure,
    output,
    rpc::{block_on, bytes_of},
    voting::{
        Elections, Hex, PassphraseArgs, Role, SecretFile, Sent, SubmitArgs, read_file, write_file, write_secret_file,
    },
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Example:
  quorate vote encrypt 0xEID --secret ada.secret.json --choose 1=2 --out ballot.json
Note the tracker. Then either have the ballot opened, to see whether your device is honest, and encrypt anew:
  quorate vote audit ballot.json --openings ballot.json.openings
or cast it:
  quorate vote cast ballot.json --secret ada.secret.json --receipt receipt.json
Then, or when the election is over, on any machine:
  quorate verify receipt receipt.json --genesis genesis.toml";

const BALLOT_KIND: &str = "ballot/1";
const OPENINGS_KIND: &str = "openings/1";

/// Options of `vote`.
#[derive(Debug, Clone, Args)]
pub struct VoteArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: VoteCommand,
}

/// What to do with a ballot.
#[derive(Debug, Clone, Subcommand)]
pub enum VoteCommand {
    /// Encrypt choices into a ballot, which is neither signed nor sent
    #[command(
        after_help = "Example:\n  quorate vote encrypt 0xEID --secret ada.secret.json --choose 1=2 --choose 2=1,4 --out ballot.json"
    )]
    Encrypt(EncryptArgs),
    /// Open an encrypted ballot: does it hold what was chosen? It can't be cast then
    #[command(after_help = "Example:\n  quorate vote audit ballot.json --openings ballot.json.openings")]
    Audit(AuditArgs),
    /// Sign a ballot and send it; its openings are erased
    #[command(after_help = "Example:\n  quorate vote cast ballot.json --secret ada.secret.json --receipt receipt.json")]
    Cast(CastArgs),
    /// Get the receipt of a ballot that is final
    #[command(after_help = "Example:\n  quorate vote receipt 0xTRANSACTION --out receipt.json")]
    Receipt(ReceiptArgs),
}

/// Options of `vote encrypt`.
#[derive(Debug, Clone, Args)]
pub struct EncryptArgs {
    /// The election
    #[arg(value_name = "EID")]
    pub eid: Hex<32>,
    /// The voter's secret; its public part is all that is needed here
    #[arg(long, value_name = "FILE")]
    pub secret: PathBuf,
    /// What is chosen: CONTEST=OPTION,OPTION.. with the numbers that `quorate election show` shows; contests left out choose none
    #[arg(long = "choose", value_name = "CHOICE")]
    pub choices: Vec<String>,
    /// Write the ballot here, and what opens it beside it, with `.openings` at the end
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// A node's RPC address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8001")]
    pub rpc: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `vote audit`.
#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// The ballot
    #[arg(value_name = "BALLOT")]
    pub ballot: PathBuf,
    /// What opens it
    #[arg(long, value_name = "FILE")]
    pub openings: PathBuf,
    /// The tracker that was noted before
    #[arg(long, value_name = "HEX")]
    pub tracker: Option<Hex<32>>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `vote cast`.
#[derive(Debug, Clone, Args)]
pub struct CastArgs {
    /// The ballot
    #[arg(value_name = "BALLOT")]
    pub ballot: PathBuf,
    /// The voter's secret
    #[arg(long, value_name = "FILE")]
    pub secret: PathBuf,
    /// Write the receipt here
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// To whom it goes.
    #[command(flatten)]
    pub submit: SubmitArgs,
}

/// Options of `vote receipt`.
#[derive(Debug, Clone, Args)]
pub struct ReceiptArgs {
    /// The transaction
    #[arg(value_name = "TRANSACTION")]
    pub transaction: TransactionId,
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// A node's RPC address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8001")]
    pub rpc: String,
}

/// An encrypted ballot in a file. It has the manifest, so that it can be audited without a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BallotFile {
    quorate: String,
    eid: Hex<32>,
    credential: u32,
    tracker: Hex<32>,
    /// Whether it was opened: it must not be cast then.
    audited: bool,
    body: String,
    manifest: String,
}

/// What opens a ballot: for each contest and option whether it is chosen, and r.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpeningsFile {
    quorate: String,
    tracker: Hex<32>,
    chosen: Vec<Vec<bool>>,
    randomness: Vec<Vec<Hex<32>>>,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &VoteArgs) -> Result<(), Failure> {
    match &args.command {
        VoteCommand::Encrypt(args) => block_on(encrypt(args)),
        VoteCommand::Audit(args) => audit(args),
        VoteCommand::Cast(args) => block_on(cast(args)),
        VoteCommand::Receipt(args) => block_on(receipt(args)),
    }
}

fn failed(error: impl ToString) -> Failure {
    Failure::failed(error.to_string())
}

fn openings_path(ballot: &Path) -> PathBuf {
    let mut name = ballot.as_os_str().to_owned();
    name.push(".openings");
    name.into()
}

/// `2=1,4` as contest and options, counted from 0.
fn choice(text: &str) -> Result<(usize, Vec<usize>), Failure> {
    let wrong =
        || Failure::usage(format!("--choose {text}: write CONTEST=OPTION or CONTEST=OPTION,OPTION, such as 1=2"));
    let number = |text: &str| text.trim().parse::<usize>().ok().and_then(|n| n.checked_sub(1)).ok_or_else(wrong);
    let (contest, options) = text.split_once('=').ok_or_else(wrong)?;
    let options = options.split(',').filter(|one| !one.trim().is_empty());
    Ok((number(contest)?, options.map(number).collect::<Result<_, _>>()?))
}

/// The choices of a command line, by the manifest's contests.
fn choices(manifest: &Manifest, texts: &[String]) -> Result<Choices, Failure> {
    let contests = &manifest.draft.contests;
    let mut chosen: Vec<Vec<bool>> = contests.iter().map(|one| vec![false; one.options.len()]).collect();
    for text in texts {
        let (contest, options) = choice(text)?;
        let count = contests.len();
        let bits = chosen.get_mut(contest).ok_or_else(|| {
            Failure::usage(format!("--choose {text}: there are {count} contests; they are numbered from 1"))
        })?;
        for option in options {
            let count = bits.len();
            let bit = bits.get_mut(option).ok_or_else(|| {
                Failure::usage(format!("--choose {text}: contest {} has {count} options, numbered from 1", contest + 1))
            })?;
            *bit = true;
        }
    }
    Choices::new(&manifest.draft.rules().map_err(failed)?, &chosen).map_err(|error| match error {
        ballot::ChoiceError::Sum { contest, lo, hi } => {
            let title = contests.get(contest).map_or("", |one| one.title.as_str());
            Failure::usage(format!("contest {} ({title}): choose {lo} to {hi} options", contest + 1))
        }
        other => Failure::usage(other.to_string()),
    })
}

async fn encrypt(args: &EncryptArgs) -> Result<(), Failure> {
    let file = SecretFile::load(&args.secret, &[Role::Voter])?;
    let elections = Elections::at(&args.rpc)?;
    let manifest = elections.manifest(&args.eid).await?;
    let draft = manifest.draft.hash();
    if file.draft.as_ref().map(|draft| draft.0) != Some(draft) {
        return Err(Failure::failed(format!("{} is a credential for another election", args.secret.display())));
    }
    let key =
        Element::decode(&file.public_key.0).map_err(|problem| failed(format!("the credential's key {problem}")))?;
    let index = listed(&elections, &args.eid, &manifest, &key).await?;
    let rules = manifest.draft.rules().map_err(failed)?;
    let choices = choices(&manifest, &args.choices)?;
    let (sealed, openings) =
        ballot::encrypt(&manifest.key(), &rules, (index, &key), &choices, &mut SystemDraw).map_err(failed)?;
    // What is written is what a checker would find, or it is not written.
    ballot::audit(&manifest.key(), &rules, sealed.body(), &openings).map_err(failed)?;
    let tracker = Hex(sealed.tracker());
    write_secret_file(&openings_path(&args.out), &opened(&tracker, &openings), true)?;
    let ballot = BallotFile {
        quorate: BALLOT_KIND.into(),
        eid: Hex(manifest.eid()),
        credential: index,
        tracker: tracker.clone(),
        audited: false,
        body: format!("0x{}", hex::encode(sealed.body())),
        manifest: format!("0x{}", hex::encode(manifest.encode())),
    };
    write_file(&args.out, &ballot)?;
    if args.json {
        return output::json(&json!({ "tracker": tracker, "ballot": args.out, "openings": openings_path(&args.out) }));
    }
    output::line(&format!(
        "Your tracker: {tracker}\nNote it. Then either audit {ballot}, and encrypt anew, or cast it.",
        ballot = args.out.display()
    ))
}

/// The place of a credential in the list, shown by the path to the manifest's root where the node gives it.
async fn listed(elections: &Elections, id: &Hex<32>, manifest: &Manifest, key: &Element) -> Result<u32, Failure> {
    use quorate_ballot::{credential, record::Entry};
    let found = elections.query("credential", json!({ "id": id, "key": key.to_string() })).await?;
    let index = found.get("index").and_then(Value::as_u64).and_then(|index| u32::try_from(index).ok());
    let pseudonym = found.get("pseudonym").and_then(bytes_of).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let (Some(index), Some(pseudonym)) = (index, pseudonym) else {
        return Err(Failure::failed("your credential is not in the election's list: ask the registrar"));
    };
    if let Some(path) = found.get("path").filter(|path| !path.is_null()) {
        let path: quorate::merkle::Path = serde_json::from_value(path.clone()).map_err(failed)?;
        let leaf = credential::leaf(&manifest.draft.hash(), index, &Entry { key: *key, pseudonym });
        if path.index != index || path.root(leaf).map(|root| *root.as_bytes()) != Some(manifest.root) {
            return Err(Failure::failed("the node's proof that you are in the list is wrong: do not trust it"));
        }
    }
    Ok(index)
}

fn opened(tracker: &Hex<32>, openings: &Openings) -> OpeningsFile {
    let hex = |r: &Scalar| Hex(*r.as_bytes());
    OpeningsFile {
        quorate: OPENINGS_KIND.into(),
        tracker: tracker.clone(),
        chosen: openings.choices().chosen(),
        randomness: openings.randomness().iter().map(|all| all.iter().map(hex).collect()).collect(),
    }
}

/// A ballot's file with what it holds, which fit each other.
fn load(path: &Path) -> Result<(BallotFile, Vec<u8>, Manifest), Failure> {
    let file: BallotFile = read_file(path, BALLOT_KIND)?;
    let wrong = |what: &str| Failure::failed(format!("{}: {what}", path.display()));
    let bytes =
        |text: &str| hex::decode(text.trim_start_matches("0x")).map_err(|_| wrong("a field is not hexadecimal"));
    let (body, manifest) = (bytes(&file.body)?, bytes(&file.manifest)?);
    let manifest = Manifest::decode(&manifest).map_err(|error| wrong(&format!("the manifest: {error}")))?;
    if manifest.eid() != file.eid.0 {
        return Err(wrong("the manifest is of another election"));
    }
    if ballot::tracker(&body) != file.tracker.0 {
        return Err(wrong("the ballot is not the one of its tracker: it was changed"));
    }
    Ok((file, body, manifest))
}

fn audit(args: &AuditArgs) -> Result<(), Failure> {
    let (mut file, body, manifest) = load(&args.ballot)?;
    if let Some(noted) = args.tracker.as_ref().filter(|noted| **noted != file.tracker) {
        return Err(Failure::failed(format!(
            "the ballot's tracker is {}, not {noted}: the device showed one ballot and wrote another. Do not trust it",
            file.tracker
        )));
    }
    let openings: OpeningsFile = read_file(&args.openings, OPENINGS_KIND)?;
    let rules = manifest.draft.rules().map_err(failed)?;
    let choices = Choices::new(&rules, &openings.chosen).map_err(failed)?;
    let scalar =
        |r: &Hex<32>| decode_scalar(&r.0).map_err(|problem| failed(format!("the openings: a scalar {problem}")));
    let randomness =
        openings.randomness.iter().map(|all| all.iter().map(scalar).collect()).collect::<Result<_, _>>()?;
    let found = ballot::audit(&manifest.key(), &rules, &body, &Openings::new(choices, randomness)).map_err(failed)?;
    file.audited = true;
    write_file(&args.ballot, &file)?;
    let texts: Vec<(String, Vec<String>)> = manifest
        .draft
        .contests
        .iter()
        .zip(found.chosen())
        .map(|(contest, bits)| {
            let chosen = contest.options.iter().zip(bits).filter(|(_, bit)| *bit).map(|(text, _)| text.clone());
            (contest.title.clone(), chosen.collect())
        })
        .collect();
    if args.json {
        return output::json(&json!({ "tracker": file.tracker, "holds": texts }));
    }
    let mut lines = vec![format!("The ballot {} holds:", file.tracker)];
    for (title, chosen) in texts {
        let chosen = if chosen.is_empty() { "nothing".to_owned() } else { chosen.join(", ") };
        lines.push(format!("  {title}: {chosen}"));
    }
    lines.push("It was opened, so it is not cast. Encrypt anew to vote.".into());
    output::line(&lines.join("\n"))
}

async fn cast(args: &CastArgs) -> Result<(), Failure> {
    let (file, body, manifest) = load(&args.ballot)?;
    if file.audited {
        return Err(Failure::failed("this ballot was audited: whoever saw it knows what it holds. Encrypt anew"));
    }
    let secret = SecretFile::load(&args.secret, &[Role::Voter])?.unlock_key(&args.secret, &args.passphrase)?;
    let bytes = Sealed::from_body(body).cast(&secret, &mut SystemDraw).map_err(failed)?;
    let rules = manifest.draft.rules().map_err(failed)?;
    let ballot = Ballot::decode(&bytes, &rules).map_err(failed)?;
    if ballot.key() != &secret.public() {
        return Err(Failure::failed("the ballot was encrypted for another credential; encrypt it with yours"));
    }
    ballot::verify(&manifest.key(), &rules, &ballot).map_err(failed)?;
    let transaction = Body::Ballot(bytes).unsigned();
    let sent = args.submit.send(&transaction).await?;
    // Whoever finds r can read the vote.
    match std::fs::remove_file(openings_path(&args.ballot)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            output::note(&format!(
                "{} could not be removed: {error}; remove it, it tells your vote",
                openings_path(&args.ballot).display()
            ));
        }
        _ => {}
    }
    let mut fields = json!({ "tracker": file.tracker });
    let mut what = format!("Ballot {}", file.tracker);
    if let Sent::Final { id, receipt, .. } = &sent {
        if let Receipt::Ballot { number, .. } = receipt.as_ref() {
            fields = json!({ "tracker": file.tracker, "number": number });
            what.push_str(&format!(" is number {number}"));
        }
        if let Some(path) = &args.receipt {
            save_receipt(&args.submit.elections()?, id, path).await?;
        }
    }
    sent.tell(args.submit.json, &what, &fields)
}

async fn save_receipt(elections: &Elections, id: &TransactionId, path: &Path) -> Result<(), Failure> {
    let answer = elections.receipt(id).await?;
    if answer.get("status").and_then(Value::as_str) != Some("final") {
        return Err(Failure::failed(format!("{id} is not final at this node; ask again later")));
    }
    write_file(path, &answer)
}

async fn receipt(args: &ReceiptArgs) -> Result<(), Failure> {
    save_receipt(&Elections::at(&args.rpc)?, &args.transaction, &args.out).await?;
    output::line(&format!(
        "{} is written. Check it on any machine: quorate verify receipt {} --genesis GENESIS",
        args.out.display(),
        args.out.display()
    ))
}
