//! Contests: how many options there are, and how many of them a ballot may choose.

/// Contests of an election at most.
pub const CONTESTS_MAX: usize = 16;

/// Options of a contest at most.
pub const OPTIONS_MAX: usize = 64;

/// `hi - lo` at most: branches of the proof of the sum, less one.
pub const SPREAD_MAX: u16 = 16;

/// Bytes of a ballot at most.
pub const BALLOT_BYTES_MAX: usize = 64 << 10;

/// Bytes of a ballot outside its contests: version, eid, index, key, count of contests; signature.
const FRAME_BYTES: usize = 1 + 32 + 4 + 32 + 2 + 64;

/// One branch of a proof: two commitments, a response; and a challenge in all but the last.
const BRANCH_BYTES: usize = 3 * 32;

/// Why contests are not ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContestError {
    /// How many options there are.
    #[error("a contest has {0} options; it must have 1 to {OPTIONS_MAX}")]
    Options(u16),
    /// How many a ballot may choose.
    #[error(
        "a ballot may choose {lo} to {hi} of {options} options; lo <= hi <= {options}, hi >= 1 and hi - lo <= {SPREAD_MAX} must hold"
    )]
    Range {
        /// The least.
        lo: u16,
        /// The most.
        hi: u16,
        /// The options.
        options: u16,
    },
    /// How many contests there are.
    #[error("an election has {0} contests; it must have 1 to {CONTESTS_MAX}")]
    Contests(usize),
    /// The ballots would be too long.
    #[error("a ballot would have {0} bytes; at most {BALLOT_BYTES_MAX} are allowed: use fewer options")]
    Ballot(usize),
}

/// A contest's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contest {
    options: u16,
    lo: u16,
    hi: u16,
}

impl Contest {
    /// A contest of `options` options, of which a ballot chooses `lo` to `hi`.
    ///
    /// # Errors
    ///
    /// [`ContestError`].
    pub fn new(options: u16, lo: u16, hi: u16) -> Result<Self, ContestError> {
        if options == 0 || usize::from(options) > OPTIONS_MAX {
            return Err(ContestError::Options(options));
        }
        if lo > hi || hi > options || hi == 0 || hi - lo > SPREAD_MAX {
            return Err(ContestError::Range { lo, hi, options });
        }
        Ok(Self { options, lo, hi })
    }

    /// How many options there are, 1 to 64.
    pub fn options(&self) -> u16 {
        self.options
    }

    /// The fewest that a ballot chooses.
    pub fn lo(&self) -> u16 {
        self.lo
    }

    /// The most that a ballot chooses.
    pub fn hi(&self) -> u16 {
        self.hi
    }

    /// Bytes of the contest's proofs in a ballot.
    pub(crate) fn proof_bytes(&self) -> usize {
        let proof = |branches: usize| branches * BRANCH_BYTES + (branches - 1) * 32;
        usize::from(self.options) * proof(2) + proof(usize::from(self.hi - self.lo) + 1)
    }

    /// Bytes of this contest in a ballot.
    fn bytes(&self) -> usize {
        2 + usize::from(self.options) * 64 + self.proof_bytes()
    }
}

/// The contests of an election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules(Vec<Contest>);

impl Rules {
    /// Contests, in order.
    ///
    /// # Errors
    ///
    /// [`ContestError::Contests`], [`ContestError::Ballot`].
    pub fn new(contests: Vec<Contest>) -> Result<Self, ContestError> {
        if contests.is_empty() || contests.len() > CONTESTS_MAX {
            return Err(ContestError::Contests(contests.len()));
        }
        let rules = Self(contests);
        match rules.ballot_bytes() {
            bytes if bytes > BALLOT_BYTES_MAX => Err(ContestError::Ballot(bytes)),
            _ => Ok(rules),
        }
    }

    /// The contests.
    pub fn contests(&self) -> &[Contest] {
        &self.0
    }

    /// Options of all contests together.
    pub fn options(&self) -> usize {
        self.0.iter().map(|contest| usize::from(contest.options)).sum()
    }

    /// Bytes of every ballot.
    pub fn ballot_bytes(&self) -> usize {
        FRAME_BYTES + self.0.iter().map(Contest::bytes).sum::<usize>()
    }
}
