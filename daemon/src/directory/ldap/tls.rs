//! TLS towards the directory: whom it trusts, and what its refusals mean in words.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};

/// The one configuration of all connections: the given authorities, or the system's. There is no way to skip a check.
///
/// # Errors
/// What is wrong with the authorities.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = ca_file {
        let wrong = |error: String| format!("{}: {error}", file.display());
        let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(wrong("there is no certificate in it".into()));
        }
    } else {
        // A broken certificate among the system's is no reason to trust none of the others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err("this machine has no certificate authorities; install ca-certificates or set ca_file".into());
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

/// Why a handshake failed, and what to do; `None` for an error that is not about TLS.
pub(super) fn words(error: &std::io::Error) -> Option<String> {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return Some("TLS: it ended the connection instead of shaking hands; is the port right?".into());
    }
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    let text = match error {
        Error::InvalidCertificate(bad) => match bad {
            CertificateError::UnknownIssuer => {
                "its certificate is from an authority that is not trusted here; set ca_file to the authority's certificate"
                    .into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name; use a name from the certificate's subjectAltName in `urls` (a \
                 common name alone does not count)"
                    .into()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired; renew it".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet; check the clocks".into()
            }
            CertificateError::Revoked => "its certificate is revoked".into(),
            CertificateError::BadEncoding => "its certificate can't be read".into(),
            other => other_certificate(&format!("{other:?}")),
        },
        Error::AlertReceived(alert) => format!("it ended the handshake with {alert:?}"),
        Error::PeerIncompatible(why) => format!("it and rekeyd have no version of TLS in common ({why:?})"),
        Error::InvalidMessage(_) => "what it speaks is not TLS; is the port right?".into(),
        other => other.to_string(),
    };
    Some(format!("TLS: {text}"))
}

/// Errors of the certificate library that rustls hands on as text.
fn other_certificate(text: &str) -> String {
    if text.contains("CaUsedAsEndEntity") {
        return "its certificate is that of an authority (as `openssl req -x509` makes it); issue a server certificate"
            .into();
    }
    if text.contains("UnsupportedCertVersion") {
        return "its certificate is of X.509 version 1; issue one of version 3 (`openssl x509 -req -extfile …`)".into();
    }
    if text.contains("SignatureAlgorithm") {
        return "its certificate is signed in a way that is no longer safe, such as SHA-1".into();
    }
    format!("its certificate is not accepted: {text}")
}
