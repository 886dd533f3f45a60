//! Encryption towards a smart host: which authorities count, and what is wrong in words an operator can act on.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};

/// A client that trusts the authorities in `ca_file` alone, or those of the system where there is none.
///
/// # Errors
/// Says in words what is wrong with the file or the system.
pub(crate) fn client(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let cannot = |why: &dyn std::fmt::Display| format!("{} can't be read: {why}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| cannot(&error))? {
            let certificate = certificate.map_err(|error| cannot(&error))?;
            roots.add(certificate).map_err(|error| cannot(&error))?;
        }
        if roots.is_empty() {
            return Err(format!("{} holds no certificate", path.display()));
        }
    } else {
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if roots.is_empty() {
            return Err(
                "this system has no certificate authorities (package ca-certificates), and no ca_file is set".into()
            );
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The name that the certificate of `host` must have.
///
/// # Errors
/// Where no certificate can have it.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned()).map_err(|_| "its name is none that a certificate can have".to_owned())
}

/// Why no encrypted connection came about.
pub(crate) fn describe(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate is from an authority that is not trusted here; set ca_file to that authority's certificate"
                .into()
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })) => {
            format!("its certificate is for another name ({})", presented.join(", "))
        }
        Some(rustls::Error::InvalidMessage(_)) => "it does not speak TLS here; \"starttls\" and \"implicit\" are \
             for different ports (587 and 465)"
            .into(),
        Some(error) => error.to_string(),
        None => format!("TLS did not come about: {}", error.kind()),
    }
}
