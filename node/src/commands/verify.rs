//! `quorate verify`: audits a chain from genesis.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    audit::{Auditor, ElectionReport, Report, Violation},
    bundled,
    commands::receipt::{self, ReceiptArgs},
    exit::Failure,
    libraries::LibraryArgs,
    output,
    progress::Progress,
    source::{DirectorySource, FileSource, RpcSource, Source, genesis_of},
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate verify chain.export --genesis genesis.toml
  quorate verify --data data/validator-1
  quorate verify --rpc http://127.0.0.1:8001 --genesis genesis.toml --json
  quorate verify chain.export --genesis genesis.toml --library ./libmine.so
  quorate verify receipt receipt.json --genesis genesis.toml

Every block is checked: its place, hashes and roots, the quorum of signatures that makes it final, and its transactions, by \
executing them; of elections every ballot, share and result, by rules of the auditor's own. Exits with 1 and the height and reason at the first violation. Without --genesis the source's own genesis is \
used: then compare the chain id. A consensus or application that genesis names and this program lacks comes from --library.";

/// Options of `verify`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct VerifyArgs {
    /// What to verify instead of a chain.
    #[command(subcommand)]
    pub command: Option<VerifyCommand>,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
    /// The genesis to trust
    #[arg(long, value_name = "FILE")]
    pub genesis: Option<PathBuf>,
    /// Where the chain's plugins are, if not here.
    #[command(flatten)]
    pub libraries: LibraryArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What else can be verified.
#[derive(Debug, Clone, Subcommand)]
pub enum VerifyCommand {
    /// Check one receipt with nothing but genesis
    #[command(after_help = receipt::EXAMPLES)]
    Receipt(ReceiptArgs),
}

/// Where a chain is.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct ChainArgs {
    /// An exported chain
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The data_dir of a node that does not run
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A running node's RPC address
    #[arg(long, value_name = "URL")]
    pub rpc: Option<String>,
}

impl ChainArgs {
    pub(super) fn open(&self) -> Result<Box<dyn Source>, Failure> {
        Ok(match (&self.file, &self.data, &self.rpc) {
            (Some(file), _, _) => Box::new(FileSource::open(file)?),
            (_, Some(directory), _) => Box::new(DirectorySource::open(directory)?),
            (_, _, Some(url)) => Box::new(RpcSource::open(url)?),
            _ => return Err(Failure::usage("give FILE, --data or --rpc")),
        })
    }
}

/// Why an audit did not come to its end.
#[derive(Debug)]
pub enum AuditError {
    /// The source can't be read, or the rules can't be made.
    Failure(Failure),
    /// The chain breaks a rule.
    Violation(Violation),
}

impl From<Failure> for AuditError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Violation> for AuditError {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Failure(failure) => failure,
            AuditError::Violation(violation) => Failure::failed(format!("the chain does not verify: {violation}")),
        }
    }
}

/// Replays all of a source by the rules of its genesis, or of the one given.
///
/// # Errors
///
/// [`AuditError`].
pub fn audit(source: &mut dyn Source, genesis: Option<&Path>, libraries: &LibraryArgs) -> Result<Report, AuditError> {
    replay(source, genesis, libraries).map(|auditor| auditor.finished())
}

/// As [`audit`], with all that the auditor knows then.
///
/// # Errors
///
/// [`AuditError`].
pub fn replay(source: &mut dyn Source, genesis: Option<&Path>, libraries: &LibraryArgs) -> Result<Auditor, AuditError> {
    let genesis = genesis_of(source, genesis)?;
    let rules = bundled::rules(&genesis, libraries)?;
    let mut auditor = Auditor::new(genesis, rules.application, rules.finality)?;
    let mut progress = Progress::new("blocks verified", source.blocks());
    while let Some((block, proof)) = source.next_block()? {
        auditor.block(block, &proof)?;
        progress.step();
    }
    Ok(auditor)
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &VerifyArgs) -> Result<(), Failure> {
    if let Some(VerifyCommand::Receipt(receipt)) = &args.command {
        return receipt::run(receipt);
    }
    let begun = Instant::now();
    let mut source = args.chain.open()?;
    let outcome = audit(source.as_mut(), args.genesis.as_deref(), &args.libraries);
    let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    if args.json {
        output::json(&as_json(&outcome, args.genesis.is_some(), elapsed_ms))?;
    }
    let report = outcome?;
    if !args.json {
        output::line(&as_text(&report, args.genesis.is_some(), elapsed_ms))?;
    }
    Ok(())
}

fn as_json(outcome: &Result<Report, AuditError>, trusted: bool, elapsed_ms: u64) -> Value {
    match outcome {
        Ok(report) => {
            let mut value = json!(report);
            if let Some(object) = value.as_object_mut() {
                object.insert("valid".into(), true.into());
                object.insert("genesis_given".into(), trusted.into());
                object.insert("elapsed_ms".into(), elapsed_ms.into());
            }
            value
        }
        Err(AuditError::Violation(violation)) => {
            json!({"valid": false, "height": violation.height, "reason": violation.reason, "genesis_given": trusted})
        }
        Err(AuditError::Failure(failure)) => {
            json!({"valid": false, "reason": failure.message, "genesis_given": trusted})
        }
    }
}

fn as_text(report: &Report, trusted: bool, elapsed_ms: u64) -> String {
    let genesis = if trusted { "as given" } else { "the source's own: compare the chain id" };
    let mut text = format!(
        "verified: every block from genesis to {blocks}
chain         {name} {id}
genesis       {genesis}
head          {head}
app hash      {app_hash}
transactions  {transactions}
signatures    {signatures} of validators, in proofs of finality
evidence      {evidence} proofs of misbehaviour, {changes} changes of validators
time          {elapsed_ms} ms",
        blocks = report.blocks,
        name = report.chain_name,
        id = report.chain_id,
        head = report.head,
        app_hash = report.app_hash,
        transactions = report.transactions,
        signatures = report.signatures,
        evidence = report.evidence,
        changes = report.validator_changes,
    );
    for election in &report.elections {
        text.push_str(&election_text(election));
    }
    text
}

fn election_text(election: &ElectionReport) -> String {
    let ElectionReport { title, state, ballots, credentials, .. } = election;
    let of = credentials.map_or_else(String::new, |count| format!(" of {count} credentials"));
    let mut text = format!("\nelection      {title}: {state}, {ballots} ballots{of}");
    text.push_str(&format!("\n              {}", election.eid.as_ref().unwrap_or(&election.draft)));
    for contest in election.result.iter().flatten() {
        text.push_str(&format!("\n  {}", contest.title));
        for (option, votes) in &contest.options {
            text.push_str(&format!("\n    {votes:>9}  {option}"));
        }
    }
    for (trustee, transaction) in &election.evidence {
        text.push_str(&format!("\n  trustee {trustee} sent a wrong share: {transaction}"));
    }
    for why in &election.ceremonies_ended {
        text.push_str(&format!("\n  an attempt at the key ended: {why}"));
    }
    text
}
