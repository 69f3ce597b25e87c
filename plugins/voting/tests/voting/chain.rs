//! A chain in memory, and the people of an election.

use quorate::{
    Application, Bytes, ChainId, Height, Timestamp, TransactionId,
    application::{BlockContext, ExecuteError, Mode, Outcome, Rejection},
};
use quorate_ballot::{
    ballot::{self, Choices, ElectionKey},
    contest::{Contest, Rules},
    credential,
    dkg::{self, Dealer, Parties, Revealed},
    group::SecretScalar,
    random::{Draw as _, SystemDraw},
    record::{
        Body, ContestText, Draft, Entry, ListSignature, Manifest, Officers, Receipt, Seat, Transaction, list_message,
    },
    schnorr,
    tally::{self, ShareOf, Sums},
    transcript::Tag,
};
use quorate_testkit::memory::MemoryState;
use quorate_voting::Voting;
use serde_json::{Value, json};

use crate::opinion;

pub(crate) const CHAIN: ChainId = ChainId::new([0xc4; 32]);

/// Voting is possible from here on, in milliseconds since 1970.
pub(crate) const OPENS: u64 = 1_000_000;

/// And up to here.
pub(crate) const CLOSES: u64 = 2_000_000;

pub(crate) fn secret() -> SecretScalar {
    SystemDraw.secret().unwrap()
}

/// A node's application with its state.
#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) voting: Voting,
    pub(crate) state: MemoryState,
    pub(crate) height: u64,
    pub(crate) now: u64,
    /// The blocks so far: time and transactions.
    pub(crate) history: Vec<(u64, Vec<Bytes>)>,
}

impl Chain {
    pub(crate) fn new(admin: &SecretScalar) -> Self {
        Self::of(CHAIN, admin)
    }

    pub(crate) fn of(chain_id: ChainId, admin: &SecretScalar) -> Self {
        let voting = Voting::new(chain_id, vec![admin.public()]);
        let state = MemoryState::genesis(&voting).unwrap();
        Self { voting, state, height: 0, now: 1000, history: Vec::new() }
    }

    pub(crate) fn execute(&mut self, mode: Mode, transactions: &[Bytes]) -> Result<Outcome, ExecuteError> {
        let mut after = self.state.clone();
        let block = BlockContext {
            chain_id: *self.voting.chain_id(),
            height: Height(self.height + 1),
            time: Timestamp(self.now),
            mode,
            transactions: transactions.into(),
            misbehaviour: &[],
        };
        let outcome = match self.voting.execute(&mut after, &block) {
            Ok(outcome) => outcome,
            Err(error) => {
                if let ExecuteError::Invalid { rejection, .. } = &error {
                    opinion::refuses(self, transactions, &rejection.to_string());
                }
                return Err(error);
            }
        };
        let is_kept = |at: &usize| !outcome.left_out.iter().any(|(left, _)| left == at);
        let kept: Vec<Bytes> = (0..transactions.len()).filter(is_kept).map(|at| transactions[at].clone()).collect();
        opinion::accepts(self, &kept, &outcome);
        self.history.push((self.now, kept));
        self.state = after;
        self.height += 1;
        Ok(outcome)
    }

    /// What a node says to a transaction: as its pool would, and in a block.
    pub(crate) fn submit(&mut self, bytes: &[u8]) -> Result<Receipt, String> {
        let one = Bytes::copy_from_slice(bytes);
        let text = |rejection: Rejection| rejection.to_string();
        let checked = self.voting.check(&self.state, Timestamp(self.now), &one).map_err(text);
        let verified = self.voting.verify(&self.state, std::slice::from_ref(&one)).remove(0).map_err(text);
        if let Err(why) = checked.and(verified) {
            opinion::refuses(self, std::slice::from_ref(&one), &why);
            return Err(why);
        }
        let built = self.execute(Mode::Build, std::slice::from_ref(&one)).unwrap();
        assert_eq!(built.left_out, [], "what pool and verification accept, a block accepts");
        Ok(Receipt::decode(&built.receipts[0]).unwrap())
    }

    pub(crate) fn good(&mut self, bytes: &[u8]) -> Receipt {
        self.submit(bytes).unwrap()
    }

