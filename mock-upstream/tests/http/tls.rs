//! HTTPS.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use mock_upstream::{MockServer, Scenario, Server, Tls};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring,
};

use crate::wire::{Client, tcp, wait_until};

type TlsClient = Client<StreamOwned<ClientConnection, TcpStream>>;

struct Https {
    mock: MockServer,
    trust: Arc<ClientConfig>,
}

fn https(scenario: Scenario) -> Https {
    let certified = rcgen::generate_simple_self_signed(["localhost".into()]).expect("rcgen");
    let key = certified.signing_key.serialize_pem();
    let tls = Tls::from_pem(certified.cert.pem().as_bytes(), key.as_bytes()).expect("TLS");
    Https {
        mock: Server::new(scenario)
            .tls(tls)
            .start()
            .expect("the mock starts"),
        trust: trust(certified.cert.der()),
    }
}

fn trust(certificate: &CertificateDer<'_>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone().into_owned()).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

impl Https {
    fn connect(&self) -> TlsClient {
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::clone(&self.trust), name).expect("a session");
        Client::over(StreamOwned::new(session, tcp(self.mock.addr())))
    }
}

#[test]
fn streams_over_tls() {
    let https = https(Scenario::new().delay(Duration::from_millis(1)));
    assert!(https.mock.url().starts_with("https://127.0.0.1:"));
    let mut client = https.connect();
    for _ in 0..2 {
        client.ask(&[]);
        let (head, chunks) = client.whole_stream();
        assert_eq!((head.status, chunks.len()), (200, 6));
    }
}

#[test]
fn an_abort_over_tls_is_no_overlap_with_the_next_request() {
    let https = https(Scenario::new().delay(Duration::from_secs(3600)));
    for _ in 0..50 {
        let mut client = https.connect();
        client.ask(&[("authorization", "Bearer sk-1")]);
        assert_eq!(client.head().status, 200);
    }
    wait_until("all are counted", || {
        https.mock.stats().totals.in_flight == 0
    });
    let key = https.mock.stats().key("Bearer sk-1");
    assert_eq!((key.requests, key.max_in_flight, key.aborted), (50, 1, 50));
}

#[test]
fn a_client_without_tls_gets_nothing_and_hurts_nobody() {
    let https = https(Scenario::new().delay(Duration::ZERO));
    let mut plain = Client::over(tcp(https.mock.addr()));
    plain.ask(&[]);
    assert!(!plain.rest().unwrap_or_default().starts_with(b"HTTP"));
    let mut client = https.connect();
    client.ask(&[]);
    assert_eq!(client.whole_stream().0.status, 200);
}
