//! Engines with one rule removed: a simulator must find what each of them breaks.

/// A rule of SPEC.md that an engine leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(not(feature = "planted-bugs"), expect(unreachable_pub, reason = "public with the feature only"))]
pub enum PlantedBug {
    /// A certificate needs one signature fewer.
    SmallQuorum,
    /// `byzantine-sync`: prepares without waiting Delta after relaying the proposal.
    VoteAtOnce,
    /// `byzantine-sync`: proposals of others are not relayed.
    NoProposalRelay,
    /// `byzantine-sync`: the proposer of a later round does not wait 4 Delta.
    LeaderDoesNotWait,
    /// `byzantine-sync`: compares with the live lock instead of the one noted 2 Delta after entering the round.
    LiveLock,
    /// `byzantine-sync`: prepare certificates are not relayed.
    NoCertificateRelay,
    /// `byzantine-sync`: prepares in a later round without waiting 2 Delta after entering it.
    NoEntryWait,
    /// `byzantine-sync`: prepares whatever its own lock is.
    NoLockRule,
    /// `byzantine-sync`: votes at once after a restart.
    VoteAfterRestart,
    /// `byzantine-sync`: does not notice that it was suspended.
    NoSuspensionRule,
    /// The lock is forgotten at a restart and with every round.
    LockForgotten,
    /// Asks for signatures which contradict earlier ones.
    GuardForgotten,
    /// Asks for commit votes in rounds for which a timeout was signed.
    CommitAfterTimeout,
    /// What is signed and sent goes out before the record on which it depends is durable: that is put off to the next timer.
    SendBeforePersist,
    /// A timeout is not signed again with a newer certificate.
    RigidTimeout,
    /// A proposal may carry a lower certificate than its timeout certificate names.
    TimeoutMaximumIgnored,
}

#[cfg(feature = "planted-bugs")]
impl PlantedBug {
    /// Every one.
    pub const ALL: [PlantedBug; 16] = [
        Self::SmallQuorum,
        Self::VoteAtOnce,
        Self::NoProposalRelay,
        Self::LeaderDoesNotWait,
        Self::LiveLock,
        Self::NoCertificateRelay,
        Self::NoEntryWait,
        Self::NoLockRule,
        Self::VoteAfterRestart,
        Self::NoSuspensionRule,
        Self::LockForgotten,
        Self::GuardForgotten,
        Self::CommitAfterTimeout,
        Self::SendBeforePersist,
        Self::RigidTimeout,
        Self::TimeoutMaximumIgnored,
    ];

    /// Whether it shows only when the kernel's signer signs whatever it is asked to: its guard would refuse.
    pub const fn needs_unguarded_signer(self) -> bool {
        matches!(self, Self::GuardForgotten | Self::CommitAfterTimeout)
    }
}

/// The bug of one engine, if any. Without the feature there is never one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bugs(Option<PlantedBug>);

impl Bugs {
    #[cfg(feature = "planted-bugs")]
    pub(crate) const fn only(bug: PlantedBug) -> Self {
        Self(Some(bug))
    }

    pub(crate) fn has(self, bug: PlantedBug) -> bool {
        self.0 == Some(bug)
    }
}

/// As [`crate::PoaPlugin`] builds it, with one rule removed.
///
/// # Errors
///
/// As `build` of the plugin.
#[cfg(feature = "planted-bugs")]
pub fn build_with_bug(
    context: &quorate::consensus::Context,
    bug: PlantedBug,
) -> Result<Box<dyn quorate::Consensus>, quorate::plugin::SetupError> {
    let rules = crate::settings::Rules::read(context)?;
    Ok(Box::new(crate::engine::Engine::new(context.chain_id, context.validators.clone(), rules, Bugs::only(bug))))
}