    /// Submits what must be refused under a rule and code.
    pub(crate) fn bad(&mut self, bytes: &[u8], code: &str) {
        let before = self.state.clone();
        match self.submit(bytes) {
            Ok(receipt) => panic!("accepted, where `{code}` was due: {receipt:?}"),
            Err(why) => assert!(why.contains(code), "`{code}` was due, not: {why}"),
        }
        assert!(self.state == before, "a refusal changes nothing");
    }

    pub(crate) fn query(&self, path: &str, params: &Value) -> Value {
        let answer = self.voting.query(&self.state, path, params.to_string().as_bytes());
        serde_json::from_slice(&answer.unwrap()).unwrap()
    }
}

/// The people of an election, and what they know.
#[derive(Clone)]
pub(crate) struct People {
    pub(crate) admin: SecretScalar,
    pub(crate) registrars: Vec<SecretScalar>,
    pub(crate) trustees: Vec<SecretScalar>,
    /// In the order of the list.
    pub(crate) voters: Vec<SecretScalar>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) draft: Draft,
}

impl People {
    /// 2 of 3 registrars, 2 of 3 trustees, `voters` voters; a contest of 3 options (1..1) and one of 4 (0..2).
    pub(crate) fn new(voters: u16) -> Self {
        let mut registrars: Vec<SecretScalar> = (0..3).map(|_| secret()).collect();
        registrars.sort_by_key(|one| *one.public().as_bytes());
        let trustees: Vec<SecretScalar> = (0..3).map(|_| secret()).collect();
        let mut voters: Vec<SecretScalar> = (0..voters).map(|_| secret()).collect();
        voters.sort_by_key(|one| *one.public().as_bytes());
        let entries = voters.iter().map(|one| Entry { key: one.public(), pseudonym: [7; 32] }).collect();
        let admin = secret();
        let keys = |secrets: &[SecretScalar]| secrets.iter().map(SecretScalar::public).collect();
        let contest = |title: &str, options: &[&str], lo, hi| ContestText {
            contest: Contest::new(options.len() as u16, lo, hi).unwrap(),
            title: title.into(),
            options: options.iter().map(ToString::to_string).collect(),
        };
        let draft = Draft {
            chain_id: *CHAIN.as_bytes(),
            title: "Wahl 2026 \u{1f5f3}".into(),
            contests: vec![
                contest("Chair", &["Ada", "Grace", "blank"], 1, 1),
                contest("Board", &["A", "B", "C", "D"], 0, 2),
            ],
            opens_ms: OPENS,
            closes_ms: CLOSES,
            admin: admin.public(),
            registrars: Officers { keys: keys(&registrars), needed: 2 },
            trustees: Officers { keys: keys(&trustees), needed: 2 },
            ballots_min: 1,
            nonce: [1; 32],
        };
        Self { admin, registrars, trustees, voters, entries, draft }
    }

    pub(crate) fn id(&self) -> [u8; 32] {
        self.draft.hash()
    }

    pub(crate) fn rules(&self) -> Rules {
        self.draft.rules().unwrap()
    }

    pub(crate) fn chain(&self) -> Chain {
        Chain::new(&self.admin)
    }

    pub(crate) fn seat(&self, attempt: u32, trustee: u16) -> Seat {
        Seat { draft: self.id(), attempt, trustee }
    }

    pub(crate) fn draft_transaction(&self) -> Vec<u8> {
        signed(Body::Draft(Box::new(self.draft.clone())), &self.admin)
    }

    pub(crate) fn entries_transaction(&self, registrar: u16, first: u32, entries: &[Entry]) -> Vec<u8> {
        let body = Body::Entries { draft: self.id(), registrar, first, entries: entries.to_vec() };
        signed(body, &self.registrars[usize::from(registrar) - 1])
    }

    pub(crate) fn root(&self) -> [u8; 32] {
        credential::list_root(&self.id(), &self.entries)
    }

    pub(crate) fn list_signature(&self, registrar: u16, count: u32, root: &[u8; 32]) -> ListSignature {
        let message = list_message(&self.id(), count, root);
        let key = &self.registrars[usize::from(registrar) - 1];
        ListSignature { registrar, signature: schnorr::sign(Tag::RoleSig, key, &message, &mut SystemDraw).unwrap() }
    }

    pub(crate) fn list_transaction(&self, registrar: u16, count: u32, root: [u8; 32], signers: &[u16]) -> Vec<u8> {
        let signatures = signers.iter().map(|one| self.list_signature(*one, count, &root)).collect();
        Body::List { draft: self.id(), registrar, count, root, signatures }.unsigned().encode()
    }

