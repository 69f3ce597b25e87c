//! The three fault models: what may go wrong, how many votes that takes, and which waits.

use std::time::Duration;

use serde::Deserialize;

/// What a network of validators withstands; all of them run the same one.
///
/// Sources: for `crash`, the majorities of Paxos and Raft; for `byzantine`, Dwork, Lynch and Stockmeyer, "Consensus in the
/// presence of partial synchrony", 1988, theorem 4.4; for `byzantine-sync`, Katz and Koo, "On expected constant-round protocols for
/// Byzantine agreement", 2006, and Abraham and others, "Sync HotStuff", 2020.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultModel {
    /// Validators may stop and start again with their disks; messages may take any time.
    Crash,
    /// Validators may do anything; messages between honest ones arrive and are handled within `delta_ms`, always.
    ByzantineSync,
    /// Validators may do anything; messages may take any time.
    Byzantine,
}

impl FaultModel {
    /// Every model.
    pub const ALL: [FaultModel; 3] = [FaultModel::Crash, FaultModel::ByzantineSync, FaultModel::Byzantine];

    /// The name in TOML.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::ByzantineSync => "byzantine-sync",
            Self::Byzantine => "byzantine",
        }
    }

    /// Signatures which a certificate needs, of `validators` (SPEC.md rule 2).
    pub const fn quorum(self, validators: usize) -> usize {
        match self {
            Self::Crash | Self::ByzantineSync => validators / 2 + 1,
            Self::Byzantine => validators * 2 / 3 + 1,
        }
    }

    /// How many of `validators` may be faulty.
    pub const fn tolerated(self, validators: usize) -> usize {
        match self {
            Self::Crash | Self::ByzantineSync => validators.saturating_sub(self.quorum(validators)),
            Self::Byzantine => validators.saturating_sub(1) / 3,
        }
    }

    /// Whether safety rests on messages arriving in time.
    pub const fn relies_on_time(self) -> bool {
        matches!(self, Self::ByzantineSync)
    }

    /// What a network of this size tolerates and under what assumption, in one sentence.
    pub fn tolerates(self, validators: usize, delta: Duration) -> String {
        let (quorum, faults) = (self.quorum(validators), self.tolerated(validators));
        let noun = if validators == 1 { "validator" } else { "validators" };
        let head = format!("{validators} {noun}, {quorum} must agree");
        let ms = delta.as_millis();
        if faults == 0 {
            let stops = if validators == 1 { "it" } else { "any one" };
            let unsafe_too = match self {
                Self::Crash => "a dishonest validator could make two conflicting blocks final",
                Self::ByzantineSync | Self::Byzantine if validators == 1 => "a dishonest validator decides alone",
                Self::ByzantineSync | Self::Byzantine => "a dishonest validator could stop it",
            };
            return format!(
                "{head}: no faulty validator is tolerated ({stops} stopping stops the chain; {unsafe_too})"
            );
        }
        match self {
            Self::Crash => format!(
                "{head}: {faults} may stop at any time and come back, however slow the network is, provided that no \
                 validator is dishonest"
            ),
            Self::ByzantineSync => format!(
                "{head}: {faults} may be stopped or dishonest, provided that messages between honest validators arrive \
                 and are handled within {ms} ms; while messages are slower, stopped validators are tolerated, but not \
                 dishonest ones"
            ),
            Self::Byzantine => {
                format!("{head}: {faults} may be stopped or dishonest, however slow the network is")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums_and_faults_are_those_of_the_table() {
        let of = |model: FaultModel, n| (model.quorum(n), model.tolerated(n));
        for model in [FaultModel::Crash, FaultModel::ByzantineSync] {
            assert_eq!([1, 2, 3, 4, 5, 7].map(|n| of(model, n)), [(1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (4, 3)]);
        }
        let byzantine = [1, 2, 3, 4, 5, 7].map(|n| of(FaultModel::Byzantine, n));
        assert_eq!(byzantine, [(1, 0), (2, 0), (3, 0), (3, 1), (4, 1), (5, 2)]);
    }

    /// Two quorums share an honest validator, and the honest ones alone are a quorum, for every size.
    #[test]
    fn quorums_meet_and_are_reachable() {
        for n in 1..=256 {
            for model in FaultModel::ALL {
                let (q, f) = (model.quorum(n), model.tolerated(n));
                assert!(n - f >= q, "{model:?} {n}: the honest ones are no quorum");
                assert!(q > f, "{model:?} {n}: the faulty ones are a quorum");
                let shared = 2 * q - n;
                let enough = if model == FaultModel::Byzantine { shared > f } else { shared > 0 };
                assert!(enough, "{model:?} {n}");
            }
        }
    }

    #[test]
    fn the_sentence_says_how_many_and_under_what_assumption() {
        let delta = Duration::from_millis(400);
        let sentence = FaultModel::ByzantineSync.tolerates(3, delta);
        assert!(sentence.starts_with("3 validators, 2 must agree: 1 may be stopped or dishonest"), "{sentence}");
        assert!(sentence.contains("within 400 ms"), "{sentence}");
        assert!(FaultModel::Crash.tolerates(3, delta).contains("no validator is dishonest"));
        assert!(FaultModel::Byzantine.tolerates(4, delta).contains("1 may be stopped or dishonest, however slow"));
        assert!(FaultModel::Byzantine.tolerates(3, delta).contains("no faulty validator is tolerated"));
        assert!(FaultModel::Crash.tolerates(1, delta).starts_with("1 validator, 1 must agree"));
    }
}
