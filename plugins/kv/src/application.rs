//! The rules: what a write needs, and what it does.

use std::sync::Arc;

use quorate::{
    Application, Bytes, ChainId, Hash, PublicKey, Settings, TransactionId,
    application::{Admission, BlockContext, ExecuteError, Mode, Outcome, QueryError, Rejection, StateRead, StateWrite},
    plugin::{ApplicationPlugin, Descriptor, SetupError},
    signature::{Signed, verify_batch},
    storage::StorageError,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use crate::put::{Put, VALUE_BYTES_MAX};

/// Pairs in an answer to `list` at most.
const LIST_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    value_bytes_max: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {}

/// The plugin `kv`.
#[derive(Debug, Clone, Copy, Default)]
pub struct KvPlugin;

fn shared(settings: &Settings) -> Result<Shared, SetupError> {
    let table: Shared = settings.parse()?;
    if !(1..=VALUE_BYTES_MAX).contains(&table.value_bytes_max) {
        let message = format!("value_bytes_max is {}; it must be 1 to {VALUE_BYTES_MAX}", table.value_bytes_max);
        return Err(vec![settings.error("value_bytes_max", message)].into());
    }
    Ok(table)
}

impl ApplicationPlugin for KvPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            name: "kv",
            version: env!("CARGO_PKG_VERSION"),
            summary: "signed key-value writes, a key space and a sequence for each signer",
            example: "",
        }
    }

    fn check(&self, shared_settings: &Settings, settings: &Settings) -> Result<(), SetupError> {
        shared(shared_settings)?;
        settings.parse::<Own>()?;
        Ok(())
    }

    fn build(
        &self,
        chain_id: ChainId,
        shared_settings: &Settings,
        _settings: &Settings,
    ) -> Result<Arc<dyn Application>, SetupError> {
        Ok(Arc::new(Kv { chain_id, value_bytes_max: shared(shared_settings)?.value_bytes_max }))
    }
}

struct Kv {
    chain_id: ChainId,
    value_bytes_max: usize,
}

fn nonce_key(signer: &PublicKey) -> Vec<u8> {
    [b"n", signer.as_bytes().as_slice()].concat()
}

fn value_key(signer: &PublicKey, key: &[u8]) -> Vec<u8> {
    [b"v", signer.as_bytes().as_slice(), key].concat()
}

fn winner_key(signer: &PublicKey, nonce: u64) -> Vec<u8> {
    [b"w", signer.as_bytes().as_slice(), &nonce.to_be_bytes()].concat()
}

const HASH_KEY: &[u8] = b"h";

fn app_hash(state: &dyn StateRead) -> Result<Hash, StorageError> {
    let found = state.get(HASH_KEY)?;
    let bytes = found.and_then(|raw| raw.as_ref().try_into().ok());
    bytes.map(Hash::new).ok_or_else(|| StorageError::Damaged("kv: the application hash is missing".into()))
}

fn next_nonce(state: &dyn StateRead, signer: &PublicKey) -> Result<u64, StorageError> {
    let Some(raw) = state.get(&nonce_key(signer))? else { return Ok(0) };
    let bytes = raw.as_ref().try_into();
    bytes.map(u64::from_le_bytes).map_err(|_| StorageError::Damaged("kv: a nonce can't be read".into()))
}

/// Why a nonce below the next is refused: who took it.
fn taken(state: &dyn StateRead, put: &Put) -> Result<Rejection, StorageError> {
    let winner = state.get(&winner_key(&put.signer, put.nonce))?;
    let winner = winner.and_then(|raw| raw.as_ref().try_into().ok());
    let winner = winner.ok_or_else(|| StorageError::Damaged("kv: the taker of a nonce is missing".into()))?;
    Ok(Rejection::Duplicate { winner: TransactionId::new(winner) })
}

impl Kv {
    /// One write: `Err` of the inner result when the state does not allow it.
    fn apply(
        &self,
        state: &mut dyn StateWrite,
        transaction: &[u8],
        id: &TransactionId,
    ) -> Result<Result<Bytes, Rejection>, StorageError> {
        let put = match Put::decode(transaction, self.value_bytes_max) {
            Ok(put) => put,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let next = next_nonce(state, &put.signer)?;
        if put.nonce < next {
            return Ok(Err(taken(state, &put)?));
        }
        if put.nonce > next {
            return Ok(Err(Rejection::NotAllowed(format!("nonce is {}, the signer's next is {next}", put.nonce))));
        }
        let key = value_key(&put.signer, &put.key);
        match &put.value {
            Some(value) => state.put(&key, value),
            None => state.delete(&key),
        }
        state.put(&nonce_key(&put.signer), &next.saturating_add(1).to_le_bytes());
        state.put(&winner_key(&put.signer, put.nonce), id.as_bytes());
        // Writing plain fields to memory does not fail.
        Ok(Ok(borsh::to_vec(&(put.signer, put.nonce)).unwrap_or_default().into()))
    }
}

impl Application for Kv {
    fn genesis(&self, state: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        let hash = Hash::of(&[b"quorate/kv/genesis\0"]);
        state.put(HASH_KEY, hash.as_bytes());
        Ok(hash)
    }