    pub(crate) fn enrol(&self, chain: &mut Chain) {
        chain.good(&self.entries_transaction(1, 0, &self.entries));
        chain.good(&self.list_transaction(1, self.entries.len() as u32, self.root(), &[1, 3]));
    }

    pub(crate) fn cid(&self, attempt: u32) -> [u8; 32] {
        dkg::ceremony_id(&self.draft.chain_id, &self.id(), &self.draft.trustees.keys, 2, attempt)
    }

    pub(crate) fn commitment(&self, attempt: u32, trustee: u16, dealer: &Dealer) -> Vec<u8> {
        let commitment = dkg::commitment(&self.cid(attempt), trustee, &dealer.public());
        signed(
            Body::Commitment { seat: self.seat(attempt, trustee), commitment },
            &self.trustees[usize::from(trustee) - 1],
        )
    }

    pub(crate) fn revealed(&self, attempt: u32, trustee: u16, dealer: &Dealer) -> Revealed {
        let cid = self.cid(attempt);
        let seal = |receiver: u16| {
            let parties = Parties { cid, dealer: trustee, receiver };
            let key = self.trustees[usize::from(receiver) - 1].public();
            dkg::seal(&parties, &key, &dealer.share(receiver), &mut SystemDraw).unwrap()
        };
        Revealed {
            coefficients: dealer.public(),
            proof: dealer.prove(&cid, trustee, &mut SystemDraw).unwrap(),
            sealed: (1..=3).map(seal).collect(),
        }
    }

    pub(crate) fn reveal(&self, attempt: u32, trustee: u16, revealed: &Revealed) -> Vec<u8> {
        let Revealed { coefficients, proof, sealed } = revealed.clone();
        let body = Body::Reveal { seat: self.seat(attempt, trustee), coefficients, proof, sealed };
        signed(body, &self.trustees[usize::from(trustee) - 1])
    }

    pub(crate) fn ack(&self, attempt: u32, trustee: u16, transcript: [u8; 32]) -> Vec<u8> {
        signed(Body::Ack { seat: self.seat(attempt, trustee), transcript }, &self.trustees[usize::from(trustee) - 1])
    }

    /// The ceremony from commitments to acks; the trustees' shares of the key.
    pub(crate) fn ceremony(&self, chain: &mut Chain, attempt: u32) -> Vec<SecretScalar> {
        self.ceremony_of(chain, attempt).1
    }

    /// The same, with its transactions.
    pub(crate) fn ceremony_of(&self, chain: &mut Chain, attempt: u32) -> (Vec<Vec<u8>>, Vec<SecretScalar>) {
        let mut sent = Vec::new();
        let mut send = |chain: &mut Chain, transaction: Vec<u8>| {
            chain.good(&transaction);
            sent.push(transaction);
        };
        let dealers: Vec<Dealer> = (0..3).map(|_| Dealer::generate(2, &mut SystemDraw).unwrap()).collect();
        for (trustee, dealer) in (1..).zip(&dealers) {
            send(chain, self.commitment(attempt, trustee, dealer));
        }
        let reveals: Vec<Revealed> =
            (1..).zip(&dealers).map(|(trustee, dealer)| self.revealed(attempt, trustee, dealer)).collect();
        for (trustee, revealed) in (1..).zip(&reveals) {
            send(chain, self.reveal(attempt, trustee, revealed));
        }
        let transcript = dkg::transcript(&self.cid(attempt), &reveals);
        for trustee in 1..=3 {
            send(chain, self.ack(attempt, trustee, transcript));
        }
        let own = |receiver: u16| {
            let shares: Vec<_> = (1..)
                .zip(&reveals)
                .map(|(dealer, revealed)| {
                    let parties = Parties { cid: self.cid(attempt), dealer, receiver };
                    let (key, at) = (&self.trustees[usize::from(receiver) - 1], usize::from(receiver) - 1);
                    dkg::open(&parties, key, &revealed.coefficients, &revealed.sealed[at]).unwrap()
                })
                .collect();
            dkg::own_key(shares.iter().map(|share| &**share)).unwrap()
        };
        (sent, (1..=3).map(own).collect())
    }

