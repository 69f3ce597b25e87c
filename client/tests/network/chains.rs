//! The state of the chain, and checks of all of it.

use quorate::{Block, Bytes, Hash, TransactionId};
use quorate_client::{Confirmation, Disagreement};
use serde_json::json;

use crate::{
    chain::{Chain, Sealed},
    fake::{Manner, OnReceipt},
    network::{Network, lies},
};

#[tokio::test]
async fn validators_agree_on_the_highest_block_that_all_have() {
    let network = Network::of(5);
    let client = network.client();
    let state = client.chain_state().await.unwrap();
    assert_eq!((state.common, state.agree), (Some((5, network.chain.hash(5))), true));
    assert!(state.heads.len() == 3 && state.heads.iter().all(|head| head.hash == Some(network.chain.hash(5))));
    network.fakes[1].be(|one| one.height = Some(3));
    let state = client.chain_state().await.unwrap();
    assert_eq!((state.common, state.agree), (Some((3, network.chain.hash(3))), true));
    assert_eq!((state.failed.len(), client.disagreements().len()), (0, 0));
}

#[tokio::test]
async fn whoever_does_not_answer_is_named_and_changes_nothing() {
    for looked_before in [false, true] {
        let network = Network::of(5);
        let client = network.client();
        if looked_before {
            client.refresh_validator_status().await;
        }
        network.fakes[0].die().await;
        network.fakes[1].be(|one| one.manner = Manner::Status500);
        let state = client.chain_state().await.unwrap();
        assert_eq!((state.common, state.agree), (Some((5, network.chain.hash(5))), true), "{state:?}");
        assert_eq!(state.heads.len(), 1, "{state:?}");
        let mut failed: Vec<&str> = state.failed.iter().map(|one| one.validator.as_str()).collect();
        failed.sort_unstable();
        assert_eq!(failed, ["validator-1", "validator-2"], "looked before: {looked_before}");
        network.fakes[2].die().await;
        assert!(client.chain_state().await.is_err());
    }
}

#[tokio::test]
async fn before_the_first_block_there_is_nothing_to_agree_on() {
    let network = Network::of(0);
    let state = network.client().chain_state().await.unwrap();
    assert_eq!((state.common, state.agree, state.heads.len()), (None, true, 3));
}

/// A second block of a height, which a quorum signed as well.
fn other_block(network: &Network, height: usize) -> Sealed {
    network.chain.seal(height, &[network.chain.put(50, 0)], &[1, 2])
}

fn two_final_blocks(found: &[Disagreement], height: u64) -> Option<[Hash; 2]> {
    found.iter().find_map(|one| match one {
        Disagreement::TwoFinalBlocks { height: at, one, other, by_one, by_other } if *at == height => {
            assert_ne!(by_one, by_other);
            Some([*one, *other])
        }
        _ => None,
    })
}

#[tokio::test]
async fn two_final_blocks_of_one_height_are_reported() {
    let network = Network::of(4);
    let client = network.client();
    let other = other_block(&network, 4);
    let mut blocks = network.chain.blocks();
    blocks[3] = other.clone();
    network.fakes[1].be(|one| one.blocks = Some(blocks));
    let state = client.chain_state().await.unwrap();
    assert!(!state.agree, "{state:?}");
    let found = two_final_blocks(&client.disagreements(), 4).unwrap();
    assert!(found.contains(&network.chain.hash(4)) && found.contains(&other.block.hash()));
    client.chain_state().await.unwrap();
    assert_eq!(client.disagreements().len(), 1, "once");
    let told = serde_json::to_value(client.disagreements()).unwrap();
    assert_eq!((&told[0]["kind"], &told[0]["height"]), (&json!("two_final_blocks"), &json!(4)));
}

/// Receipts show blocks, too.
#[tokio::test]
async fn two_receipts_from_two_final_blocks_are_reported() {
    let network = Network::of(2);
    let client = network.client();
    let other = other_block(&network, 2);
    let id = network.chain.id(&network.chain.put(50, 0));
    let receipt = network.chain.receipt_in(&other, &id).unwrap();
    client.receipt(&network.chain.id(&network.chain.put(100, 1))).await.unwrap().unwrap();
    network.fakes[1].be(|one| one.receipt = OnReceipt::Says(json!({ "status": "final", "receipt": receipt })));
    assert!(matches!(client.confirmation_status(&id).await, Ok(Confirmation::Final(_))));
    assert!(two_final_blocks(&client.disagreements(), 2).is_some());
}

#[tokio::test]
async fn a_block_without_quorum_agrees_with_nothing() {
    let network = Network::of(4);
    let client = network.client();
    let mut blocks = network.chain.blocks();
    blocks[3] = network.chain.seal(4, &[network.chain.put(50, 0)], &[1]);
    network.fakes[1].be(|one| one.blocks = Some(blocks));
    let state = client.chain_state().await.unwrap();
    assert_eq!((state.common, state.agree), (Some((4, network.chain.hash(4))), false));
    assert_eq!(state.failed[0].validator, "validator-2");
    assert_eq!(lies(&client, "validator-2").len(), 1);
    assert!(two_final_blocks(&client.disagreements(), 4).is_none());
}

