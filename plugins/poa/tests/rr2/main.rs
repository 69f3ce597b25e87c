//! The protocol, tested from outside: whole networks, single rules, and hostile bytes.

#[cfg(test)]
mod net;
#[cfg(test)]
mod network;