    pub(crate) fn manifest(&self, chain: &Chain) -> Manifest {
        let answer = chain.query("manifest", &json!({ "id": hex(&self.id()) }));
        Manifest::decode(&unhex(&answer["bytes"])).unwrap()
    }

    pub(crate) fn open_transaction(&self, manifest: &Manifest) -> Vec<u8> {
        signed(Body::Open { draft: self.id(), eid: manifest.eid() }, &self.admin)
    }

    pub(crate) fn open(&self, chain: &mut Chain) -> Manifest {
        let manifest = self.manifest(chain);
        chain.good(&self.open_transaction(&manifest));
        manifest
    }

    /// From draft to open, at a time when voting is possible.
    pub(crate) fn up_to_voting(&self) -> Opened {
        let mut chain = self.chain();
        chain.good(&self.draft_transaction());
        self.enrol(&mut chain);
        let shares = self.ceremony(&mut chain, 0);
        let manifest = self.open(&mut chain);
        chain.now = OPENS;
        Opened { people: self.clone(), chain, shares, manifest }
    }
}

/// An election in which voting is possible.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) people: People,
    pub(crate) chain: Chain,
    /// The trustees' shares of the election's key.
    pub(crate) shares: Vec<SecretScalar>,
    pub(crate) manifest: Manifest,
}

impl Opened {
    pub(crate) fn key(&self) -> ElectionKey {
        self.manifest.key()
    }

    /// A voter's ballot for option `first` of the first contest, and no one in the second.
    pub(crate) fn ballot(&self, voter: u16, first: usize) -> Vec<u8> {
        let choices = vec![(0..3).map(|at| at == first).collect(), vec![false; 4]];
        self.ballot_of(voter, &choices)
    }

    pub(crate) fn ballot_of(&self, voter: u16, chosen: &[Vec<bool>]) -> Vec<u8> {
        let credential = &self.people.voters[usize::from(voter)];
        let rules = self.people.rules();
        let choices = Choices::new(&rules, chosen).unwrap();
        let at = (u32::from(voter), &credential.public());
        let (sealed, _) = ballot::encrypt(&self.key(), &rules, at, &choices, &mut SystemDraw).unwrap();
        sealed.cast(credential, &mut SystemDraw).unwrap()
    }

    pub(crate) fn close(&mut self) -> Receipt {
        self.chain.now = CLOSES + 1;
        self.chain.good(&Body::Close { eid: self.key().eid }.unsigned().encode())
    }

    /// The sums and the tally's hash, as a trustee's tool finds them.
    pub(crate) fn tally(&self) -> (Sums, [u8; 32]) {
        let answer = self.chain.query("tally", &json!({ "id": hex(&self.key().eid) }));
        let sums: Vec<u8> = answer["sums"].as_array().unwrap().iter().flat_map(unhex).collect();
        (Sums::decode(&self.people.rules(), &sums).unwrap(), unhex(&answer["th"]).try_into().unwrap())
    }

    pub(crate) fn share_of(&self, trustee: u16, key: &SecretScalar) -> Vec<u8> {
        let (sums, tally) = self.tally();
        let of = ShareOf { eid: self.key().eid, tally, trustee };
        let parts = tally::decrypt(&of, &self.people.rules(), &sums, key, &mut SystemDraw).unwrap();
        let body = Body::Share { eid: of.eid, tally, trustee, parts };
        signed(body, &self.people.trustees[usize::from(trustee) - 1])
    }

    pub(crate) fn share(&self, trustee: u16) -> Vec<u8> {
        self.share_of(trustee, &self.shares[usize::from(trustee) - 1])
    }
}

pub(crate) fn signed(body: Body, secret: &SecretScalar) -> Vec<u8> {
    body.sign(secret, &mut SystemDraw).unwrap().encode()
}

/// A ballot as a transaction.
pub(crate) fn cast(ballot: &[u8]) -> Vec<u8> {
    Body::Ballot(ballot.to_vec()).unsigned().encode()
}

pub(crate) fn decoded(bytes: &[u8]) -> Transaction {
    Transaction::decode(bytes).unwrap()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

pub(crate) fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap().trim_start_matches("0x")).unwrap()
}

pub(crate) fn id(transaction: &[u8]) -> TransactionId {
    TransactionId::new(quorate_ballot::record::transaction_id(transaction))
}
