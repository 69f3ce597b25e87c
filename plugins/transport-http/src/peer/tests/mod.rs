//! Peers over real sockets: what a node gets from them, whatever others do.

mod delivery;
mod greeting;
mod hostile;
mod network;
mod standing;