#[tokio::test]
async fn a_whole_chain_is_checked_page_by_page() {
    let network = Network::of(7);
    let client = network.client();
    network.fakes[0].be(|one| one.page_max = Some(3));
    let found = client.verify_integrity().await.unwrap();
    assert_eq!((found.valid, found.height, found.hash), (true, 7, network.chain.hash(7)));
    assert_eq!((found.transactions, found.validator.as_str(), found.problem), (7, "validator-1", None));
    assert_eq!(network.fakes[0].asked("quorate_blockRange"), 4);
}

#[tokio::test]
async fn a_chain_comes_from_the_next_when_one_fails() {
    let network = Network::of(3);
    let client = network.client();
    network.fakes[0].die().await;
    network.fakes[1].be(|one| one.manner = Manner::Unavailable);
    let found = client.verify_integrity().await.unwrap();
    assert_eq!((found.valid, found.height, found.validator.as_str()), (true, 3, "validator-3"));
    network.fakes[2].die().await;
    assert!(client.verify_integrity().await.is_err());
}

/// What is wrong with `blocks`, which are good up to `good`; the liar is noted, and the next look is at another's chain.
async fn is_wrong(what: &str, good: u64, problem: &str, break_it: impl FnOnce(&Network, &mut Vec<Sealed>)) {
    let network = Network::of(6);
    let client = network.client();
    let mut blocks = network.chain.blocks();
    break_it(&network, &mut blocks);
    network.fakes[0].be(|one| one.blocks = Some(blocks));
    // Nobody shows a good one; then somebody does.
    network.fakes[1..].iter().for_each(|fake| fake.be(|one| one.manner = Manner::Unavailable));
    let found = client.verify_integrity().await.unwrap();
    assert_eq!((found.valid, found.height), (false, good), "{what}: {found:?}");
    assert!(found.problem.as_ref().unwrap().contains(problem), "{what}: {found:?}");
    let noted = lies(&client, "validator-1");
    assert!(noted[0].contains(&format!("wrong at height {}", good + 1)), "{what}: {noted:?}");
    network.fakes[1..].iter().for_each(|fake| fake.be(|one| one.manner = Manner::Answers));
    client.refresh_validator_status().await;
    for _ in 0..3 {
        let found = client.verify_integrity().await.unwrap();
        assert!(found.valid && found.height == 6 && found.validator != "validator-1", "{what}: {found:?}");
    }
}

#[tokio::test]
async fn a_chain_with_a_fault_is_wrong_where_the_fault_is() {
    is_wrong("two blocks swapped", 2, "a block of height 4 where 3 is due", |_, blocks| blocks.swap(2, 3)).await;
    is_wrong("a hole", 2, "a block of height 4 where 3 is due", |_, blocks| drop(blocks.remove(2))).await;
    is_wrong("a signature missing", 3, "1 valid signatures; 2 are needed", |network, blocks| {
        blocks[3] = network.chain.sign(blocks[3].block.clone(), Vec::new(), &[2]);
    })
    .await;
    // The other block is as final as the chain's own; what follows it is not its child.
    is_wrong("another final block", 3, "its parent is", |network, blocks| blocks[2] = other_block(network, 3)).await;
    is_wrong("a wrong parent", 3, "its parent is", |network, blocks| {
        let mut header = blocks[3].block.header().clone();
        header.parent_hash = network.chain.hash(2);
        let block = Block::new(header, &[network.chain.put(50, 0)], &[]).unwrap();
        blocks[3] = network.chain.sign(block, Vec::new(), &[0, 1]);
    })
    .await;
    is_wrong("the time stands still", 3, "it is not later", |network, blocks| {
        let mut header = blocks[3].block.header().clone();
        header.time = blocks[2].block.header().time;
        let block = Block::new(header, &[], &[]).unwrap();
        blocks[3] = network.chain.sign(block, Vec::new(), &[0, 1]);
    })
    .await;
    is_wrong("another transaction in the body", 3, "transaction root", |_, blocks| {
        let mut bytes = blocks[3].block.encoded().to_vec();
        let last = bytes.len() - 5;
        bytes[last] ^= 1;
        blocks[3].block = Block::decode_trusted(Bytes::from(bytes)).unwrap();
    })
    .await;
    is_wrong("another chain from the start", 0, "its parent is", |_, blocks| {
        let other = Chain::new("another");
        other.grow(100, 6);
        *blocks = other.blocks();
    })
    .await;
    is_wrong("other validators", 3, "validators are not those of genesis", |network, blocks| {
        let mut header = blocks[3].block.header().clone();
        header.validators_hash = Hash::of(&[b"others"]);
        let block = Block::new(header, &[], &[]).unwrap();
        blocks[3] = network.chain.sign(block, Vec::new(), &[0, 1]);
    })
    .await;
}

/// Also two chains, each of which is right by itself.
#[tokio::test]
async fn two_whole_chains_that_differ_are_reported() {
    let network = Network::of(3);
    let client = network.client();
    let twin = Chain::new("test");
    twin.grow(7, 3);
    network.fakes[0].be(|one| one.blocks = Some(twin.blocks()));
    let one = client.verify_integrity().await.unwrap();
    let other = client.verify_integrity().await.unwrap();
    assert!(one.valid && other.valid && one.hash != other.hash);
    for height in 1..=3 {
        assert!(two_final_blocks(&client.disagreements(), height).is_some(), "{height}");
    }
    let unknown = TransactionId::new([1; 32]);
    assert_eq!(client.confirmation_status(&unknown).await, Ok(Confirmation::Unknown));
}
