//! What elections write on a ledger: drafts, lists, ceremonies, manifests, transactions and their receipts. The tables of their bytes
//! and the rules for them are in the specification of the voting application.

mod draft;
mod entry;
mod manifest;
mod receipt;
mod transaction;

pub use draft::{ContestText, DRAFT_BYTES_MAX, Draft, Officers, REGISTRARS_MAX, SUITE, TEXT_BYTES_MAX, TRUSTEES_MAX};
pub use entry::{CREDENTIALS_MAX, ENTRIES_MAX, Entry, pseudonym};
pub use manifest::{MANIFEST_BYTES_MAX, Manifest};
pub use receipt::{Receipt, genesis_hash, next_hash};
pub use transaction::{
    Body, Kind, ListSignature, SEALED_BYTES, SHARE_PARTS_MAX, Seat, SharePart, TRANSACTION_BYTES_MAX, Transaction,
    list_message, transaction_id,
};
