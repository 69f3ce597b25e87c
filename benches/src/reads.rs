//! JSON-RPC reads a second over many kept connections, beside a bare HTTP server which gives the same bytes to the same client.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    ceilings::BareServer,
    failure::BenchError,
    http::{Connection, call_text, post},
    load::Signer,
    network::Network,
    options::Options,
    report::Figure,
};

/// Threads of the client.
const THREADS: usize = 2;

/// Node and bare server take turns this often, so that a machine which becomes busy meanwhile is so for both.
const SLICES: u32 = 5;

/// Reads of one validator.
pub(crate) fn figures(options: &Options, network: &Network) -> Result<Vec<Figure>, BenchError> {
    let node = network.validator(0)?;
    let signer = Signer::new(network.chain_id(), "latency/0");
    let key = format!("0x{}", "key-00000000".bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
    let params = json!(["get", {"signer": signer.public_key().to_string(), "key": key}]);
    let kinds: [(&str, &str, &str, Value); 3] = [
        ("reads_status_per_s", "reads: quorate_status", "quorate_status", json!([])),
        ("reads_get_per_s", "reads: key-value get", "quorate_query", params),
        ("reads_block_per_s", "reads: quorate_block", "quorate_block", json!(["latest"])),
    ];
    let mut figures = Vec::new();
    for (key, name, method, params) in kinds {
        let request = post(&call_text(method, &params));
        let mut connection = node.connect()?;
        let answer = connection.exchange(&request)?.to_vec();
        if answer.windows(8).any(|part| part == b"\"error\":") {
            return Err(BenchError::answer(String::from_utf8_lossy(&answer)));
        }
        let bare = BareServer::start(&answer)?;
        let (mut rates, mut ceilings) = (Vec::new(), Vec::new());
        for _ in 0..SLICES {
            rates.push(rate(options, network, node.rpc, &request)?);
            ceilings.push(rate(options, network, bare.address, &request)?);
        }
        let connections = options.counts.read_connections;
        let how = format!("{connections} kept connections to one validator, answers of {} bytes", answer.len());
        let figure = Figure::median(key, name, &rates, "/s").how(how);
        figures.push(figure.beside("bare hyper", Figure::median("", "", &ceilings, "/s").value));
    }
    Ok(figures)
}

fn rate(options: &Options, network: &Network, address: SocketAddr, request: &[u8]) -> Result<f64, BenchError> {
    let threads = THREADS.min(options.counts.read_connections).max(1);
    let share = options.counts.read_connections.div_ceil(threads);
    let time = options.counts.read_time / SLICES;
    let begun = Instant::now();
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..threads).map(|_| scope.spawn(move || read(network, address, request, share, time))).collect();
        let mut done = 0;
        for thread in threads {
            done += thread.join().map_err(|_| BenchError::answer("a thread of the client panicked"))??;
        }
        Ok::<_, BenchError>(done)
    })?;
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

/// Keeps a request under way on each of `count` connections; returns how many were answered.
fn read(
    network: &Network,
    address: SocketAddr,
    request: &[u8],
    count: usize,
    time: Duration,
) -> Result<usize, BenchError> {
    let mut connections = (0..count).map(|_| Connection::open(address)).collect::<Result<Vec<_>, _>>()?;
    for connection in &mut connections {
        connection.send(request)?;
    }
    let (begun, mut done) = (Instant::now(), 0);
    // While one answer is waited for, the others' requests lie at the server: it is never idle.
    while begun.elapsed() < time {
        network.stop().check("reads")?;
        for connection in &mut connections {
            let (status, _) = connection.receive()?;
            if status != 200 {
                return Err(BenchError::answer(format!("a read was answered with HTTP status {status}")));
            }
            done += 1;
            connection.send(request)?;
        }
    }
    for connection in &mut connections {
        connection.receive()?;
    }
    Ok(done)
}
