//! Transport: authenticated peers, JSON-RPC and WebSocket over hyper.
//!
//! ```text
//!   other nodes                         clients
//!       |  TLS 1.3, node keys              |  HTTP, WebSocket
//!  +----v----+                        +----v----+
//!  |  peer   |                        | client  |---- Request ----> the node
//!  +----+----+                        +----+----+
//!       | events, commands                 ^ Committed
//!  +----v----------------------------------+----+
//!  |                  plugin                    |
//!  +--------------------^-----------------------+
//!                       |  TransportCommand, TransportEvent
//! ```
//!
//! Read [`settings`] for addresses and limits, [`client`] and [`peer`] for the two sides, `plugin` for how they are put together.

pub mod client;
pub mod peer;
mod plugin;
pub mod settings;

pub use plugin::HttpPlugin;
