//! `quorate trustee decrypt`: checks the whole ledger, then decrypts the sums of one election, once.

use std::path::PathBuf;

use clap::Args;
use quorate_ballot::{
    random::SystemDraw,
    record::{Body, Receipt},
    tally::{self, ShareOf},
};
use serde_json::json;

use super::state::State;
use crate::{
    audit::AuditedTally,
    commands::verify,
    exit::Failure,
    libraries::LibraryArgs,
    output,
    source::{FileSource, RpcSource, Source},
    voting::{Hex, PassphraseArgs, Role, SecretFile, Sent, SubmitArgs},
};

/// Options of `trustee decrypt`.
#[derive(Debug, Clone, Args)]
pub struct DecryptArgs {
    /// The election
    #[arg(value_name = "EID")]
    pub eid: Hex<32>,
    /// The trustee's secret
    #[arg(long, value_name = "FILE")]
    pub secret: PathBuf,
    /// The trustee's state, from the ceremony
    #[arg(long, value_name = "FILE")]
    pub state: PathBuf,
    /// The genesis to trust
    #[arg(long, value_name = "FILE")]
    pub genesis: PathBuf,
    /// Read the ledger from an export instead of the node; with --out, no network is needed
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// To whom it goes.
    #[command(flatten)]
    pub submit: SubmitArgs,
}

fn failed(error: impl ToString) -> Failure {
    Failure::failed(error.to_string())
}

pub(super) async fn run(args: &DecryptArgs) -> Result<(), Failure> {
    let file = SecretFile::load(&args.secret, &[Role::Trustee])?;
    let secret = file.unlock_key(&args.secret, &args.passphrase)?;
    let state = State::load(&args.state, &secret)?;
    let mut state = state.ok_or_else(|| {
        failed(format!(
            "{} is not there; without the state of the ceremony nothing can be decrypted",
            args.state.display()
        ))
    })?;
    let audited = audit(args).await?;
    let AuditedTally { manifest, rules, sums, tally, ballots } = &audited;
    let share = own_share(args, &state, &audited)?;
    // One tally an election: the difference of two would be single votes.
    match state.tally {
        Some(before) if before != *tally => {
            return Err(failed(format!(
                "you have decrypted the tally {} of this election; another, {}, is refused: their difference would show single votes",
                Hex(before),
                Hex(*tally)
            )));
        }
        Some(_) => {}
        None => {
            state.tally = Some(*tally);
            state.save(&secret)?;
        }
    }
    let of = ShareOf { eid: args.eid.0, tally: *tally, trustee: state.trustee };
    let parts = tally::decrypt(&of, rules, sums, &share, &mut SystemDraw).map_err(failed)?;
    let body = Body::Share { eid: of.eid, tally: of.tally, trustee: of.trustee, parts };
    let sent = args.submit.send(&body.sign(&secret, &mut SystemDraw).map_err(failed)?).await?;
    let mut fields = json!({ "eid": args.eid, "trustee": of.trustee, "th": Hex(*tally), "ballots": ballots });
    if let Sent::Final { receipt, .. } = &sent
        && let Receipt::Share { result, .. } = receipt.as_ref()
        && !result.is_empty()
        && let Some(object) = fields.as_object_mut()
    {
        object.insert("result".into(), json!(result));
    }
    let what = format!("{} ballots of {}, decrypted by trustee {}", ballots, manifest.draft.title, of.trustee);
    sent.tell(args.submit.json, &what, &fields)
}

/// The trustee's share of the key, which must be the one that the manifest names.
fn own_share(
    args: &DecryptArgs,
    state: &State,
    audited: &AuditedTally,
) -> Result<quorate_ballot::group::SecretScalar, Failure> {
    if state.draft != audited.manifest.draft.hash() {
        return Err(failed(format!("{} is the state for another election", args.state.display())));
    }
    let share = state.share.clone().ok_or_else(|| {
        failed(format!("{} has no share of the key yet: finish `quorate trustee ceremony`", args.state.display()))
    })?;
    let x = usize::from(state.trustee).checked_sub(1).and_then(|at| audited.manifest.x.get(at));
    if x != Some(&share.public()) {
        return Err(failed("your share of the key is not the one in the election's manifest; tell the admin"));
    }
    Ok(share)
}

/// Checks every block, and gives the election's tally.
async fn audit(args: &DecryptArgs) -> Result<AuditedTally, Failure> {
    let (export, rpc, genesis) = (args.export.clone(), args.submit.rpc.clone(), args.genesis.clone());
    let replayed = tokio::task::spawn_blocking(move || {
        let mut source: Box<dyn Source> = match &export {
            Some(path) => Box::new(FileSource::open(path)?),
            None => Box::new(RpcSource::open(&rpc)?),
        };
        verify::replay(source.as_mut(), Some(&genesis), &LibraryArgs::default()).map_err(Failure::from)
    });
    let auditor = replayed.await.map_err(failed)??;
    output::note(&format!("the ledger was checked, up to block {}", auditor.report().blocks));
    let voting = auditor.voting().ok_or_else(|| failed("the chain is not of the application voting"))?;
    voting.tally(&args.eid.0).ok_or_else(|| {
        failed(format!(
            "the election {} is not closed on this ledger (`quorate election close`), or has too few ballots, or is not there",
            args.eid
        ))
    })
}
