//! What strangers and traitors do to their own connections, and do not do to those of others.

use std::{net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use quorate::{
    PeerId,
    transport::{Class, MESSAGE_BYTES_MAX, TransportCommand},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Duration, Instant, timeout},
};
use tokio_rustls::{TlsConnector, TlsStream};

use super::network::{PATIENCE, TestKey, TestNode, assert_undisturbed, context, id, impatient, pair, settings};
use crate::peer::{
    accept::{HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX},
    frame::{self, HEADER_BYTES, Header, Kind},
    hello::{Goodbye, Hello, PROTOCOL_VERSION},
    tls::Tls,
};

/// A peer that says what the test wants, after an honest TLS handshake.
struct Traitor {
    stream: TlsStream<TcpStream>,
    read: BytesMut,
}

impl Traitor {
    async fn secure(seed: u8, victim: SocketAddr) -> Self {
        let tls = Tls::new(TestKey::new(seed)).unwrap();
        let socket = TcpStream::connect(victim).await.unwrap();
        let stream = tls.connector.connect(nobody(), socket).await.unwrap().into();
        Self { stream, read: BytesMut::new() }
    }

    /// Greets honestly, as the key with `seed`.
    async fn greeted(seed: u8, victim: SocketAddr, victim_id: PeerId) -> Self {
        let mut traitor = Self::secure(seed, victim).await;
        traitor.frame(Kind::Hello, &hello().encode()).await;
        assert_eq!(traitor.receive().await.0, Kind::Hello);
        if victim_id < id(seed) {
            traitor.frame(Kind::Welcome, &[]).await;
            assert_eq!(traitor.receive().await.0, Kind::Welcome);
        } else {
            assert_eq!(traitor.receive().await.0, Kind::Welcome);
            traitor.frame(Kind::Welcome, &[]).await;
        }
        traitor
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn frame(&mut self, kind: Kind, body: &[u8]) {
        let mut out = BytesMut::new();
        frame::put(&mut out, kind, body);
        self.write(&out).await;
    }

    async fn receive(&mut self) -> (Kind, Vec<u8>) {
        loop {
            if let Some(Header { kind, body_bytes }) = Header::parse(&self.read).unwrap()
                && self.read.len() >= HEADER_BYTES + body_bytes
            {
                let frame = self.read.split_to(HEADER_BYTES + body_bytes);
                return (kind, frame[HEADER_BYTES..].to_vec());
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await.expect("nothing came in time");
            assert_ne!(read.unwrap(), 0, "closed without a word");
        }
    }

    /// Reads on to the goodbye, and returns its reason.
    async fn goodbye(&mut self) -> String {
        loop {
            let (kind, body) = self.receive().await;
            if kind == Kind::Goodbye {
                return Goodbye::decode(&body).unwrap().reason;
            }
        }
    }
}

/// The name that TLS wants and nobody looks at.
fn nobody() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

fn hello() -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        chain_id: quorate::ChainId::new([1; 32]),
        instance: [5; 16],
        replace: false,
        name: "traitor".into(),
        role: "follower".into(),
        listen: String::new(),
    }
}

#[tokio::test]
async fn another_version_is_told_so() {
    let mut node = TestNode::start(1);
    let mut newer = Traitor::secure(2, node.address).await;
    newer.frame(Kind::Hello, &Hello { version: 9, ..hello() }.encode()).await;
    let reason = format!("wrong version: 9 of the peer, {PROTOCOL_VERSION} of this node");
    assert_eq!(newer.goodbye().await, reason);
    assert_eq!(node.refusal().await.1, reason);
}

