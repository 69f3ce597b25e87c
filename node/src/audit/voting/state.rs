//! What is known of elections after some blocks.

use std::collections::{BTreeMap, BTreeSet};

use quorate_ballot::{
    contest::Rules,
    dkg::Revealed,
    record::{Draft, Entry, Manifest, SharePart},
    tally::Sums,
};

use super::{Checked, Fresh, broken, hex};

pub(super) type Id = [u8; 32];

/// All elections of a chain.
#[derive(Default)]
pub(super) struct Elections {
    /// In the order of the ledger.
    pub(super) order: Vec<Id>,
    pub(super) drafts: BTreeMap<Id, Drafted>,
    /// Drafts by their elections.
    pub(super) by_eid: BTreeMap<Id, Id>,
}

/// A draft and what became of it.
pub(super) struct Drafted {
    pub(super) draft: Draft,
    pub(super) rules: Rules,
    /// Entries by registrar.
    pub(super) areas: BTreeMap<u16, Vec<Entry>>,
    /// Transactions that began an area.
    pub(super) begun: BTreeSet<Id>,
    /// Whose area is sealed, and its root.
    pub(super) list: Option<(u16, Id)>,
    pub(super) ceremony: Ceremony,
    /// Attempts before, in words.
    pub(super) ended: Vec<String>,
    pub(super) election: Option<Election>,
}

/// An attempt at the key.
#[derive(Default)]
pub(super) struct Ceremony {
    pub(super) attempt: u32,
    pub(super) commitments: BTreeMap<u16, Id>,
    pub(super) reveals: BTreeMap<u16, Revealed>,
    pub(super) acks: BTreeSet<u16>,
}

/// An opened election.
pub(super) struct Election {
    pub(super) eid: Id,
    pub(super) manifest: Manifest,
    /// Used credentials.
    pub(super) used: BTreeSet<u32>,
    /// Pairs seen.
    pub(super) pairs: BTreeSet<[u8; 64]>,
    pub(super) trackers: Vec<Id>,
    pub(super) sums: Sums,
    /// th, and whether it is void.
    pub(super) closed: Option<(Id, bool)>,
    pub(super) shares: BTreeMap<u16, Vec<SharePart>>,
    /// Transactions with wrong shares, by trustee.
    pub(super) evidence: BTreeMap<u16, Vec<Id>>,
    pub(super) result: Option<Vec<u32>>,
}

impl Elections {
    /// A draft of an earlier block.
    pub(super) fn draft(&mut self, fresh: &Fresh, id: &Id) -> Checked<&mut Drafted> {
        if fresh.drafts.contains(id) {
            return broken(2, format!("the draft {} is made in the same block", hex(id)));
        }
        match self.drafts.get_mut(id) {
            Some(drafted) => Ok(drafted),
            None => broken(2, format!("no draft {} is on the chain", hex(id))),
        }
    }

    /// An election of an earlier block, with its draft's record.
    pub(super) fn election(&mut self, fresh: &Fresh, rule: u8, eid: &Id) -> Checked<(&Draft, &Rules, &mut Election)> {
        if fresh.elections.contains(eid) {
            return broken(rule, format!("the election {} is made in the same block", hex(eid)));
        }
        let drafted = self.by_eid.get(eid).and_then(|draft| self.drafts.get_mut(draft));
        match drafted {
            Some(Drafted { draft, rules, election: Some(election), .. }) => Ok((draft, rules, election)),
            _ => broken(rule, format!("no election {} was opened", hex(eid))),
        }
    }
}

impl Drafted {
    /// The sealed list.
    pub(super) fn sealed(&self) -> Option<&[Entry]> {
        self.list.as_ref().and_then(|(registrar, _)| self.areas.get(registrar)).map(Vec::as_slice)
    }
}
