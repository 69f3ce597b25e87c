//! What admins and registrars do: drafts, lists, openings.

use quorate_ballot::{
    credential, dkg,
    group::Element,
    record::{Body, CREDENTIALS_MAX, Manifest, Receipt, Transaction, list_message},
    schnorr,
    tally::Sums,
    transcript::Tag,
};

use super::{
    Checked, Place, broken, hex, must,
    state::{Ceremony, Drafted, Election, Elections, Id},
    unlike, utc,
};

/// Drafts of a chain at most.
const DRAFTS_MAX: usize = 100_000;

/// Whether a transaction is signed by `key`.
pub(super) fn signed(transaction: &Transaction, key: &Element, who: &str) -> Checked<()> {
    must(3, transaction.is_signed_by(key), || format!("not signed by {who} ({key})"))
}

pub(super) fn draft(
    (chain_id, admins): (&Id, &[Element]),
    elections: &mut Elections,
    place: &mut Place<'_>,
    transaction: &Transaction,
) -> Checked {
    let Body::Draft(draft) = &transaction.body else { return unlike(&transaction.body) };
    let rules = draft.rules().map_err(|error| format!("rule V4: {error}"))?;
    must(5, &draft.chain_id == chain_id, || format!("the draft is for the chain {}", hex(&draft.chain_id)))?;
    must(6, admins.contains(&draft.admin), || format!("{} is no admin of genesis", draft.admin))?;
    signed(transaction, &draft.admin, "the draft's admin")?;
    must(7, place.time.0 < draft.closes_ms, || {
        format!("voting ends at {}, the block is of {}", utc(draft.closes_ms), place.time.utc())
    })?;
    let id = draft.hash();
    must(8, !elections.drafts.contains_key(&id), || format!("the draft {} is on the chain already", hex(&id)))?;
    must(8, elections.drafts.len() < DRAFTS_MAX, || format!("there are {DRAFTS_MAX} drafts already"))?;
    let drafted = Drafted {
        draft: draft.as_ref().clone(),
        rules,
        areas: Default::default(),
        begun: Default::default(),
        list: None,
        ceremony: Ceremony::default(),
        ended: Vec::new(),
        election: None,
    };
    elections.order.push(id);
    elections.drafts.insert(id, drafted);
    place.fresh.drafts.insert(id);
    Ok(Receipt::Draft { draft: id })
}

pub(super) fn entries(elections: &mut Elections, place: &mut Place<'_>, id: Id, transaction: &Transaction) -> Checked {
    let Body::Entries { draft, registrar, first, entries } = &transaction.body else {
        return unlike(&transaction.body);
    };
    let drafted = elections.draft(place.fresh, draft)?;
    let Some(key) = drafted.draft.registrars.key(*registrar) else {
        return broken(9, format!("there is no registrar {registrar}"));
    };
    signed(transaction, key, "the registrar")?;
    must(9, drafted.list.is_none(), || "the list is sealed".into())?;
    let area = drafted.areas.entry(*registrar).or_default();
    let there = area.len();
    must(10, *first == 0 || usize::try_from(*first) == Ok(there), || {
        format!("the first is {first}, and {there} are there")
    })?;
    must(10, !entries.is_empty(), || "no entries".into())?;
    if *first == 0 {
        must(10, drafted.begun.insert(id), || "it began this area before".into())?;
        area.clear();
    }
    for entry in entries {
        let ascends = area.last().is_none_or(|last| last.key.as_bytes() < entry.key.as_bytes());
        must(10, ascends, || format!("{} is not above the entry before it", entry.key))?;
        area.push(entry.clone());
    }
    let count = u32::try_from(area.len()).unwrap_or(u32::MAX);
    must(10, count <= CREDENTIALS_MAX, || format!("{count} entries; {CREDENTIALS_MAX} are the most"))?;
    Ok(Receipt::Entries { draft: *draft, registrar: *registrar, entries: count })
}

