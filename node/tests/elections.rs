//! The auditor and the application are of one mind: the tests of the application, with the auditor asked about every block.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may panic")]

#[path = "../../plugins/voting/tests/voting/ballots.rs"]
mod ballots;
#[path = "../../plugins/voting/tests/voting/ceremony.rs"]
mod ceremony;
#[path = "../../plugins/voting/tests/voting/chain.rs"]
mod chain;
#[path = "../../plugins/voting/tests/voting/enrolment.rs"]
mod enrolment;
#[path = "../../plugins/voting/tests/voting/officers.rs"]
mod officers;
#[path = "../../plugins/voting/tests/voting/tally.rs"]
mod tally;

mod opinion {
    use quorate::{Bytes, Timestamp, application::Outcome};
    use quorate_node::audit::VotingAudit;

    use crate::chain::Chain;

    /// The auditor after the chain so far.
    fn auditor(chain: &Chain) -> VotingAudit {
        let mut auditor = VotingAudit::of(chain.voting.chain_id(), chain.voting.admins().to_vec());
        for ((time, transactions), height) in chain.history.iter().zip(1..) {
            auditor.block(height, Timestamp(*time), transactions).unwrap();
        }
        auditor
    }

    pub(crate) fn accepts(chain: &Chain, transactions: &[Bytes], outcome: &Outcome) {
        let mut auditor = auditor(chain);
        let receipts = auditor.block(chain.height + 1, Timestamp(chain.now), transactions).unwrap();
        assert_eq!(receipts, outcome.receipts);
        assert_eq!(auditor.hash(), *outcome.app_hash.as_bytes());
    }

    pub(crate) fn refuses(chain: &Chain, transactions: &[Bytes], why: &str) {
        let found = auditor(chain).block(chain.height + 1, Timestamp(chain.now), transactions);
        let Err(reason) = found else { panic!("the auditor accepts what the application refuses: {why}") };
        // Both name the rule: `V21 ballot.used: ..` and `transaction 1: rule V21: ..`.
        let rule = |text: &str| {
            let at = text.find(['V']).map(|at| &text[at + 1..]);
            at.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().map(str::to_owned))
        };
        let right = if why.starts_with("duplicate") { Some("21".to_owned()) } else { rule(why) };
        assert_eq!(rule(&reason), right, "the application: {why}; the auditor: {reason}");
    }
}
