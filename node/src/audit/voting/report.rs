//! What an audit found of elections.

use serde::Serialize;

use super::state::{Drafted, Elections};

/// An election.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ElectionReport {
    /// The draft's id.
    pub draft: String,
    /// The election's id, once it is opened.
    pub eid: Option<String>,
    /// Its title.
    pub title: String,
    /// `draft`, `manifest`, `void`, `closed` or `decided`.
    pub state: &'static str,
    /// Credentials in the sealed list.
    pub credentials: Option<u32>,
    /// Ballots counted.
    pub ballots: u32,
    /// The tally's hash.
    pub th: Option<String>,
    /// Votes by contest, once decided.
    pub result: Option<Vec<ContestReport>>,
    /// Trustees whose valid shares are there.
    pub shares: Vec<u16>,
    /// Wrong shares that were kept: trustee, transaction.
    pub evidence: Vec<(u16, String)>,
    /// Why attempts at the key ceremony ended.
    pub ceremonies_ended: Vec<String>,
}

/// A contest's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContestReport {
    /// Its title.
    pub title: String,
    /// Each option's text and votes.
    pub options: Vec<(String, u32)>,
}

pub(super) fn of(elections: &Elections) -> Vec<ElectionReport> {
    elections.order.iter().filter_map(|id| Some(one(super::hex(id), elections.drafts.get(id)?))).collect()
}

fn one(draft: String, drafted: &Drafted) -> ElectionReport {
    let credentials = drafted.sealed().map(|list| u32::try_from(list.len()).unwrap_or(u32::MAX));
    let mut report = ElectionReport {
        draft,
        eid: None,
        title: drafted.draft.title.clone(),
        state: "draft",
        credentials,
        ballots: 0,
        th: None,
        result: None,
        shares: Vec::new(),
        evidence: Vec::new(),
        ceremonies_ended: drafted.ended.clone(),
    };
    let Some(election) = &drafted.election else { return report };
    report.eid = Some(super::hex(&election.eid));
    report.ballots = u32::try_from(election.trackers.len()).unwrap_or(u32::MAX);
    report.th = election.closed.map(|(tally, _)| super::hex(&tally));
    report.state = match (&election.result, election.closed) {
        (Some(_), _) => "decided",
        (None, Some((_, true))) => "void",
        (None, Some(_)) => "closed",
        (None, None) => "manifest",
    };
    report.shares = election.shares.keys().copied().collect();
    report.evidence =
        election.evidence.iter().flat_map(|(trustee, all)| all.iter().map(|id| (*trustee, super::hex(id)))).collect();
    report.result = election.result.as_ref().map(|counts| {
        let mut counts = counts.iter().copied();
        let contest = |one: &quorate_ballot::record::ContestText| ContestReport {
            title: one.title.clone(),
            options: one.options.iter().cloned().zip(counts.by_ref()).collect(),
        };
        drafted.draft.contests.iter().map(contest).collect()
    });
    report
}
