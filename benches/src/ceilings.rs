//! Ceilings: what this machine could do of one thing alone, measured in this process beside the figures.

use std::{
    fs::OpenOptions,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use quorate::{Application as _, ChainId, application::NoState, signature::BATCH_MAX};
use quorate_kv::{Kv, Put};

use crate::{
    failure::{BenchError, io},
    machine, process,
    report::{percentile, sorted},
};

/// Threads of the bare server: as many as a node has for sockets.
const SERVER_THREADS: usize = 2;

/// Bytes written before each fsync: a page.
const PAGE: [u8; 4096] = [7; 4096];

/// What checking signatures costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checks {
    /// A second, on all cores at once, as busy as the machine is now.
    pub(crate) per_s: f64,
    /// CPU time of one, in microseconds: it does not depend on how busy the machine is. 0 where the system does not tell.
    pub(crate) cpu_us: f64,
}

/// Checks the signatures of the application's transactions in full batches, on all cores at once.
pub(crate) fn signature_checks(time: Duration) -> Checks {
    let chain_id = ChainId::new([7; 32]);
    let application = Kv::new(chain_id, 1024);
    let transactions: Vec<Bytes> = (0..BATCH_MAX as u64)
        .map(|nonce| Put::sign(&[nonce as u8; 32], &chain_id, nonce, b"key-00000000", &[b'v'; 32]))
        .collect();
    let cpu = || process::cpu(std::process::id()).unwrap_or_default();
    let (begun, spent) = (Instant::now(), cpu());
    let checked: usize = std::thread::scope(|scope| {
        let work = || {
            let mut checked = 0;
            while begun.elapsed() < time || checked == 0 {
                checked += application.verify(&NoState, &transactions).iter().filter(|verdict| verdict.is_ok()).count();
            }
            checked
        };
        let threads: Vec<_> = (0..machine::cores()).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).sum()
    });
    let (took, spent) = (begun.elapsed(), cpu().saturating_sub(spent));
    let checked = checked.max(1) as f64;
    Checks { per_s: checked / took.as_secs_f64(), cpu_us: spent.as_secs_f64() * 1e6 / checked }
}

/// The median of writing a page and making it durable, in milliseconds.
pub(crate) fn fsync_ms(directory: &Path, time: Duration) -> Result<f64, BenchError> {
    let file = tempfile::NamedTempFile::new_in(directory).map_err(io(directory.display().to_string()))?;
    let file = OpenOptions::new().write(true).open(file.path()).map_err(io("the file for fsync"))?;
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < time || took.is_empty() {
        let at = Instant::now();
        file.write_all_at(&PAGE, (took.len() as u64 % 256) * PAGE.len() as u64)
            .and_then(|()| file.sync_data())
            .map_err(io("fsync"))?;
        took.push(at.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(percentile(&sorted(&took), 50))
}

/// A server which answers every request with the same bytes and does nothing else.
pub(crate) struct BareServer {
    pub(crate) address: SocketAddr,
    /// Its end is the server's.
    _runtime: tokio::runtime::Runtime,
}

impl BareServer {
    /// Starts it on loopback.
    pub(crate) fn start(answer: &[u8]) -> Result<Self, BenchError> {
        let answer = Bytes::copy_from_slice(answer);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(SERVER_THREADS)
            .enable_io()
            .build()
            .map_err(io("the bare server's threads"))?;
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .map_err(io("the bare server's address"))?;
        let address = listener.local_addr().map_err(io("the bare server's address"))?;
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                let service = service_fn(move |request: hyper::Request<Incoming>| {
                    let answer = answer.clone();
                    async move {
                        // The body is read, as a node must.
                        let _read = http_body_util::BodyExt::collect(request.into_body()).await?;
                        Ok::<_, hyper::Error>(Response::new(Full::new(answer)))
                    }
                });
                tokio::spawn(async move {
                    // A connection that ends is no concern of a ceiling.
                    drop(stream.set_nodelay(true));
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Ok(Self { address, _runtime: runtime })
    }
}
