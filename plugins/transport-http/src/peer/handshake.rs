//! From a TCP connection to one that stands: TLS, then a hello each way, then a welcome each way.
//!
//! ```text
//!        dialler                          listener
//!           | <------ TLS 1.3, both keys -----> |
//!           | <---- hello ------------ hello -> |   both at once; each checks version, network, key
//!  the larger key: welcome  ------------------> |   the smaller key decides
//!           | <------------------------ welcome |   the connection stands
//! ```
//!
//! Instead of each of these a goodbye may come, with the reason.

use std::{net::SocketAddr, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use quorate::PeerId;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Duration, Instant, timeout},
};
use tokio_rustls::TlsStream;

use super::{
    frame::{self, HEADER_BYTES, Header, Kind, Violation},
    hello::{Farewell, Goodbye, Heard, Hello, PROTOCOL_VERSION},
    locked,
    shared::{Shared, claimed_address, refused_address, tune},
    table::{Admitted, Claim, Origin, counted_address},
    tls,
};

/// How long a goodbye may take to be read before the connection is closed.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// Bytes read and thrown away meanwhile, so that the system does not discard the goodbye with an abrupt close.
const LINGER_BYTES_MAX: usize = 256 << 10;

/// Who began.
#[derive(Debug, Clone)]
pub(super) enum Side {
    /// This node, to reach a peer at an address.
    Dialler {
        peer: PeerId,
        address: String,
        /// See [`Hello::replace`].
        replace: bool,
    },
    /// The other.
    Listener(SocketAddr),
}

/// A connection that stands.
pub(super) struct Standing {
    pub(super) stream: TlsStream<TcpStream>,
    /// What was read beyond the welcome.
    pub(super) read: BytesMut,
    pub(super) peer: PeerId,
    pub(super) origin: Origin,
    pub(super) name: String,
    pub(super) role: String,
    pub(super) address: String,
    pub(super) place: Place,
}

/// A connection's place in the table, given up when dropped.
pub(super) struct Place {
    shared: Arc<Shared>,
    peer: PeerId,
    pub(super) admitted: Admitted,
}

impl Drop for Place {
    fn drop(&mut self) {
        locked(&self.shared.table).remove(self.peer, self.admitted.id);
    }
}

/// Why no connection came to stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// A socket, or TLS, failed.
    Broken(String),
    /// One side turned the other away.
    Refused { address: String, farewell: Farewell, reason: String },
}

impl Failure {
    /// A socket failed in `action`.
    pub(super) fn broken(action: &str, error: &dyn std::fmt::Display) -> Self {
        Self::Broken(format!("{action}: {error}"))
    }
}

/// Makes a connection of a socket; in [`super::Timing::handshake`], or it fails.
pub(super) async fn establish(shared: &Arc<Shared>, socket: TcpStream, side: Side) -> Result<Standing, Failure> {
    let limit = shared.timing.handshake;
    let attempt = async {
        tune(&socket).map_err(|error| Failure::broken("socket options failed", &error))?;
        let stream = secure(shared, socket, &side).await?;
        greet(shared, stream, side).await
    };
    match timeout(limit, attempt).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Broken(format!("handshake took longer than {} ms", limit.as_millis()))),
    }
}

async fn secure(shared: &Shared, socket: TcpStream, side: &Side) -> Result<TlsStream<TcpStream>, Failure> {
    let secured = match side {
        Side::Dialler { .. } => {
            // Not sent and not compared: the key is the name.
            let nobody = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
            shared.tls.connector.connect(nobody, socket).await.map(TlsStream::from)
        }
        Side::Listener(_) => shared.tls.acceptor.accept(socket).await.map(TlsStream::from),
    };
    secured.map_err(|error| match side {
        // Whoever listens there is no peer, which an operator should know of the addresses that this node dials.
        Side::Dialler { address, .. } if error.kind() == std::io::ErrorKind::InvalidData => Failure::Refused {
            address: address.clone(),
            farewell: Farewell::Violation,
            reason: format!("TLS handshake failed: {error}"),
        },
        _ => Failure::broken("TLS handshake failed", &error),
    })
}

async fn greet(shared: &Arc<Shared>, stream: TlsStream<TcpStream>, side: Side) -> Result<Standing, Failure> {
    let peer = tls::proven_key(stream.get_ref().1).ok_or_else(|| {
        Failure::Broken("TLS without the peer's Ed25519 key or without the protocol quorate/1".into())
    })?;
    let mut talk = Talk { stream, read: BytesMut::new(), address: side.address("") };
    if let Side::Dialler { peer: wanted, .. } = &side
        && *wanted != peer
    {
        return talk.refuse(Farewell::WrongKey, format!("wrong key: expected {wanted}, found {peer}")).await;
    }
    let replace = matches!(side, Side::Dialler { replace: true, .. });
    talk.send(Kind::Hello, &shared.hello(replace).encode()).await?;
    let hello = match talk.receive(Kind::Hello).await.map(|body| Hello::decode(&body))? {
        Ok(Heard::Hello(hello)) => hello,
        Ok(Heard::OtherVersion(version)) => {
            let reason = format!("wrong version: {version} of the peer, {PROTOCOL_VERSION} of this node");
            return talk.refuse(Farewell::WrongVersion, reason).await;
        }
        Err(violation) => return talk.refuse(Farewell::Violation, violation.to_string()).await,
    };
    talk.address = side.address(&hello.listen);
    if let Some(goodbye) = unacceptable(shared, peer, &hello) {
        return talk.refuse(goodbye.farewell, goodbye.reason).await;
    }
    let (origin, address) = match &side {
        Side::Dialler { address, .. } => (Origin::Dialled, address.clone()),
        Side::Listener(remote) => {
            (Origin::Accepted(counted_address(remote.ip())), claimed_address(&hello.listen, *remote))
        }
    };
    let claim = Claim { peer, instance: hello.instance, origin, replace: hello.replace };
    let place = talk.settle(shared, &claim).await?;
    let Talk { stream, read, .. } = talk;
    Ok(Standing { stream, read, peer, origin, name: hello.name, role: hello.role, address, place })
}