    fn verify(&self, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        let decoded: Vec<_> = transactions
            .iter()
            .map(|bytes| Put::decode(bytes, self.value_bytes_max).map(|put| (put.sign_bytes(&self.chain_id), put)))
            .collect();
        let items: Vec<Signed<'_>> = decoded
            .iter()
            .flatten()
            .map(|(message, put)| Signed { key: put.signer, message, signature: put.signature })
            .collect();
        let mut verdicts = verify_batch(&items).into_iter();
        decoded
            .iter()
            .map(|one| match one {
                Err(rejection) => Err(rejection.clone()),
                Ok(_) if verdicts.next() == Some(true) => Ok(()),
                Ok((_, put)) => Err(Rejection::NotAuthentic(format!("signature is not by {}", put.signer))),
            })
            .collect()
    }

    fn check(&self, state: &dyn StateRead, transaction: &[u8]) -> Result<Admission, Rejection> {
        let put = Put::decode(transaction, self.value_bytes_max)?;
        let next_sequence = next_nonce(state, &put.signer)?;
        if put.nonce < next_sequence {
            return Err(taken(state, &put)?);
        }
        // Sender and sequence already are what two writes could conflict in.
        Ok(Admission {
            sender: Bytes::copy_from_slice(put.signer.as_bytes()),
            sequence: put.nonce,
            next_sequence,
            conflict_keys: Vec::new(),
        })
    }

    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        let mut outcome = Outcome::default();
        let mut ids = Vec::new();
        for (index, transaction) in block.transactions.iter().enumerate() {
            let id = self.transaction_id(transaction);
            match self.apply(state, transaction, &id)? {
                Ok(receipt) => {
                    outcome.receipts.push(receipt);
                    ids.extend_from_slice(id.as_bytes());
                }
                Err(rejection) if block.mode == Mode::Build => outcome.left_out.push((index, rejection)),
                Err(rejection) => return Err(ExecuteError::Invalid { index, rejection }),
            }
        }
        let before = app_hash(state)?;
        outcome.app_hash = if ids.is_empty() {
            before
        } else {
            let height = block.height.0.to_le_bytes();
            let hash = Hash::of(&[b"quorate/kv/state\0", before.as_bytes(), &height, &ids]);
            state.put(HASH_KEY, hash.as_bytes());
            hash
        };
        Ok(outcome)
    }

