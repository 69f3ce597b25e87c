//! Who calls: what a connection may do and what it has subscribed to.

use std::net::IpAddr;

use super::{
    errors::{NOT_OPERATOR, RpcError},
    subscriptions::Subscriptions,
};

/// Whether a request carried the operator's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authority {
    /// It did.
    Operator,
    /// It carried a wrong one.
    WrongToken,
    /// It carried none.
    Anybody,
    /// This node has no token, so that nobody is the operator.
    NoOperator,
}

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Where it is.
    pub(crate) address: IpAddr,
    /// What it may do.
    pub(crate) authority: Authority,
    /// What it has subscribed to; `None` over plain HTTP.
    pub(crate) subscriptions: Option<Subscriptions>,
}

impl Authority {
    /// Compares the value of an `Authorization` header with the node's token.
    pub(crate) fn of(header: Option<&[u8]>, token: Option<&str>) -> Self {
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Self::NoOperator };
        let Some(header) = header else { return Self::Anybody };
        match header.split_first_chunk::<7>() {
            Some((scheme, given)) if scheme.eq_ignore_ascii_case(b"bearer ") && same(given, token.as_bytes()) => {
                Self::Operator
            }
            _ => Self::WrongToken,
        }
    }
}

impl Caller {
    /// Refuses everybody but the operator.
    ///
    /// # Errors
    ///
    /// [`NOT_OPERATOR`].
    pub(crate) fn require_operator(&self) -> Result<(), RpcError> {
        let reason = match self.authority {
            Authority::Operator => return Ok(()),
            Authority::WrongToken => "the token is not this node's",
            Authority::Anybody => "send `Authorization: Bearer TOKEN` with the operator's token",
            Authority::NoOperator => "this node has no operator's token",
        };
        Err(RpcError::because(NOT_OPERATOR, reason))
    }
}

/// Compares in a time that depends on the lengths only.
fn same(left: &[u8], right: &[u8]) -> bool {
    let different = left.iter().zip(right).fold(0u8, |seen, (left, right)| std::hint::black_box(seen | (left ^ right)));
    left.len() == right.len() && different == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_operators() {
        let token = Some("secret");
        assert_eq!(Authority::of(Some(b"Bearer secret"), token), Authority::Operator);
        assert_eq!(Authority::of(Some(b"bearer secret"), token), Authority::Operator);
        for wrong in [b"Bearer secre".as_slice(), b"Bearer secretx", b"Bearer ", b"secret", b"", b"Basic  secret"] {
            assert_eq!(Authority::of(Some(wrong), token), Authority::WrongToken);
        }
        assert_eq!(Authority::of(None, token), Authority::Anybody);
        assert_eq!(Authority::of(Some(b"Bearer "), Some("")), Authority::NoOperator);
        assert_eq!(Authority::of(Some(b"Bearer x"), None), Authority::NoOperator);
    }
}
