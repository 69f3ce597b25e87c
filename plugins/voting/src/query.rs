//! What can be asked; parameters and answers are JSON. The table of paths is section 8 of `SPEC.md`.

use quorate::{
    Hash,
    application::{QueryError, StateRead},
    merkle,
};
use quorate_ballot::{
    credential,
    group::Element,
    record::{Draft, Manifest, Seat},
    tally::SUM_BYTES,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    refusal::Refusal,
    rules::{self, EVIDENCE_MAX},
    store::{self, Ended, Id, Stage},
};

/// Rows of an answer at most.
pub const LIST_MAX: u32 = 1000;

/// The paths, comma-separated.
pub const PATHS: &str =
    "elections, election, draft, manifest, entries, credential, ceremony, ballot, trackers, tally, shares, app_hash";

/// Bytes of parameters at most.
const PARAMS_BYTES_MAX: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    from: u32,
    #[serde(default = "most")]
    limit: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: Hash,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedPage {
    id: Hash,
    #[serde(default)]
    from: u32,
    #[serde(default = "most")]
    limit: u32,
    registrar: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialOf {
    id: Hash,
    index: Option<u32>,
    key: Option<Hash>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BallotOf {
    id: Hash,
    tracker: Option<Hash>,
    credential: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn most() -> u32 {
    LIST_MAX
}

/// Answers a query.
///
/// # Errors
///
/// [`QueryError`].
pub(crate) fn answer(state: &dyn StateRead, path: &str, params: &[u8]) -> Result<Vec<u8>, QueryError> {
    let answer = match path {
        "elections" => elections(state, &parse(params)?)?,
        "election" => election(state, &parse(params)?)?,
        "draft" => draft(state, &parse(params)?)?,
        "manifest" => manifest(state, &parse(params)?)?,
        "entries" => entries(state, &parse(params)?)?,
        "credential" => of_credential(state, &parse(params)?)?,
        "ceremony" => ceremony(state, &parse(params)?)?,
        "ballot" => ballot(state, &parse(params)?)?,
        "trackers" => trackers(state, &parse(params)?)?,
        "tally" => tally(state, &parse(params)?)?,
        "shares" => shares(state, &parse(params)?)?,
        "app_hash" => {
            let Nothing {} = parse(params)?;
            json!({ "app_hash": store::hash(state)? })
        }
        _ => return Err(QueryError::UnknownPath { path: path.chars().take(80).collect(), known: PATHS.into() }),
    };
    serde_json::to_vec(&answer).map_err(|error| QueryError::State(error.to_string()))
}

fn parse<T: DeserializeOwned>(params: &[u8]) -> Result<T, QueryError> {
    if params.len() > PARAMS_BYTES_MAX {
        let message = format!("parameters have {} bytes; the limit is {PARAMS_BYTES_MAX}", params.len());
        return Err(QueryError::BadParams(message));
    }
    let params = if params.is_empty() || params == b"null" { b"{}" } else { params };
    serde_json::from_slice(params).map_err(|error| QueryError::BadParams(error.to_string()))
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    format!("0x{}", hex::encode(bytes))
}

fn keys(keys: &[Element]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

/// A page's rows, at most [`LIST_MAX`].
fn rows(limit: u32) -> Result<u32, QueryError> {
    match limit {
        1..=LIST_MAX => Ok(limit),
        _ => Err(QueryError::BadParams(format!("limit is {limit}; it must be 1 to {LIST_MAX}"))),
    }
}

/// The draft that `id` names, itself or by its election.
fn named(state: &dyn StateRead, id: &Hash) -> Result<(Id, Draft, Stage), QueryError> {
    let id = *id.as_bytes();
    let id = store::election(state, &id)?.map_or(id, |(draft, _)| draft);
    let (Some(draft), Some(stage)) = (store::draft(state, &id)?, store::stage(state, &id)?) else {
        return Err(QueryError::BadParams(format!("no draft and no election {} is on this chain", hex(id))));
    };
    Ok((id, draft, stage))
}

/// The election that `id` names, itself or by its draft.
fn opened(state: &dyn StateRead, id: &Hash) -> Result<(Id, Manifest), QueryError> {
    let (draft, _, stage) = named(state, id)?;
    let not_open = || QueryError::BadParams(format!("draft {} is not opened yet", hex(draft)));
    let eid = stage.eid.ok_or_else(not_open)?;
    let (_, manifest) = store::election(state, &eid)?.ok_or_else(not_open)?;
    Ok((eid, manifest))
}

/// `draft`, `manifest` (voting goes by its dates), `void`, `closed` or `decided`.
fn phase(state: &dyn StateRead, stage: &Stage) -> Result<&'static str, QueryError> {
    let Some(eid) = &stage.eid else { return Ok("draft") };
    if store::result(state, eid)?.is_some() {
        return Ok("decided");
    }
    Ok(match store::closed(state, eid)? {
        Some(closed) if closed.is_void => "void",
        Some(_) => "closed",
        None => "manifest",
    })
}

fn elections(state: &dyn StateRead, page: &Page) -> Result<Value, QueryError> {
    let limit = rows(page.limit)?;
    let ids = store::drafts_from(state, page.from, usize::try_from(limit).unwrap_or_default())?;
    let mut all = Vec::with_capacity(ids.len());
    for id in &ids {
        let (_, draft, stage) = named(state, &Hash::new(*id))?;
        let ballots = match &stage.eid {
            Some(eid) => store::ballot_box(state, eid)?.count,
            None => 0,
        };
        all.push(json!({
            "draft": hex(id),
            "eid": stage.eid.map(hex),
            "title": draft.title,
            "state": phase(state, &stage)?,
            "opens_ms": draft.opens_ms,
            "closes_ms": draft.closes_ms,
            "credentials": stage.list.as_ref().map(|list| list.count),
            "ballots": ballots,
        }));
    }
    let next = page.from.saturating_add(u32::try_from(all.len()).unwrap_or(u32::MAX));
    let next = (next < store::drafts(state)?).then_some(next);
    Ok(json!({ "elections": all, "next": next }))
}

fn contests(draft: &Draft) -> Vec<Value> {
    let contest = |one: &quorate_ballot::record::ContestText| json!({ "title": one.title, "options": one.options, "lo": one.contest.lo(), "hi": one.contest.hi() });
    draft.contests.iter().map(contest).collect()
}

fn election(state: &dyn StateRead, of: &Named) -> Result<Value, QueryError> {
    let (id, draft, stage) = named(state, &of.id)?;
    let mut answer = json!({
        "draft": hex(id),
        "eid": stage.eid.map(hex),
        "state": phase(state, &stage)?,
        "title": draft.title,
        "contests": contests(&draft),
        "opens_ms": draft.opens_ms,
        "closes_ms": draft.closes_ms,
        "admin": draft.admin.to_string(),
        "registrars": { "keys": keys(&draft.registrars.keys), "quorum": draft.registrars.needed },
        "trustees": { "keys": keys(&draft.trustees.keys), "needed": draft.trustees.needed },
        "ballots_min": draft.ballots_min,
        "list": stage.list.as_ref().map(|list| json!({
            "registrar": list.registrar, "credentials": list.count, "root": hex(list.root),
        })),
        "ceremony": {
            "attempt": stage.attempt,
            "commitments": stage.commitments,
            "reveals": stage.reveals,
            "acks": stage.acks,
            "transcript": stage.transcript.map(hex),
        },
    });
    let Some(eid) = &stage.eid else { return Ok(answer) };
    if let (Some((_, manifest)), Some(fields)) = (store::election(state, eid)?, answer.as_object_mut()) {
        fields.insert("y".into(), json!(manifest.y.to_string()));
        fields.insert("x".into(), json!(keys(&manifest.x)));
        fields.insert("manifest".into(), json!(hex(manifest.encode())));
        fields.insert("ballots".into(), json!(store::ballot_box(state, eid)?.count));
        let closed = store::closed(state, eid)?;
        fields.insert("th".into(), json!(closed.map(|closed| hex(closed.tally))));
        fields.insert("result".into(), result(state, eid, &manifest.draft)?);
    }
    Ok(answer)
}

/// Counts by contest, or null.
fn result(state: &dyn StateRead, eid: &Id, draft: &Draft) -> Result<Value, QueryError> {
    let Some(counts) = store::result(state, eid)? else { return Ok(Value::Null) };
    let mut counts = counts.into_iter();
    let by_contest: Vec<Vec<u32>> =
        draft.contests.iter().map(|one| counts.by_ref().take(usize::from(one.contest.options())).collect()).collect();
    Ok(json!(by_contest))
}

fn draft(state: &dyn StateRead, of: &Named) -> Result<Value, QueryError> {
    let (id, draft, _) = named(state, &of.id)?;
    Ok(json!({ "draft": hex(id), "bytes": hex(draft.encode()) }))
}

/// The manifest as it would be opened, or as it was.
fn manifest(state: &dyn StateRead, of: &Named) -> Result<Value, QueryError> {
    let (id, _, stage) = named(state, &of.id)?;
    let manifest = match &stage.eid {
        Some(eid) => store::election(state, eid)?.map(|(_, manifest)| manifest),
        None => match rules::manifest(state, &id) {
            Ok((_, manifest)) => Some(manifest),
            Err(Refusal::Storage(error)) => return Err(error.into()),
            Err(Refusal::Rule { what, .. }) => return Err(QueryError::BadParams(what)),
        },
    };
    let manifest = manifest.map(|manifest| json!({ "eid": hex(manifest.eid()), "bytes": hex(manifest.encode()) }));
    Ok(json!(manifest))
}

fn entries(state: &dyn StateRead, of: &NamedPage) -> Result<Value, QueryError> {
    let (id, _, stage) = named(state, &of.id)?;
    let limit = rows(of.limit)?;
    let sealed = stage.list.as_ref();
    let Some(registrar) = of.registrar.or(sealed.map(|list| list.registrar)) else {
        return Err(QueryError::BadParams(
            "the list is not sealed yet; name a registrar to see what it entered".into(),
        ));
    };
    let count = store::area(state, &id, registrar)?.tree.leaves();
    let to = of.from.saturating_add(limit).min(count);
    let found = store::entries(state, &id, registrar, (of.from.min(to), to))?;
    let list: Vec<Value> = found.iter().map(|(key, pseudonym)| json!([hex(key), hex(pseudonym)])).collect();
    Ok(json!({
        "registrar": registrar,
        "is_sealed": sealed.is_some_and(|list| list.registrar == registrar),
        "credentials": count,
        "entries": list,
        "next": (to < count).then_some(to),
    }))
}

/// The place of a key in the sealed list: it ascends.
fn place_of(state: &dyn StateRead, draft: &Id, list: &store::SealedList, key: &Id) -> Result<Option<u32>, QueryError> {
    let (mut low, mut high) = (0, list.count);
    while low < high {
        let middle = low.midpoint(high);
        let Some((found, _)) = store::entry(state, draft, list.registrar, middle)? else { return Ok(None) };
        match found.cmp(key) {
            std::cmp::Ordering::Equal => return Ok(Some(middle)),
            std::cmp::Ordering::Less => low = middle.saturating_add(1),
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    Ok(None)
}

/// Credentials of a list for which a path is computed from all leaves.
const PATH_LEAVES_MAX: u32 = 1 << 17;

fn of_credential(state: &dyn StateRead, of: &CredentialOf) -> Result<Value, QueryError> {
    let (id, _, stage) = named(state, &of.id)?;
    let Some(list) = &stage.list else {
        return Err(QueryError::BadParams("the list is not sealed yet".into()));
    };
    let index = match (of.index, &of.key) {
        (Some(index), None) => Some(index).filter(|index| *index < list.count),
        (None, Some(key)) => place_of(state, &id, list, key.as_bytes())?,
        _ => return Err(QueryError::BadParams("give either `index` or `key`".into())),
    };
    let Some(index) = index else { return Ok(Value::Null) };
    let Some((key, pseudonym)) = store::entry(state, &id, list.registrar, index)? else { return Ok(Value::Null) };
    let used = match &stage.eid {
        Some(eid) => store::used(state, eid, index)?,
        None => None,
    };
    Ok(json!({
        "index": index,
        "key": hex(key),
        "pseudonym": hex(pseudonym),
        "path": path(state, &id, list, index)?,
        "used_by": used.map(|(transaction, _)| hex(transaction)),
        "number": used.map(|(_, number)| number),
    }))
}

/// The steps from an entry to the list's root; null for lists too long to do it for whoever asks.
fn path(state: &dyn StateRead, draft: &Id, list: &store::SealedList, index: u32) -> Result<Value, QueryError> {
    if list.count > PATH_LEAVES_MAX {
        return Ok(Value::Null);
    }
    let entries = store::entries(state, draft, list.registrar, (0, list.count))?;
    let leaf = |(place, (key, pseudonym)): (u32, &(Id, Id))| credential::leaf_of(draft, place, key, pseudonym);
    let leaves: Vec<Hash> = (0..).zip(&entries).map(leaf).collect();
    let path = usize::try_from(index).ok().and_then(|index| merkle::path(&leaves, index));
    Ok(json!(path))
}

fn ceremony(state: &dyn StateRead, of: &Named) -> Result<Value, QueryError> {
    let (id, draft, stage) = named(state, &of.id)?;
    let mut ended = Vec::new();
    for attempt in 0..stage.attempt {
        ended.push(match store::ended(state, &id, attempt)? {
            Some(Ended::Complaint { trustee, dealer }) => json!({ "complaint_of": trustee, "about": dealer }),
            _ => json!({ "restarted": true }),
        });
    }
    let mut trustees = Vec::new();
    for trustee in 1..=draft.trustees.count() {
        let seat = Seat { draft: id, attempt: stage.attempt, trustee };
        let reveal = store::reveal(state, &seat)?.map(|reveal| {
            let sealed: Vec<String> = reveal.sealed.iter().map(hex).collect();
            json!({
                "coefficients": keys(&reveal.coefficients),
                "proof": hex(reveal.proof.to_bytes()),
                "sealed": sealed,
            })
        });
        trustees.push(json!({
            "trustee": trustee,
            "key": draft.trustees.key(trustee).map(ToString::to_string),
            "commitment": store::step(state, "commit", &seat)?.map(hex),
            "reveal": reveal,
            "ack": store::step(state, "ack", &seat)?.map(hex),
        }));
    }
    Ok(json!({
        "draft": hex(id),
        "attempt": stage.attempt,
        "needed": draft.trustees.needed,
        "transcript": stage.transcript.map(hex),
        "trustees": trustees,
        "ended": ended,
    }))
}

fn ballot(state: &dyn StateRead, of: &BallotOf) -> Result<Value, QueryError> {
    let (eid, _) = opened(state, &of.id)?;
    let number = match (&of.tracker, of.credential) {
        (Some(tracker), None) => store::tracked(state, &eid, tracker.as_bytes())?,
        (None, Some(index)) => store::used(state, &eid, index)?.map(|(_, number)| number),
        _ => return Err(QueryError::BadParams("give either `tracker` or `credential`".into())),
    };
    let Some(number) = number else { return Ok(Value::Null) };
    let tracker = store::trackers(state, &eid, number.saturating_sub(1), 1)?;
    Ok(json!({ "number": number, "tracker": tracker.first().map(hex) }))
}

fn trackers(state: &dyn StateRead, of: &NamedPage) -> Result<Value, QueryError> {
    let (eid, _) = opened(state, &of.id)?;
    if of.registrar.is_some() {
        return Err(QueryError::BadParams("unknown field `registrar`".into()));
    }
    let found = store::trackers(state, &eid, of.from, rows(of.limit)?)?;
    let next = of.from.saturating_add(u32::try_from(found.len()).unwrap_or(u32::MAX));
    let ballots = store::ballot_box(state, &eid)?.count;
    let list: Vec<String> = found.iter().map(hex).collect();
    Ok(json!({ "trackers": list, "ballots": ballots, "next": (next < ballots).then_some(next) }))
}

fn tally(state: &dyn StateRead, of: &Named) -> Result<Value, QueryError> {
    let (eid, manifest) = opened(state, &of.id)?;
    let ballots = store::ballot_box(state, &eid)?;
    let closed = store::closed(state, &eid)?;
    let (sums, _) = ballots.sums.as_chunks::<SUM_BYTES>();
    let sums: Vec<String> = sums.iter().map(hex).collect();
    Ok(json!({
        "eid": hex(eid),
        "ballots": ballots.count,
        "sums": sums,
        "th": closed.map(|closed| hex(closed.tally)),
        "is_void": closed.map(|closed| closed.is_void),
        "result": result(state, &eid, &manifest.draft)?,
    }))
}

fn shares(state: &dyn StateRead, of: &Named) -> Result<Value, QueryError> {
    let (eid, manifest) = opened(state, &of.id)?;
    let mut all = Vec::new();
    for trustee in 1..=manifest.draft.trustees.count() {
        let parts = store::share(state, &eid, trustee)?.map(|parts| {
            let part = |one: &quorate_ballot::record::SharePart| {
                json!({ "d": one.d.to_string(), "c": hex(one.c.as_bytes()), "z": hex(one.z.as_bytes()) })
            };
            parts.iter().map(part).collect::<Vec<Value>>()
        });
        let evidence: Vec<String> = store::evidence(state, &eid, trustee, EVIDENCE_MAX)?.iter().map(hex).collect();
        all.push(json!({ "trustee": trustee, "parts": parts, "evidence": evidence }));
    }
    Ok(json!({ "eid": hex(eid), "needed": manifest.draft.trustees.needed, "shares": all }))
}
