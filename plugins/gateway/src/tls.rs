//! TLS 1.2 and 1.3 with a certificate from a file.

use std::{fmt::Display, sync::Arc};

use quorate::plugin::SetupError;
use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio_rustls::TlsAcceptor;

use crate::settings::TlsFiles;

/// Reads both files.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, SetupError> {
    let wrong = |key: &str, path: &std::path::Path, error: &dyn Display| {
        SetupError::Other(format!("[service.tls] {key} = \"{}\": {error}", path.display()))
    };
    let of_cert = |error: &dyn Display| wrong("cert_file", &files.cert, error);
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(&files.cert).and_then(Iterator::collect).map_err(|error| of_cert(&error))?;
    if chain.is_empty() {
        return Err(of_cert(&"there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong("key_file", &files.key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| of_cert(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