#[tokio::test]
async fn bytes_that_no_peer_may_send_end_only_their_own_connection() {
    let (mut one, mut two) = pair(&settings()).await;
    let frame = |kind, body: &[u8]| {
        let mut out = BytesMut::new();
        frame::put(&mut out, kind, body);
        out.to_vec()
    };
    let announced = |bytes: usize| u32::try_from(bytes).unwrap().to_le_bytes();
    let long = [announced(MESSAGE_BYTES_MAX + 1).as_slice(), b"x"].concat();
    let cases = [
        (vec![0xff; 64], "frame of kind 255"),
        (announced(65_537).into_iter().chain([34]).collect(), "Next(Sync) frame of 65537 bytes; at most 65536"),
        (frame(Kind::First(Class::Consensus), &long), "at most 18874368"),
        (frame(Kind::Next(Class::Pool), b"x"), "Pool fragment that continues no message"),
        (frame(Kind::First(Class::Pool), b"xy"), "which is no such frame"),
        (frame(Kind::Hello, &hello().encode()), "Hello frame at the wrong time"),
        (frame(Kind::Goodbye, b"\xff"), "which is no such frame"),
    ];
    for (bytes, wanted) in cases {
        let mut traitor = Traitor::greeted(3, one.address, one.id).await;
        assert_eq!(one.up().await, id(3));
        traitor.write(&bytes).await;
        let reason = traitor.goodbye().await;
        assert!(reason.contains(wanted), "{reason}");
        assert_eq!(one.down().await, (id(3), reason));
    }
    assert_undisturbed(&mut one, &mut two).await;
}

#[tokio::test]
async fn greetings_that_are_none_are_refused() {
    let node = TestNode::start(1);
    for (kind, body) in
        [(Kind::Heartbeat, vec![]), (Kind::Hello, vec![1, 0, 7]), (Kind::First(Class::Sync), vec![0; 9])]
    {
        let mut traitor = Traitor::secure(2, node.address).await;
        traitor.frame(kind, &body).await;
        traitor.goodbye().await;
    }
}

#[tokio::test]
async fn garbage_and_half_handshakes_and_slow_clients_disturb_nobody() {
    let (mut one, mut two) = pair(&impatient()).await;
    let mut open = Vec::new();
    for number in 0..60u8 {
        let mut socket = TcpStream::connect(one.address).await.unwrap();
        match number % 3 {
            // May be closed by the node while it is written.
            0 => drop(socket.write_all(&[number; 300]).await),
            1 => socket.write_all(&[22, 3, 1, 2, 0]).await.unwrap(),
            _ => {}
        }
        open.push(socket);
        if number % 10 == 0 {
            assert_undisturbed(&mut one, &mut two).await;
        }
    }
    // One stays silent after TLS, one says half a hello.
    let silent = Traitor::secure(3, one.address).await;
    let mut half = Traitor::secure(4, one.address).await;
    half.write(&[40, 0, 0, 0, 1, 1]).await;
    assert_undisturbed(&mut one, &mut two).await;
    // Each is closed when its time is over.
    let streams = [silent.stream, half.stream];
    for mut stream in streams {
        let mut rest = Vec::new();
        drop(timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("not closed in time"));
    }
    for mut socket in open {
        let mut rest = Vec::new();
        drop(timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("not closed in time"));
    }
    assert_undisturbed(&mut one, &mut two).await;
}

#[tokio::test]
async fn a_flood_of_connections_keeps_no_honest_peer_out() {
    let (mut one, mut two) = pair(&settings()).await;
    let mut flood = Vec::new();
    for _ in 0..HANDSHAKES_MAX {
        flood.push(TcpStream::connect(one.address).await.unwrap());
    }
    assert!(flood.len() > 4 * HANDSHAKES_PER_ADDRESS_MAX);
    assert_undisturbed(&mut one, &mut two).await;
    // All handshakes of this address are taken by connections that say nothing, for five seconds; the newcomer gets in at once.
    let mut late = TestNode::start(5);
    late.dial(&one).await;
    let begun = Instant::now();
    assert_eq!((late.up().await, one.up().await), (one.id, late.id));
    assert!(begun.elapsed() < Duration::from_secs(3));
    drop(flood);
}