/// Why the peer can't be one of ours, whatever room there is.
fn unacceptable(shared: &Shared, peer: PeerId, hello: &Hello) -> Option<Goodbye> {
    if hello.chain_id != shared.chain_id {
        let reason = format!("wrong network: {} of the peer, {} of this node", hello.chain_id, shared.chain_id);
        return Some(Goodbye::new(Farewell::WrongNetwork, reason));
    }
    if peer == shared.own {
        let reason = if hello.instance == shared.instance {
            "this node was dialled by itself"
        } else {
            "another process runs with this node's own key"
        };
        return Some(Goodbye::new(Farewell::OwnKey, reason));
    }
    None
}

impl Side {
    /// How the other is named when it is refused.
    fn address(&self, listen: &str) -> String {
        match self {
            Self::Dialler { address, .. } => address.clone(),
            Self::Listener(remote) => refused_address(listen, *remote),
        }
    }
}

/// A secured connection before it stands.
struct Talk {
    stream: TlsStream<TcpStream>,
    read: BytesMut,
    /// How the other is named when it is refused.
    address: String,
}

impl Talk {
    /// Exchanges welcomes; the smaller key has the last word.
    async fn settle(&mut self, shared: &Arc<Shared>, claim: &Claim) -> Result<Place, Failure> {
        let decides = locked(&shared.table).decides(claim.peer);
        if decides {
            self.receive(Kind::Welcome).await?;
        } else {
            let checked = locked(&shared.table).check(claim, Instant::now());
            if let Err(goodbye) = checked {
                return self.refuse(goodbye.farewell, goodbye.reason).await;
            }
            self.send(Kind::Welcome, &[]).await?;
            self.receive(Kind::Welcome).await?;
        }
        let admitted = locked(&shared.table).admit(claim, Instant::now());
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(goodbye) => return self.refuse(goodbye.farewell, goodbye.reason).await,
        };
        let place = Place { shared: Arc::clone(shared), peer: claim.peer, admitted };
        if decides {
            self.send(Kind::Welcome, &[]).await?;
        }
        Ok(place)
    }

    async fn send(&mut self, kind: Kind, body: &[u8]) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        frame::put(&mut out, kind, body);
        let sent = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| Failure::broken("sending a greeting failed", &error))
    }

    /// Reads the body of a frame of this kind; a goodbye in its place is the peer's refusal.
    async fn receive(&mut self, wanted: Kind) -> Result<Bytes, Failure> {
        let violation = loop {
            match Header::parse(&self.read) {
                Ok(Some(Header { kind, body_bytes })) if kind == wanted || kind == Kind::Goodbye => {
                    if self.read.len() >= HEADER_BYTES + body_bytes {
                        self.read.advance(HEADER_BYTES);
                        let body = self.read.split_to(body_bytes).freeze();
                        if kind == wanted {
                            return Ok(body);
                        }
                        match Goodbye::decode(&body) {
                            Ok(goodbye) => return Err(self.turned_away(goodbye)),
                            Err(violation) => break violation,
                        }
                    }
                }
                Ok(Some(Header { kind, .. })) => break Violation::Unexpected(kind),
                Ok(None) => {}
                Err(violation) => break violation,
            }
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) => return Err(Failure::Broken("closed by the peer during the greeting".into())),
                Ok(_) => {}
                Err(error) => return Err(Failure::broken("reading a greeting failed", &error)),
            }
        };
        self.refuse(Farewell::Violation, violation.to_string()).await
    }

    fn turned_away(&self, goodbye: Goodbye) -> Failure {
        Failure::Refused {
            address: self.address.clone(),
            farewell: goodbye.farewell,
            reason: format!("turned away by the peer: {}", goodbye.reason),
        }
    }

    /// Tells the peer why, and returns it as the failure.
    async fn refuse<T>(&mut self, farewell: Farewell, reason: String) -> Result<T, Failure> {
        part(&mut self.stream, BytesMut::new(), &Goodbye::new(farewell, &reason)).await;
        Err(Failure::Refused { address: self.address.clone(), farewell, reason })
    }
}

/// Writes `pending` and a goodbye, and waits a little for the peer to read it. Failures do not matter any more.
pub(super) async fn part(stream: &mut TlsStream<TcpStream>, mut pending: BytesMut, goodbye: &Goodbye) {
    frame::put(&mut pending, Kind::Goodbye, &goodbye.encode());
    let parting = async {
        stream.write_all(&pending).await?;
        stream.shutdown().await?;
        let mut left = LINGER_BYTES_MAX;
        let mut ignored = BytesMut::with_capacity(4096);
        while left > 0 {
            ignored.clear();
            let bytes = stream.read_buf(&mut ignored).await?;
            if bytes == 0 {
                break;
            }
            left = left.saturating_sub(bytes);
        }
        std::io::Result::Ok(())
    };
    drop(timeout(LINGER, parting).await);
}
