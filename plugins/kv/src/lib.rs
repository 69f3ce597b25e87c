//! Application: signed key-value writes.
