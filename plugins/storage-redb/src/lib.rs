//! Storage: one redb file.
