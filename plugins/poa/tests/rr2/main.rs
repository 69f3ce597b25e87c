//! The protocol, tested from outside: whole networks, single rules, and hostile bytes.

#[cfg(test)]
mod hostile;
mod missed;
#[cfg(test)]
mod net;
#[cfg(test)]
mod network;
#[cfg(test)]
mod one;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod timing;
