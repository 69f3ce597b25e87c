//! `quorate trustee ceremony`: commit, reveal, check what the others sent, acknowledge or complain.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use quorate_ballot::{
    codec::Reader,
    dkg::{self, Dealer, Parties, Revealed},
    group::{Element, SecretScalar},
    random::SystemDraw,
    record::{Body, Draft, Seat},
    schnorr::Signature,
};
use serde_json::{Value, json};

use super::state::State;
use crate::{
    exit::Failure,
    output,
    rpc::bytes_of,
    voting::{Elections, Hex, PassphraseArgs, Role, SecretFile},
};

/// Time between two looks at what the others have sent.
const POLL: Duration = Duration::from_millis(500);

/// Options of `trustee ceremony`.
#[derive(Debug, Clone, Args)]
pub struct CeremonyArgs {
    /// The election's draft
    #[arg(value_name = "DRAFT")]
    pub draft: Hex<32>,
    /// The trustee's secret
    #[arg(long, value_name = "FILE")]
    pub secret: PathBuf,
    /// The trustee's state, which is made when it is not there
    #[arg(long, value_name = "FILE")]
    pub state: PathBuf,
    /// Wait for the others until the key is made
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, requires = "wait")]
    pub within: u64,
    /// A node's RPC address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8001")]
    pub rpc: String,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn failed(error: impl ToString) -> Failure {
    Failure::failed(error.to_string())
}

/// What is left to do.
enum Next {
    /// Something was sent: look again.
    Sent,
    /// Others must send first.
    Others(String),
    /// The key is made.
    Done([u8; 32]),
}

/// A trustee at a node.
struct Trustee {
    elections: Elections,
    secret: SecretScalar,
    draft: Draft,
    id: [u8; 32],
    number: u16,
    path: PathBuf,
}

/// What a node shows of a ceremony.
struct Shown {
    attempt: u32,
    commitments: Vec<Option<Vec<u8>>>,
    reveals: Vec<Option<Revealed>>,
    acks: Vec<bool>,
}

pub(super) async fn run(args: &CeremonyArgs) -> Result<(), Failure> {
    match take_part(args).await? {
        (trustee, Ok(transcript)) if args.json => {
            output::json(&json!({ "done": true, "trustee": trustee, "transcript": transcript }))
        }
        (_, Ok(transcript)) => output::line(&format!(
            "The key is made (transcript {transcript}). Keep {} and its passphrase: with them you decrypt.",
            args.state.display()
        )),
        (trustee, Err(what)) if args.json => {
            output::json(&json!({ "done": false, "trustee": trustee, "waiting_for": what }))
        }
        (_, Err(what)) => output::line(&format!("{what}. Do the same again later, or use --wait.")),
    }
}

