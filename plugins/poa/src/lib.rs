//! Consensus: validators take turns, a quorum makes each block final.
