//! The plugins of this crate, tested from outside.

#[cfg(test)]
mod tests;