/// Does what is this trustee's to do; gives its number, and the transcript or what others must do first.
///
/// # Errors
///
/// [`Failure`].
pub(crate) async fn take_part(args: &CeremonyArgs) -> Result<(u16, Result<Hex<32>, String>), Failure> {
    let file = SecretFile::load(&args.secret, &[Role::Trustee])?;
    let elections = Elections::at(&args.rpc)?;
    let (id, draft) = elections.draft(&args.draft).await?;
    let mine = (1u16..).zip(&draft.trustees.keys).find(|(_, key)| key.as_bytes() == &file.public_key.0);
    let Some((number, _)) = mine else {
        return Err(Failure::failed(format!("{} is none of the draft's trustees", file.public_key)));
    };
    let secret = file.unlock_key(&args.secret, &args.passphrase)?;
    let trustee = Trustee { elections, secret, draft, id, number, path: args.state.clone() };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(args.within);
    let mut told = String::new();
    loop {
        match trustee.step().await? {
            Next::Sent => {}
            Next::Done(transcript) => return Ok((number, Ok(Hex(transcript)))),
            Next::Others(what) if !args.wait => return Ok((number, Err(what))),
            Next::Others(what) => {
                if told != what {
                    output::note(&what);
                    told = what;
                }
                if tokio::time::Instant::now() >= deadline {
                    return Err(Failure::failed(format!("{told}; waited {} s", args.within)));
                }
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

fn missing<T>(all: &[Option<T>], what: &str) -> Option<String> {
    let numbers: Vec<String> =
        (1..).zip(all).filter(|(_, one)| one.is_none()).map(|(number, _): (u16, _)| number.to_string()).collect();
    (!numbers.is_empty()).then(|| format!("trustee {} has yet to {what}", numbers.join(", ")))
}

impl Trustee {
    fn seat(&self, attempt: u32) -> Seat {
        Seat { draft: self.id, attempt, trustee: self.number }
    }

    fn cid(&self, attempt: u32) -> [u8; 32] {
        let Draft { chain_id, trustees, .. } = &self.draft;
        dkg::ceremony_id(chain_id, &self.id, &trustees.keys, trustees.needed, attempt)
    }

    fn place(&self) -> usize {
        usize::from(self.number).saturating_sub(1)
    }

    async fn send(&self, body: Body) -> Result<Next, Failure> {
        let transaction = body.sign(&self.secret, &mut SystemDraw).map_err(failed)?;
        self.elections.submit(&transaction).await?;
        Ok(Next::Sent)
    }

    async fn shown(&self) -> Result<Shown, Failure> {
        let answer = self.elections.query("ceremony", json!({ "id": Hex(self.id) })).await?;
        let unlike = || Failure::failed("the node's answer on the ceremony is not one");
        let attempt = answer.get("attempt").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let list = answer.get("trustees").and_then(Value::as_array).ok_or_else(unlike)?;
        let mut shown = Shown {
            attempt: attempt.ok_or_else(unlike)?,
            commitments: Vec::new(),
            reveals: Vec::new(),
            acks: Vec::new(),
        };
        for one in list {
            shown.commitments.push(one.get("commitment").and_then(bytes_of));
            shown.acks.push(one.get("ack").is_some_and(|ack| !ack.is_null()));
            let reveal = one.get("reveal").filter(|reveal| !reveal.is_null());
            shown.reveals.push(reveal.map(|reveal| revealed(reveal).ok_or_else(unlike)).transpose()?);
        }
        let n = self.draft.trustees.keys.len();
        if shown.commitments.len() == n { Ok(shown) } else { Err(unlike()) }
    }

    /// The state for an attempt; a new polynomial for a new one, durable before its commitment leaves.
    fn state(&self, attempt: u32, has_committed: bool) -> Result<State, Failure> {
        if let Some(state) = State::load(&self.path, &self.secret)? {
            if (state.draft, state.trustee) != (self.id, self.number) {
                let what =
                    format!("{} is the state for another draft or trustee; name another --state", self.path.display());
                return Err(Failure::failed(what));
            }
            if state.attempt == attempt {
                return Ok(state);
            }
        }
        if has_committed {
            return Err(Failure::failed(format!(
                "trustee {} has committed in attempt {attempt}, and {} is not the state of it. Find that file, or ask the admin to \
                 begin anew (`quorate election restart`)",
                self.number,
                self.path.display()
            )));
        }
        let dealer = Dealer::generate(self.draft.trustees.needed, &mut SystemDraw).map_err(failed)?;
        let state = State::new(&self.path, self.id, self.number, attempt, dealer);
        state.save(&self.secret)?;
        Ok(state)
    }

    async fn step(&self) -> Result<Next, Failure> {
        let shown = self.shown().await?;
        let at = self.place();
        let has_committed = shown.commitments.get(at).is_some_and(Option::is_some);
        let state = self.state(shown.attempt, has_committed)?;
        let (seat, cid) = (self.seat(shown.attempt), self.cid(shown.attempt));
        if !has_committed {
            let commitment = dkg::commitment(&cid, self.number, &state.dealer.public());
            return self.send(Body::Commitment { seat, commitment }).await;
        }
        if let Some(what) = missing(&shown.commitments, "commit") {
            return Ok(Next::Others(what));
        }
        if shown.reveals.get(at).is_some_and(Option::is_none) {
            let Revealed { coefficients, proof, sealed } = self.reveal(&cid, &state.dealer)?;
            return self.send(Body::Reveal { seat, coefficients, proof, sealed }).await;
        }
        if let Some(what) = missing(&shown.reveals, "reveal") {
            return Ok(Next::Others(what));
        }
        let reveals: Vec<Revealed> = shown.reveals.into_iter().flatten().collect();
        self.finish(state, (seat, cid), &reveals, &shown.acks).await
    }

    fn reveal(&self, cid: &[u8; 32], dealer: &Dealer) -> Result<Revealed, Failure> {
        let seal = |(receiver, key): (u16, &Element)| {
            let parties = Parties { cid: *cid, dealer: self.number, receiver };
            dkg::seal(&parties, key, &dealer.share(receiver), &mut SystemDraw).map_err(failed)
        };
        Ok(Revealed {
            coefficients: dealer.public(),
            proof: dealer.prove(cid, self.number, &mut SystemDraw).map_err(failed)?,
            sealed: (1u16..).zip(&self.draft.trustees.keys).map(seal).collect::<Result<_, _>>()?,
        })
    }

    /// Opens what the others have sealed; complains about the first wrong share, or acknowledges.
    async fn finish(
        &self,
        mut state: State,
        (seat, cid): (Seat, [u8; 32]),
        reveals: &[Revealed],
        acks: &[bool],
    ) -> Result<Next, Failure> {
        let mine = reveals.get(self.place()).map(|one| &one.coefficients);
        if mine != Some(&state.dealer.public()) {
            return Err(Failure::failed(
                "what the ledger has of you is not what you revealed: somebody else has your secret, or the node lies. Stop, and tell the admin",
            ));
        }
        let mut shares = Vec::with_capacity(reveals.len());
        for (dealer, revealed) in (1u16..).zip(reveals) {
            let parties = Parties { cid, dealer, receiver: self.number };
            let Some(sealed) = revealed.sealed.get(self.place()) else {
                return Err(Failure::failed(format!("trustee {dealer} sealed no share for you")));
            };
            match dkg::open(&parties, &self.secret, &revealed.coefficients, sealed) {
                Ok(share) => shares.push(share),
                Err(why) => {
                    output::note(&format!("trustee {dealer} sent a wrong share ({why}): complaining"));
                    let accusation = dkg::accuse(&parties, &self.secret, sealed, &mut SystemDraw).map_err(failed)?;
                    let dkg::Accusation { shared, c, z } = accusation;
                    return self.send(Body::Complaint { seat, dealer, shared, c, z }).await;
                }
            }
        }
        let transcript = dkg::transcript(&cid, reveals);
        let share = dkg::own_key(shares.iter().map(|share| &**share)).map_err(failed)?;
        if state.share.is_none() {
            state.share = Some(share);
            state.save(&self.secret)?;
        }
        if !acks.get(self.place()).copied().unwrap_or_default() {
            return self.send(Body::Ack { seat, transcript }).await;
        }
        let waiting: Vec<Option<()>> = acks.iter().map(|ack| ack.then_some(())).collect();
        Ok(match missing(&waiting, "acknowledge") {
            Some(what) => Next::Others(what),
            None => Next::Done(transcript),
        })
    }
}

fn revealed(shown: &Value) -> Option<Revealed> {
    let coefficients = shown.get("coefficients")?.as_array()?.iter().map(|one| {
        let bytes: [u8; 32] = bytes_of(one)?.try_into().ok()?;
        Element::decode(&bytes).ok()
    });
    let sealed = shown.get("sealed")?.as_array()?.iter().map(|one| bytes_of(one)?.try_into().ok());
    let proof = bytes_of(shown.get("proof")?)?;
    Some(Revealed {
        coefficients: coefficients.collect::<Option<_>>()?,
        proof: Signature::read(&mut Reader::new(&proof), "R", "z").ok()?,
        sealed: sealed.collect::<Option<_>>()?,
    })
}
