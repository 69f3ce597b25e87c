//! A network of one's own: its nodes, ports and genesis, and the files which say so.

mod files;
mod from_library;
mod genesis_file;
mod node_files;
mod plan;
mod ports;

pub use files::{ADMIN_TOKEN, Directory, Files, is_network, render, write_new};
pub use from_library::{Found, FromLibrary};
pub use genesis_file::genesis;
pub use node_files::{backend, bootnode, validator};
pub use plan::{Choice, Chosen, ConsensusChoice, FaultModel, Member, NetworkOptions, Plan, VALIDATORS_MAX};
pub use ports::Ports;
