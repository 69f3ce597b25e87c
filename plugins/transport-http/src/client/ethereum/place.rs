//! Where in the chain: tags, numbers, hashes and ranges as this face's clients write them.

use quorate::{Hash, Height, node::BlockId};
use serde::{Deserialize, Deserializer, de};
use serde_json::json;

use crate::client::{
    errors::{RANGE_TOO_WIDE, RpcError},
    hexadecimal::{Decoded, parse_quantity},
    params::Arguments,
    server::Server,
};

/// Blocks that `eth_getLogs` and filters look at in one call at most.
pub(super) const LOG_BLOCKS_MAX: u64 = 10_000;

/// Which block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Place {
    /// `latest`, `pending`, `safe`, `finalized`: the last final one.
    #[default]
    Latest,
    /// `earliest` is 0.
    Number(Height),
    /// By its hash.
    Hash(Hash),
}

impl Place {
    /// What to ask the node for; `None` for the block of genesis, which it does not have.
    pub(super) fn id(self, server: &Server) -> Option<BlockId> {
        match self {
            Self::Latest => Some(BlockId::Latest),
            Self::Number(Height::GENESIS) => None,
            Self::Number(height) => Some(BlockId::Height(height)),
            Self::Hash(hash) if hash.as_bytes() == server.chain_id.as_bytes() => None,
            Self::Hash(hash) => Some(BlockId::Hash(hash)),
        }
    }

    /// Whether this is genesis: always, or because there is no block yet.
    pub(super) async fn is_genesis(self, server: &Server) -> Result<bool, RpcError> {
        match self {
            Self::Latest => Ok(server.status().await?.height == Height::GENESIS),
            _ => Ok(self.id(server).is_none()),
        }
    }

    /// Its height; that of the last final block for a hash.
    pub(super) async fn height(self, server: &Server) -> Result<Height, RpcError> {
        let latest = server.status().await?.height;
        Ok(match self {
            Self::Number(height) => height.min(latest),
            _ => latest,
        })
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> de::Visitor<'de> for Words {
            type Value = Place;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a block: a number like \"0x1b\", a hash, or latest, earliest, pending, safe, finalized")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Place, E> {
                match text {
                    "latest" | "pending" | "safe" | "finalized" => Ok(Place::Latest),
                    "earliest" => Ok(Place::Number(Height::GENESIS)),
                    _ if text.len() == 66 => text.parse().map(Place::Hash).map_err(E::custom),
                    _ => parse_quantity(text).map(|number| Place::Number(Height(number))).ok_or_else(|| {
                        let shown: String = text.chars().take(80).collect();
                        E::invalid_value(de::Unexpected::Str(&shown), &self)
                    }),
                }
            }

            /// EIP-1898: `{"blockNumber": ..}` or `{"blockHash": ..}`.
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Place, A::Error> {
                let mut place = None;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "blockNumber" | "blockHash" => place = Some(map.next_value::<Place>()?),
                        _ => drop(map.next_value::<de::IgnoredAny>()?),
                    }
                }
                place.ok_or_else(|| de::Error::custom("expected `blockNumber` or `blockHash`"))
            }
        }
        deserializer.deserialize_any(Words)
    }
}

/// A 32-byte hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct HashParam(pub(super) Hash);

impl<'de> Deserialize<'de> for HashParam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Decoded(bytes) = Decoded::deserialize(deserializer)?;
        let bytes: [u8; 32] = bytes
            .as_slice()
            .try_into()
            .map_err(|_| de::Error::custom(format_args!("expected 32 bytes, found {}", bytes.len())))?;
        Ok(Self(Hash::new(bytes)))
    }
}

/// A count or an index: a quantity, or a plain number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index(pub(super) u64);

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        match Either::deserialize(deserializer) {
            Ok(Either::Number(number)) => Ok(Self(number)),
            Ok(Either::Text(text)) => parse_quantity(&text)
                .map(Self)
                .ok_or_else(|| de::Error::custom("expected `0x` and 1 to 16 hexadecimal digits")),
            Err(_) => Err(de::Error::custom("expected a number like \"0x5\"")),
        }
    }
}

/// A range of blocks to look for logs in. There never are any.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogRange;

impl LogRange {
    /// Reads the filter object and checks its range.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) async fn read(server: &Server, arguments: &Arguments<'_>) -> Result<Self, RpcError> {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase")]
        struct Filter {
            from_block: Option<Place>,
            to_block: Option<Place>,
            block_hash: Option<HashParam>,
        }
        let filter: Filter = arguments.optional(0)?.unwrap_or_default();
        if filter.block_hash.is_some() {
            if filter.from_block.is_some() || filter.to_block.is_some() {
                return Err(arguments.wrong(0, "`blockHash` excludes `fromBlock` and `toBlock`"));
            }
            return Ok(Self);
        }
        let from = match filter.from_block.unwrap_or_default() {
            Place::Number(height) => height,
            place => place.height(server).await?,
        };
        let to = match filter.to_block.unwrap_or_default() {
            Place::Number(height) => height,
            place => place.height(server).await?.max(from),
        };
        if to < from {
            return Err(arguments.wrong(0, format!("`fromBlock` {from} is after `toBlock` {to}")));
        }
        if to.0 - from.0 >= LOG_BLOCKS_MAX {
            let reason =
                format!("{} blocks are asked for; the limit is {LOG_BLOCKS_MAX}", (to.0 - from.0).saturating_add(1));
            return Err(RpcError::new(RANGE_TOO_WIDE, json!({ "reason": reason, "limit": LOG_BLOCKS_MAX })));
        }
        Ok(Self)
    }
}