#[tokio::test]
async fn strangers_with_many_keys_get_their_places_and_no_more() {
    let (mut one, mut two) = pair(&settings()).await;
    one.command(TransportCommand::Validators(Arc::new([two.id]))).await;
    let mut inside = Vec::new();
    for seed in 10..26 {
        inside.push(Traitor::greeted(seed, one.address, one.id).await);
        assert_eq!(one.up().await, id(seed));
    }
    let seed = (26..).find(|seed| one.id < id(*seed)).unwrap();
    let mut next = Traitor::secure(seed, one.address).await;
    next.frame(Kind::Hello, &hello().encode()).await;
    next.frame(Kind::Welcome, &[]).await;
    assert_eq!(next.goodbye().await, "too many connections from 127.0.0.1: 16 of 16");
    assert_undisturbed(&mut one, &mut two).await;
}

/// Long messages begun and never ended: strangers share 128 MiB, and who would exceed them goes.
#[tokio::test]
async fn unfinished_messages_of_strangers_have_bounded_memory() {
    let (mut one, mut two) = pair(&settings()).await;
    let total = u32::try_from(MESSAGE_BYTES_MAX).unwrap().to_le_bytes();
    let mut traitors = Vec::new();
    let mut reason = None;
    'strangers: for seed in 10..18 {
        let mut traitor = Traitor::greeted(seed, one.address, one.id).await;
        for class in [Class::Consensus, Class::Pool, Class::Sync] {
            traitor.frame(Kind::First(class), &[total.as_slice(), &[0]].concat()).await;
            for _ in 0..MESSAGE_BYTES_MAX / 65_536 - 1 {
                let mut out = BytesMut::new();
                frame::put(&mut out, Kind::Next(class), &[0; 65_536]);
                if traitor.stream.write_all(&out).await.is_err() || traitor.stream.flush().await.is_err() {
                    reason = Some(one.down().await);
                    break 'strangers;
                }
            }
        }
        traitors.push(traitor);
    }
    let (_, reason) = reason.expect("432 MiB were held");
    assert!(reason.contains("unfinished messages of strangers fill their 134217728 bytes"), "{reason}");
    assert!(traitors.len() <= 3);
    assert_undisturbed(&mut one, &mut two).await;
}

/// It keeps its connection alive with heartbeats, but takes nothing of what it is sent.
#[tokio::test]
async fn a_peer_that_reads_nothing_is_let_go() {
    let mut node = TestNode::start_with(&impatient(), &context(1, 1));
    let traitor = Traitor::greeted(2, node.address, node.id).await;
    assert_eq!(node.up().await, id(2));
    let (reader, mut writer) = tokio::io::split(traitor.stream);
    let beating = tokio::spawn(async move {
        let mut heartbeat = BytesMut::new();
        frame::put(&mut heartbeat, Kind::Heartbeat, &[]);
        while writer.write_all(&heartbeat).await.is_ok() && writer.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    for _ in 0..3 {
        node.send(id(2), Class::Sync, vec![0; MESSAGE_BYTES_MAX]).await;
    }
    assert_eq!(node.down().await, (id(2), "took no bytes for 1000 ms".to_owned()));
    beating.abort();
    drop(reader);
}

#[tokio::test]
async fn a_client_without_a_key_is_no_peer() {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut node = TestNode::start(1);
    let socket = TcpStream::connect(node.address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    assert!(timeout(PATIENCE, connector.connect(nobody(), socket)).await.unwrap().is_err());
    node.quiet(50).await;
}

#[tokio::test]
async fn a_client_that_does_not_name_the_protocol_gets_no_hello() {
    let mut config = rustls::ClientConfig::clone(Tls::new(TestKey::new(2)).unwrap().connector.config());
    config.alpn_protocols.clear();
    let mut node = TestNode::start(1);
    let socket = TcpStream::connect(node.address).await.unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(nobody(), socket).await.unwrap();
    let mut heard = Vec::new();
    // Whether the end comes with TLS's own farewell does not matter.
    drop(timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("not closed in time"));
    assert_eq!(heard, b"");
    node.quiet(50).await;
}
