//! The backend for voters: what going through it costs beside going to a validator, how soon it notices one that is gone or back, and what held ballots
//! take.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use quorate_ballot::record::Body;
use serde_json::{Value, json};

use crate::{
    ballots::{cast, hex, open},
    failure::BenchError,
    http::{Connection, call_text, get, post, post_to},
    network::{Network, Node, Rules},
    options::Options,
    process,
    report::{Figure, percentile, sorted},
    stop::Stop,
};

/// Booths that send at a time, each the next ballot when the one before is answered.
const BOOTHS: usize = 64;

/// Ballots which are sent one after the other, by one booth.
const LONE: usize = 60;

/// What a closed loop of booths saw.
struct Loaded {
    took: Duration,
    /// Of each request, in milliseconds, ascending.
    latencies: Vec<f64>,
}

/// Sends every request once, on as many connections as there are booths.
fn load(
    address: SocketAddr,
    booths: usize,
    requests: &[Vec<u8>],
    is_good: fn(u16, &[u8]) -> bool,
) -> Result<Loaded, BenchError> {
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    let booth = || {
        let mut connection = Connection::open(address)?;
        let mut latencies = Vec::new();
        while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
            let sent = Instant::now();
            connection.send(request)?;
            let (status, body) = connection.receive()?;
            if !is_good(status, body) {
                let shown = String::from_utf8_lossy(body).into_owned();
                return Err(BenchError::answer(format!("HTTP status {status}: {shown}")));
            }
            latencies.push(sent.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(latencies)
    };
    let all = std::thread::scope(|scope| {
        let booths: Vec<_> = (0..booths).map(|_| scope.spawn(booth)).collect();
        let joined = booths.into_iter().map(|booth| booth.join());
        joined
            .map(|found| found.unwrap_or_else(|_| Err(BenchError::answer("a booth panicked"))))
            .collect::<Result<Vec<_>, BenchError>>()
    })?;
    Ok(Loaded { took: begun.elapsed(), latencies: sorted(&all.concat()) })
}

fn submitted(status: u16, _: &[u8]) -> bool {
    status == 200
}

fn taken(status: u16, _: &[u8]) -> bool {
    status == 200 || status == 202
}

fn queued(status: u16, _: &[u8]) -> bool {
    status == 202
}

fn pending(status: u16, body: &[u8]) -> bool {
    status == 200 && !body.windows(8).any(|part| part == b"\"error\":")
}

/// One answer of the backend.
fn ask(network: &Network, path: &str) -> Result<Value, BenchError> {
    let mut connection = network.backend().connect()?;
    connection.send(&get(path))?;
    let (_, body) = connection.receive()?;
    serde_json::from_slice(body).map_err(|error| BenchError::answer(error.to_string()))
}

/// Waits until the backend's health satisfies `check`; how long that took from `begun`, in milliseconds.
fn until(network: &Network, begun: Instant, what: &str, check: impl Fn(&Value) -> bool) -> Result<f64, BenchError> {
    network.stop().until(what, || Ok(ask(network, "/health").ok().filter(&check).map(drop)))?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

fn at(health: &Value, pointer: &str) -> u64 {
    health.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// Waits until this many ballots are final at a validator.
fn counted(network: &Network, validator: usize, count: usize) -> Result<(), BenchError> {
    let mut connection = network.validator(validator)?.connect()?;
    network.stop().until("every ballot is final", || {
        let answer = connection.call("quorate_query", &json!(["elections", {}]))?;
        let found = answer.pointer("/elections/0/ballots").and_then(Value::as_u64).unwrap_or_default();
        Ok((found >= count as u64).then_some(()))
    })
}

fn rss_mib(node: &Node) -> f64 {
    let memory = node.pid().and_then(process::memory).unwrap_or_default();
    memory.rss_kib as f64 / 1024.0
}

/// Measures all of it on one network.
pub(crate) fn figures(options: &Options, stop: &Stop) -> Result<Vec<Figure>, BenchError> {
    let counts = &options.counts;
    let direct = (counts.ballots / 3).max(BOOTHS);
    let mut network = Network::running(options, stop, Rules::VOTING)?;
    let election = open(&network, 2 * direct + counts.queued)?;
    let eid = hex(&election.key.eid);
    let ballots = cast(&election, stop)?;
    network.spawn_backend()?;
    stop.until("the backend knows the election", || {
        let found = ask(&network, &format!("/api/elections/{eid}"))?;
        Ok((found.get("state").and_then(Value::as_str) == Some("manifest")).then_some(()))
    })?;
    let mut parts = ballots.chunks(direct);
    let mut next = |what: &str| parts.next().ok_or_else(|| BenchError::answer(format!("no ballots for {what}")));
    let by_rpc: Vec<Vec<u8>> = next("a validator")?
        .iter()
        .map(|ballot| {
            let bytes = Body::Ballot(ballot.clone()).unsigned().encode();
            post(&call_text("quorate_submit", &json!([hex(&bytes)])))
        })
        .collect();
    let by_http = |ballot: &Vec<u8>| {
        let body = json!({ "election_id": eid, "encrypted_vote": STANDARD.encode(ballot) });
        post_to("/api/votes/submit", &body.to_string())
    };
    let through: Vec<Vec<u8>> = next("the backend")?.iter().map(by_http).collect();
    let held: Vec<Vec<u8>> = ballots.iter().skip(2 * direct).map(by_http).collect();

    let mut figures = Vec::new();
    let lone = LONE.min(direct / 2);
    let alone_at_validator = load(network.validator(0)?.rpc, 1, by_rpc.get(..lone).unwrap_or_default(), pending)?;
    let alone = load(network.backend().rpc, 1, through.get(..lone).unwrap_or_default(), submitted)?;
    figures.push(
        Figure::new(
            "gateway_lone_p50_ms",
            "backend, a lone ballot to its answer, p50",
            percentile(&alone.latencies, 50),
            "ms",
        )
        .how(format!("{lone} ballots one after the other: checked, durable, at a validator"))
        .beside("pending at a validator", percentile(&alone_at_validator.latencies, 50)),
    );
    let to_validator = load(network.validator(0)?.rpc, BOOTHS, by_rpc.get(lone..).unwrap_or_default(), pending)?;
    counted(&network, 0, direct + lone)?;
    let begun = Instant::now();
    let to_backend = load(network.backend().rpc, BOOTHS, through.get(lone..).unwrap_or_default(), submitted)?;
    counted(&network, 0, 2 * direct)?;
    let final_per_s = (direct - lone) as f64 / begun.elapsed().as_secs_f64();
    figures.extend(beside(direct - lone, &to_validator, &to_backend, final_per_s));

    // One validator is gone, and comes back.
    until(&network, Instant::now(), "three validators answer", |health| at(health, "/reach/answering") == 3)?;
    let gone = Instant::now();
    network.kill_validator(2);
    let noticed = until(&network, gone, "the dead validator is noticed", |health| at(health, "/reach/answering") == 2)?;
    network.spawn(2)?;
    network.wait_ready(2)?;
    let back = Instant::now();
    let used = until(&network, back, "the returned validator is used", |health| at(health, "/reach/answering") == 3)?;
    figures.push(
        Figure::new("gateway_notices_ms", "backend notices a dead validator", noticed, "ms")
            .how("kill -9 to /health saying 2"),
    );
    figures.push(
        Figure::new("gateway_uses_ms", "backend uses a returned validator", used, "ms")
            .how("its /ready to /health saying 3"),
    );

    // All are gone.
    let before = rss_mib(network.backend());
    (0..3).for_each(|at| network.kill_validator(at));
    until(&network, Instant::now(), "no validator answers", |health| at(health, "/reach/answering") == 0)?;
    let while_none = load(network.backend().rpc, BOOTHS, &held, queued)?;
    let after = rss_mib(network.backend());
    let count = held.len();
    figures.push(
        Figure::new("gateway_held_rss_mib", "backend, memory with ballots held", after, "MiB")
            .how(format!("VmRSS with {count} ballots of 5 options held, no validator answering"))
            .beside("before", before),
    );
    let rate = count as f64 / while_none.took.as_secs_f64();
    figures.push(
        Figure::new("gateway_held_per_s", "backend, ballots made durable while none answers", rate, "/s")
            .how(format!("{count} ballots, {BOOTHS} booths, p50 {:.1} ms", percentile(&while_none.latencies, 50))),
    );
    for at in 0..3 {
        network.spawn(at)?;
    }
    for at in 0..3 {
        network.wait_ready(at)?;
    }
    let back = Instant::now();
    until(&network, back, "all that was held is final", |health| at(health, "/outbox/held") == 0)?;
    counted(&network, 0, 2 * direct + count)?;
    let drained = count as f64 / back.elapsed().as_secs_f64();
    figures.push(
        Figure::new("gateway_drained_per_s", "backend, held ballots made final when all are back", drained, "/s")
            .how("from the last /ready to the last one settled"),
    );
    // The same ballots again are known: what is left is HTTP and one look into the ledger.
    let again = load(network.backend().rpc, BOOTHS, &through, taken)?;
    let known = through.len() as f64 / again.took.as_secs_f64();
    figures.push(
        Figure::new("gateway_known_per_s", "backend, the same ballots again", known, "/s")
            .how(format!("{BOOTHS} booths")),
    );
    Ok(figures)
}

fn beside(count: usize, validator: &Loaded, backend: &Loaded, final_per_s: f64) -> Vec<Figure> {
    let rate = |loaded: &Loaded| count as f64 / loaded.took.as_secs_f64();
    let how = format!("{count} ballots of 5 options, {BOOTHS} booths, one request each at a time");
    let latency = |key: &str, name: &str, percent| {
        let name = format!("backend, time to its answer, {name}");
        Figure::new(key, name, percentile(&backend.latencies, percent), "ms")
            .beside("at a validator", percentile(&validator.latencies, percent))
    };
    vec![
        Figure::new("gateway_accepted_per_s", "backend, ballots durable and submitted", rate(backend), "/s")
            .how(how)
            .beside("pending at a validator", rate(validator)),
        latency("gateway_p50_ms", "p50", 50),
        latency("gateway_p99_ms", "p99", 99),
        Figure::new("gateway_final_per_s", "backend, ballots to final", final_per_s, "/s"),
    ]
}
