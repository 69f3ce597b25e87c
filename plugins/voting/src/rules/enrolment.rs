//! Who may vote: rules V9 to V12.

use quorate::application::StateRead;
use quorate_ballot::record::{CREDENTIALS_MAX, Draft, Entry, ListSignature};

use super::{hex, known_stage, registrar};
use crate::{
    refusal::{Refusal, Ruled},
    store::{self, Id, SealedList, Stage},
};

pub(super) fn list_is_open(stage: &Stage) -> Ruled {
    match &stage.list {
        None => Ok(()),
        Some(SealedList { count, .. }) => {
            Err(Refusal::not_allowed(9, "list.sealed", format!("the list is sealed, with {count} credentials")))
        }
    }
}

/// V9, V10; gives the area's count before.
pub(crate) fn entries(
    state: &dyn StateRead,
    id: &Id,
    (number, first): (u16, u32),
    entries: &[Entry],
) -> Ruled<store::Area> {
    let (draft, stage) = known_stage(state, id)?;
    registrar(&draft, number)?;
    list_is_open(&stage)?;
    let stored = store::area(state, id, number)?;
    let area = if first == 0 { store::Area::default() } else { stored.clone() };
    if first != area.tree.leaves() {
        let what =
            format!("the first is {first}; {} are there, so it must be that, or 0 to begin anew", stored.tree.leaves());
        return Err(Refusal::not_allowed(10, "entries.order", what));
    }
    let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    if count == 0 || first.saturating_add(count) > CREDENTIALS_MAX {
        let what = format!("{count} entries after {first}; at least 1, and {CREDENTIALS_MAX} in all");
        return Err(Refusal::not_allowed(10, "entries.count", what));
    }
    let mut last = (first > 0).then_some(area.last);
    for entry in entries {
        let key = *entry.key.as_bytes();
        if last.is_some_and(|last| last >= key) {
            let what = format!("{} is not above the entry before it; entries ascend by key, none twice", entry.key);
            return Err(Refusal::not_allowed(10, "entries.order", what));
        }
        last = Some(key);
    }
    Ok(area)
}

/// V12 without the signatures.
pub(crate) fn list_quorum(draft: &Draft, signatures: &[ListSignature]) -> Ruled {
    let needed = draft.registrars.needed;
    let numbers: Vec<u16> = signatures.iter().map(|one| one.registrar).collect();
    if numbers.len() < usize::from(needed) {
        let what = format!("{} registrars signed; {needed} must", numbers.len());
        return Err(Refusal::not_allowed(12, "list.quorum", what));
    }
    if !numbers.is_sorted_by(|a, b| a < b) {
        return Err(Refusal::malformed(12, "list.quorum", "the registrars are not in ascending order, each once"));
    }
    numbers.iter().try_for_each(|number| registrar(draft, *number).map(drop))
}

/// V9, V11, V12 without the signatures.
pub(crate) fn list(state: &dyn StateRead, id: &Id, named: &SealedList, signatures: &[ListSignature]) -> Ruled<Stage> {
    let (draft, stage) = known_stage(state, id)?;
    registrar(&draft, named.registrar)?;
    list_is_open(&stage)?;
    list_quorum(&draft, signatures)?;
    let area = store::area(state, id, named.registrar)?;
    let found = area.tree.leaves();
    if found == 0 || found != named.count {
        let what = format!("registrar {} has entered {found} credentials, not {}", named.registrar, named.count);
        return Err(Refusal::not_allowed(11, "list.count", what));
    }
    let root = area.tree.root();
    if *root.as_bytes() != named.root {
        let what =
            format!("the root of what registrar {} entered is {root}, not {}", named.registrar, hex(&named.root));
        return Err(Refusal::not_allowed(11, "list.root", what));
    }
    Ok(stage)
}
