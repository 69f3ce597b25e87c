//! What a plugin says of itself, in texts that live as long as the process.
#![expect(unsafe_code, reason = "fills in a structure of the node's")]

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use quorate::plugin::Descriptor;

use super::call::Refusal;
use crate::raw::{QuorateBytes, QuorateDescription};

/// Promises joined by line breaks, each list once.
fn joined(promises: &'static [&'static str]) -> &'static str {
    static KNOWN: Mutex<BTreeMap<&[&str], &str>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(promises).or_insert_with(|| Box::leak(promises.join("\n").into_boxed_str()))
}

/// Fills in the node's structure.
///
/// # Safety
///
/// `to` is null or valid, and its `size` is set.
pub(super) unsafe fn fill(descriptor: &Descriptor, flags: u32, to: *mut QuorateDescription) -> Result<(), Refusal> {
    // SAFETY: as the caller promises.
    let Some(to) = (unsafe { to.as_mut() }) else { return Err(Refusal::Arguments("no description".into())) };
    if (to.size as usize) < size_of::<QuorateDescription>() {
        return Err(Refusal::Arguments(format!("a description has {} bytes", to.size)));
    }
    let Descriptor { name, version, summary, example, schema, promises, .. } = descriptor;
    let promises = joined(promises);
    to.flags = flags;
    let texts = [
        (&mut to.name, name),
        (&mut to.version, version),
        (&mut to.summary, summary),
        (&mut to.example, example),
        (&mut to.schema, schema),
        (&mut to.promises, &promises),
    ];
    for (place, text) in texts {
        *place = QuorateBytes::of(text.as_bytes());
    }
    Ok(())
}
