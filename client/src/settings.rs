//! What a client is made from.

use std::time::Duration;

use hyper::Uri;

/// Validators of one client at most.
pub const VALIDATORS_MAX: usize = 256;

/// Where a validator is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name, for people.
    pub name: String,
    /// Where it answers clients: `http://host:port`.
    pub rpc_url: String,
    /// Where its peers reach it, if that is known; only shown.
    pub p2p_url: Option<String>,
}

impl Endpoint {
    /// A validator by its name and the URL at which it answers clients.
    pub fn new(name: impl Into<String>, rpc_url: impl Into<String>) -> Self {
        Self { name: name.into(), rpc_url: rpc_url.into(), p2p_url: None }
    }
}

/// Settings of a client; [`Settings::of`] has the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The validators that are known from the start.
    pub validators: Vec<Endpoint>,
    /// A bootnode (`http://host:port`) which is asked for more of the validators of genesis, by [`crate::Client::watch`].
    pub bootnode: Option<String>,
    /// Questions to one validator at a time, and so connections to it, at most; default 32.
    pub calls_per_validator_max: usize,
    /// How long one validator may take to answer before the next is asked; default 2 s.
    pub attempt_timeout: Duration,
    /// How long a call may take in all; default 10 s.
    pub call_timeout: Duration,
    /// Time between two looks of [`crate::Client::watch`] at a validator; default 1 s.
    pub probe_interval: Duration,
    /// A validator that takes longer than this for a status is degraded; default 1 s.
    pub slow_after: Duration,
    /// A validator that is more than this many blocks behind the highest is degraded; default 2.
    pub behind_max: u64,
    /// The first pause after a failure; it doubles with each one in a row, and is shortened by a random part of up to a half; default 200 ms.
    pub backoff_min: Duration,
    /// The longest pause; default 5 s.
    pub backoff_max: Duration,
    /// How long a validator that lied is asked last; default 60 s.
    pub distrust: Duration,
}

impl Settings {
    /// These validators, and defaults.
    pub fn of(validators: impl IntoIterator<Item = Endpoint>) -> Self {
        Self {
            validators: validators.into_iter().collect(),
            bootnode: None,
            calls_per_validator_max: 32,
            attempt_timeout: Duration::from_secs(2),
            call_timeout: Duration::from_secs(10),
            probe_interval: Duration::from_secs(1),
            slow_after: Duration::from_secs(1),
            behind_max: 2,
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(5),
            distrust: Duration::from_secs(60),
        }
    }

    /// Whether a client can be made of them.
    ///
    /// # Errors
    ///
    /// [`SettingsError`].
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.validators.is_empty() && self.bootnode.is_none() {
            return Err(SettingsError::Nobody);
        }
        if self.validators.len() > VALIDATORS_MAX {
            return Err(SettingsError::TooMany(self.validators.len()));
        }
        for one in &self.validators {
            url(&one.rpc_url)?;
        }
        if let Some(bootnode) = &self.bootnode {
            url(bootnode)?;
        }
        Ok(())
    }
}

/// Why a client can't be made of its settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// There is nobody to ask.
    #[error("no validator and no bootnode is given")]
    Nobody,
    /// Too many of them.
    #[error("{0} validators; the limit is {VALIDATORS_MAX}")]
    TooMany(usize),
    /// Not a URL of a node.
    #[error(
        "`{0}` is not the URL of a node; write it like http://192.0.2.1:8001 (answers are verified, TLS adds nothing to what they prove)"
    )]
    Url(String),
}

/// A node's URL.
pub(crate) fn url(text: &str) -> Result<Uri, SettingsError> {
    let wrong = || SettingsError::Url(text.chars().take(80).collect());
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let is_node = uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty());
    if is_node { Ok(uri) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_knows_somebody_by_a_url() {
        assert_eq!(Settings::of([]).check(), Err(SettingsError::Nobody));
        assert!(Settings { bootnode: Some("http://127.0.0.1:1".into()), ..Settings::of([]) }.check().is_ok());
        for wrong in ["", "127.0.0.1:8001", "https://a", "http://", "ftp://a"] {
            let settings = Settings::of([Endpoint::new("a", wrong)]);
            assert!(matches!(settings.check(), Err(SettingsError::Url(_))), "{wrong}");
        }
    }
}