pub(super) fn list(elections: &mut Elections, place: &mut Place<'_>, body: &Body) -> Checked {
    let Body::List { draft: id, registrar, count, root, signatures } = body else { return unlike(body) };
    let drafted = elections.draft(place.fresh, id)?;
    must(9, drafted.list.is_none(), || "the list is sealed already".into())?;
    let registrars = &drafted.draft.registrars;
    must(9, registrars.key(*registrar).is_some(), || format!("there is no registrar {registrar}"))?;
    let message = list_message(id, *count, root);
    let mut before = 0;
    for one in signatures {
        must(12, one.registrar > before, || "registrars are not in ascending order".into())?;
        before = one.registrar;
        let Some(key) = registrars.key(one.registrar) else {
            return broken(9, format!("there is no registrar {}", one.registrar));
        };
        let is_signed = schnorr::verify(Tag::RoleSig, key, &message, &one.signature);
        must(12, is_signed, || format!("the signature of registrar {} is wrong", one.registrar))?;
    }
    let (found, needed) = (signatures.len(), registrars.needed);
    must(12, found >= usize::from(needed), || format!("{found} signatures; {needed} are needed"))?;
    let entries = drafted.areas.get(registrar).map_or(&[][..], Vec::as_slice);
    must(11, !entries.is_empty() && u32::try_from(entries.len()) == Ok(*count), || {
        format!("registrar {registrar} has entered {}, not {count}", entries.len())
    })?;
    let right = credential::list_root(id, entries);
    must(11, right == *root, || format!("the root is {}, not {}", hex(&right), hex(root)))?;
    drafted.list = Some((*registrar, *root));
    Ok(Receipt::List { draft: *id, count: *count, root: *root })
}

pub(super) fn open(elections: &mut Elections, place: &mut Place<'_>, transaction: &Transaction) -> Checked {
    let Body::Open { draft: id, eid } = &transaction.body else { return unlike(&transaction.body) };
    let drafted = elections.draft(place.fresh, id)?;
    signed(transaction, &drafted.draft.admin, "the draft's admin")?;
    must(19, drafted.election.is_none(), || "it was opened before".into())?;
    let n = drafted.draft.trustees.count();
    let acks = drafted.ceremony.acks.len();
    must(19, acks == usize::from(n), || format!("{acks} of {n} trustees have acknowledged the key"))?;
    let (Some(entries), Some((_, root))) = (drafted.sealed(), drafted.list) else {
        return broken(19, "the list is not sealed");
    };
    let credentials = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    let reveals: Vec<_> = drafted.ceremony.reveals.values().cloned().collect();
    let coefficients: Vec<Vec<Element>> = reveals.iter().map(|one| one.coefficients.clone()).collect();
    let dkg::PublicKeys { y, x } = dkg::public_keys(&coefficients).map_err(|error| format!("rule V15: {error}"))?;
    let cid = super::ceremony::id_of(id, drafted);
    let manifest =
        Manifest { draft: drafted.draft.clone(), transcript: dkg::transcript(&cid, &reveals), y, x, credentials, root };
    let right = manifest.eid();
    must(19, right == *eid, || format!("the records make the election {}, not {}", hex(&right), hex(eid)))?;
    let closes = drafted.draft.closes_ms;
    must(19, place.time.0 < closes, || {
        format!("voting ends at {}, the block is of {}", utc(closes), place.time.utc())
    })?;
    drafted.election = Some(Election {
        eid: *eid,
        manifest,
        used: Default::default(),
        pairs: Default::default(),
        trackers: Vec::new(),
        sums: Sums::new(&drafted.rules),
        closed: None,
        shares: Default::default(),
        evidence: Default::default(),
        result: None,
    });
    elections.by_eid.insert(*eid, *id);
    place.fresh.elections.insert(*eid);
    Ok(Receipt::Open { draft: *id, eid: *eid })
}