    fn query(&self, state: &dyn StateRead, path: &str, params: &[u8]) -> Result<Vec<u8>, QueryError> {
        let answer = match path {
            "get" => {
                let Get { signer, key } = read(params)?;
                let value = state.get(&value_key(&signer, key.as_bytes()))?;
                json!({ "value": value.map(|value| format!("0x{}", hex::encode(value))) })
            }
            "nonce" => {
                let Nonce { signer } = read(params)?;
                json!({ "next": next_nonce(state, &signer)? })
            }
            "list" => {
                let List { signer, from } = read(params)?;
                let (start, end) =
                    (value_key(&signer, from.unwrap_or_default().as_bytes()), value_key(&signer, &[0xff; 65]));
                let pairs: Vec<_> = state
                    .scan(&start, &end, LIST_MAX)?
                    .into_iter()
                    .map(|(key, value)| {
                        let key = String::from_utf8_lossy(key.get(33..).unwrap_or_default()).into_owned();
                        json!({ "key": key, "value": format!("0x{}", hex::encode(value)) })
                    })
                    .collect();
                json!({ "pairs": pairs })
            }
            "app_hash" => json!({ "app_hash": app_hash(state)? }),
            _ => return Err(QueryError::UnknownPath { path: path.into(), known: "get, nonce, list, app_hash".into() }),
        };
        serde_json::to_vec(&answer).map_err(|error| QueryError::State(error.to_string()))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Get {
    signer: PublicKey,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nonce {
    signer: PublicKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    signer: PublicKey,
    from: Option<String>,
}

fn read<T: DeserializeOwned>(params: &[u8]) -> Result<T, QueryError> {
    serde_json::from_slice(params).map_err(|error| QueryError::BadParams(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::BTreeMap};

    use quorate::{Height, Timestamp};

    use super::*;

    const CHAIN: ChainId = ChainId::new([9; 32]);

    #[derive(Default, Clone)]
    struct State(BTreeMap<Vec<u8>, Bytes>);

    impl StateRead for State {
        fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
            Ok(self.0.get(key).cloned())
        }

        fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
            let range = self.0.range(from.to_vec()..to.to_vec()).take(limit);
            Ok(range.map(|(key, value)| (key.clone().into(), value.clone())).collect())
        }
    }

    impl StateWrite for State {
        fn put(&mut self, key: &[u8], value: &[u8]) {
            self.0.insert(key.into(), Bytes::copy_from_slice(value));
        }

        fn delete(&mut self, key: &[u8]) {
            self.0.remove(key);
        }
    }

    fn kv() -> (Kv, State) {
        let kv = Kv { chain_id: CHAIN, value_bytes_max: 100 };
        let mut state = State::default();
        kv.genesis(&mut state).unwrap();
        (kv, state)
    }

    fn put(seed: u8, nonce: u64) -> Bytes {
        Put::sign(&[seed; 32], &CHAIN, nonce, b"key", b"value")
    }

    fn run(kv: &Kv, state: &mut State, mode: Mode, transactions: &[Bytes]) -> Result<Outcome, ExecuteError> {
        let block = BlockContext {
            chain_id: CHAIN,
            height: Height(1),
            time: Timestamp(1),
            mode,
            transactions: Cow::Borrowed(transactions),
            misbehaviour: &[],
        };
        kv.execute(state, &block)
    }

    #[test]
    fn execution_is_the_same_again_and_agrees_with_check() {
        let (kv, state) = kv();
        let block = [put(1, 0), put(2, 0), put(1, 1)];
        let (mut one, mut two) = (state.clone(), state.clone());
        let outcome = run(&kv, &mut one, Mode::Apply, &block).unwrap();
        assert_eq!(run(&kv, &mut two, Mode::Apply, &block).unwrap(), outcome);
        assert_eq!((one.0 == two.0, outcome.receipts.len()), (true, 3));
        let again = kv.check(&one, &put(1, 0)).unwrap_err();
        assert_eq!(again, Rejection::Duplicate { winner: kv.transaction_id(&put(1, 0)) });
        assert_eq!(kv.check(&one, &put(1, 5)).unwrap().next_sequence, 2);
        let empty = run(&kv, &mut one, Mode::Apply, &[]).unwrap();
        assert_eq!(empty.app_hash, outcome.app_hash, "an empty block changes nothing");
    }

    #[test]
    fn building_leaves_out_what_applying_refuses() {
        let (kv, state) = kv();
        let block = [put(1, 1), put(1, 0), put(1, 0)];
        let outcome = run(&kv, &mut state.clone(), Mode::Build, &block).unwrap();
        assert_eq!(outcome.left_out.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 2]);
        assert!(matches!(
            run(&kv, &mut state.clone(), Mode::Apply, &block),
            Err(ExecuteError::Invalid { index: 0, .. })
        ));
    }

    #[test]
    fn every_flipped_bit_is_refused_or_named() {
        let (kv, _) = kv();
        let good = put(1, 0);
        assert_eq!(kv.verify(&[good.clone(), put(2, 7)]), [Ok(()), Ok(())]);
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(kv.verify(&[bad.into()])[0].is_err(), "bit {bit}");
        }
        let other_chain = Put::sign(&[1; 32], &ChainId::new([8; 32]), 0, b"key", b"value");
        assert!(matches!(kv.verify(&[other_chain])[0], Err(Rejection::NotAuthentic(_))));
    }

    #[test]
    fn queries_answer_and_refuse_in_words() {
        let (kv, mut state) = kv();
        run(&kv, &mut state, Mode::Apply, &[put(1, 0)]).unwrap();
        let signer = Put::decode(&put(1, 0), 100).unwrap().signer;
        let ask = |path: &str, params: serde_json::Value| {
            kv.query(&state, path, params.to_string().as_bytes()).map(|raw| String::from_utf8(raw).unwrap())
        };
        assert_eq!(ask("get", json!({"signer": signer, "key": "key"})).unwrap(), r#"{"value":"0x76616c7565"}"#);
        assert_eq!(ask("nonce", json!({"signer": signer})).unwrap(), r#"{"next":1}"#);
        assert!(ask("list", json!({"signer": signer})).unwrap().contains("key"));
        assert!(matches!(ask("nope", json!({})), Err(QueryError::UnknownPath { .. })));
        assert!(matches!(ask("get", json!({"signer": 1})), Err(QueryError::BadParams(_))));
    }
}
