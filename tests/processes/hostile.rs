//! Bad input of every kind, at every port and from every file: a clear error, no crash, no growth.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{Load, Network, Random, Writer, call, eventually, get, http, quorate, rpc, status, submit};

/// How much more memory a node may hold after all this than before it, in KiB. It is one or two MiB; each of hundreds of hostile requests
/// would add its own if anything of them stayed.
const GROWTH_KIB_MAX: u64 = 16 << 10;

/// Rounds of hostile connections at each port.
const ROUNDS: usize = 40;

/// Connections that are held open half-way at each port.
const HELD: usize = 24;

/// Memory in use, in KiB (`VmRSS` of proc_pid_status(5)).
fn resident_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Writes `bytes`, says that nothing follows, and reads a little of what comes; failures are the other side's good right.
fn throw(port: u16, bytes: &[u8]) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    if stream.write_all(bytes).is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
        let mut answer = [0; 4096];
        while stream.read(&mut answer).is_ok_and(|read| read > 0) {}
    }
}

/// One hostile message; which kind of it, `round` says.
fn hostile_bytes(round: usize, random: &mut Random) -> Vec<u8> {
    let with_length = |kind: &[u8], len: usize, mut body: Vec<u8>| {
        let mut message = kind.to_vec();
        message.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        message.append(&mut body);
        message
    };
    match round % 10 {
        0 => random.bytes(4096),
        // TLS records: a hello that is noise, one that ends early, a record of a kind and length that can't be.
        1 => with_length(&[22, 3, 1], 512, [vec![1, 0, 1, 252, 3, 3], random.bytes(506)].concat()),
        2 => with_length(&[22, 3, 1], 16_000, random.bytes(100)),
        3 => with_length(&[23, 3, 3], 65_535, random.bytes(70_000)),
        // HTTP: a head without an end, one line too long, too many lines, a body that lies about its length.
        4 => [b"GET / HTTP/1.1\r\nhost: x\r\nx: ".to_vec(), vec![b'a'; 64 << 10]].concat(),
        5 => [b"GET /".to_vec(), vec![b'a'; 256 << 10], b" HTTP/1.1\r\n\r\n".to_vec()].concat(),
        6 => [b"GET / HTTP/1.1\r\n".to_vec(), b"x: y\r\n".repeat(5000), b"\r\n".to_vec()].concat(),
        7 => b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4294967296\r\n\r\n{}".to_vec(),
        8 => b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{}".to_vec(),
        _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
    }
}

#[test]
fn garbage_at_every_port_neither_stops_blocks_nor_grows_a_node() {
    let mut random = Random::new();
    let network = Network::run(3, &["--delta-ms", "100"]);
    let load = Load::start(&network, &[0, 1, 2], 130, &mut random);
    let from = network.ports_from;
    // Bootnode, and clients' and peers' port of the first validator; what the other two take is their load.
    let ports = [from, from + 1, from + 4];
    let pids = [network.bootnode_pid(), network.nodes[0].pid];
    let rounds = |random: &mut Random| {
        std::thread::scope(|scope| {
            for port in ports {
                let mut random = random.fork();
                scope.spawn(move || (0..ROUNDS).for_each(|round| throw(port, &hostile_bytes(round, &mut random))));
            }
        });
    };
    // Once before, so that what a node keeps ready for its work is not taken for growth.
    rounds(&mut random);
    let (before, open) = (pids.map(resident_kib), pids.map(descriptors));
    let held: Vec<TcpStream> = ports
        .into_iter()
        .flat_map(|port| std::iter::repeat_n(port, HELD))
        .filter_map(|port| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream.write_all(b"POST / HTTP/1.1\r\n").ok()?;
            Some(stream)
        })
        .collect();
    assert!(held.len() > HELD);
    let height = network.height(1);
    for _ in 0..3 {
        rounds(&mut random);
    }
    eventually("blocks go on", || (network.height(1) >= height + 5).then_some(()));
    for (pid, before) in pids.into_iter().zip(before) {
        let after = resident_kib(pid);
        println!("process {pid} held {before} KiB and holds {after} KiB");
        assert!(after <= before + GROWTH_KIB_MAX, "process {pid} held {before} KiB and holds {after} KiB");
    }
    drop(held);
    for (pid, before) in pids.into_iter().zip(open) {
        // Those of the load come and go.
        eventually("what was open is closed", || (descriptors(pid) <= before + 16).then_some(()));
    }
    let settled = load.stop();
    settled.check(&network, &[0, 1, 2]);
    network.assert_same_blocks(&[0, 1, 2]);
    for at in 0..3 {
        let status = status(network.rpc(at)).unwrap();
        assert_eq!((&status["status"], &status["evidence"]), (&json!("ok"), &json!(0)));
        assert!(!network.log(at).contains("panicked"));
    }
    assert!(get(&format!("http://127.0.0.1:{from}"), "/health").is_some_and(|(code, _)| code == 200));
}

#[test]
fn a_flood_of_connections_at_the_peers_port_keeps_no_validator_out() {
    let mut network = Network::run(3, &["--delta-ms", "100", "--block-interval-ms", "0"]);
    let mut writer = Writer::new(&network.genesis(), 140);
    let first = submit(network.rpc(0), &writer.next());
    network.final_everywhere(&[0, 1, 2], &first);
    let stop = AtomicBool::new(false);
    let made = AtomicUsize::new(0);
    let port = network.ports_from + 4;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut held = std::collections::VecDeque::new();
            while !stop.load(Ordering::Relaxed) {
                if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
                    drop(stream.write_all(&[22, 3, 1, 2, 0, 1]));
                    held.push_back(stream);
                    made.fetch_add(1, Ordering::Relaxed);
                }
                if held.len() > 200 {
                    held.pop_front();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        eventually("the flood stands", || (made.load(Ordering::Relaxed) > 200).then_some(()));
        // One validator comes back in the middle of it, and with another away its link with the flooded one is needed.
        network.kill(2);
        network.restart(2);
        network.kill(1);
        let id = submit(network.rpc(2), &writer.next());
        network.final_everywhere(&[0, 2], &id);
        stop.store(true, Ordering::Relaxed);
    });
    network.restart(1);
    network.catches_up(1, 0);
    network.assert_same_blocks(&[0, 1, 2]);
}

/// The error's code, and its data as text.
fn error(answer: &Value) -> (i64, String) {
    (answer["error"]["code"].as_i64().unwrap_or_default(), answer["error"]["data"].to_string())
}

#[test]
fn every_bad_request_gets_a_definite_answer_and_leaves_nothing_behind() {
    let network = Network::run(3, &["--delta-ms", "50", "--block-interval-ms", "0"]);
    let url = network.rpc(0);
    let mut writer = Writer::new(&network.genesis(), 150);
    let good = writer.next();
    let flipped = {
        let mut bytes = hex::decode(&good[2..]).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        format!("0x{}", hex::encode(bytes))
    };
    let elsewhere =
        format!("0x{}", hex::encode(quorate_kv::Put::sign(&[9; 32], &quorate::ChainId::new([7; 32]), 0, b"k", b"v")));
    for (transaction, code, words) in [
        (json!("hello"), -32602, "0x"),
        (json!("0xabc"), -32602, "hex"),
        (json!(7), -32602, "transaction"),
        (json!("0x"), -32011, "malformed"),
        (json!("0x00"), -32011, "version"),
        (json!(format!("0x{}", &good[4..])), -32011, "malformed"),
        (json!(format!("{good}00")), -32011, "malformed"),
        (json!(flipped), -32011, "not_authentic"),
        (json!(elsewhere), -32011, "not_authentic"),
        (json!(writer.next_with(&[1; 2000])), -32011, "the limit is"),
        (json!(format!("0x{}", "00".repeat(400_000))), -32013, "limit"),
    ] {
        let answer = rpc(url, "quorate_submit", json!([transaction])).unwrap();
        let (found, told) = error(&answer);
        let shown: String = transaction.to_string().chars().take(40).collect();
        assert!(found == code && told.contains(words), "{shown}: {answer}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many = format!("[{}]", vec![r#"{"jsonrpc":"2.0","id":1,"method":"quorate_status"}"#; 101].join(","));
    let large = vec![b' '; (1 << 20) + 1];
    let cases: [(&[u8], u16, i64); 8] = [
        (b"", 200, -32700),
        (b"{", 200, -32700),
        (b"\xff\xfe\xfd", 200, -32700),
        (b"[]", 200, -32600),
        (br#"{"jsonrpc":"1.0","id":1,"method":"quorate_status"}"#, 200, -32600),
        (deep.as_bytes(), 200, -32600),
        (many.as_bytes(), 200, -32600),
        (&large, 413, -32600),
    ];
    for (body, status, code) in cases {
        let (found, answer) = http(url, "POST", "/", body).unwrap();
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{shown}: {error}: {answer}"));
        let (told, why) = error(&answer);
        assert!((found, told) == (status, code) && why.contains("reason"), "{shown}: {found} {answer}");
    }
    for (method, params, code) in [
        ("quorate_blok", json!([]), -32601),
        ("quorate_block", json!(["-1"]), -32602),
        ("quorate_block", json!([1e300]), -32602),
        ("quorate_receipt", json!(["0x12"]), -32602),
        ("quorate_query", json!(["nothing/here"]), -32017),
        ("quorate_backup", json!(["/tmp"]), -32015),
    ] {
        let answer = rpc(url, method, params).unwrap();
        assert_eq!(error(&answer).0, code, "{method}: {answer}");
    }
    assert_eq!(call(url, "quorate_pool", json!([]))["count"], 0);
    assert_eq!(network.height(0), 0, "nothing of that was worth a block");
    let id = submit(url, &good);
    network.final_everywhere(&[0, 1, 2], &id);
}

#[test]
fn every_bad_file_is_refused_with_78_and_words() {
    let network = Network::init(1, &[]);
    let path = network.nodes[0].config.clone();
    let good = std::fs::read_to_string(&path).unwrap();
    let genesis = network.genesis();
    let good_genesis = std::fs::read_to_string(&genesis).unwrap();
    let replaced = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "no `{from}`");
        text.replace(from, to).into_bytes()
    };
    let deep = [b"a = ".to_vec(), b"[".repeat(100_000)].concat();
    let files: Vec<(&Path, Vec<u8>, &str)> = vec![
        (&path, Vec::new(), "[node]"),
        (&path, b"\xff\xfe\x00".to_vec(), "UTF-8"),
        (&path, vec![0; 1000], "validator-1.toml:1:1"),
        (&path, deep.clone(), "validator-1.toml"),
        (&path, replaced(&good, "plugin = \"redb\"", "plugin = \"rebd\""), "redb"),
        (&path, replaced(&good, "rpc_listen", "rpc_listne"), "rpc_listen"),
        (&path, replaced(&good, "role = \"validator\"", "role = \"king\""), "follower"),
        (&path, replaced(&good, "peer_listen = \"127.0.0.1:", "peer_listen = \"127.0.0.1:9"), "peer_listen"),
        (&path, replaced(&good, "[storage]", "[storage]\nplugin = \"redb\""), "validator-1.toml"),
        (&path, replaced(&good, "genesis = \"genesis.toml\"", "genesis = \"nothing.toml\""), "nothing.toml"),
        (&genesis, Vec::new(), "genesis.toml"),
        (&genesis, b"\xff\xfe\x00".to_vec(), "UTF-8"),
        (&genesis, deep, "genesis.toml"),
        (&genesis, replaced(&good_genesis, "delta_ms = 400", "delta_ms = -1"), "delta_ms"),
        (&genesis, replaced(&good_genesis, "public_key = \"0x", "public_key = \"0y"), "public_key"),
        (&genesis, replaced(&good_genesis, "block_transactions_max = 32\n", ""), "block_transactions_max"),
    ];
    for (file, content, words) in files {
        let before = std::fs::read(file).unwrap();
        std::fs::write(file, &content).unwrap();
        for command in ["check", "run"] {
            let (code, told) = quorate(&[command, "--config", path.to_str().unwrap()]);
            let shown = String::from_utf8_lossy(&content[..content.len().min(60)]).into_owned();
            assert!(code == Some(78) && told.contains(words), "{command} {shown:?}: {code:?} {told}");
            assert!(!told.contains("panicked") && told.len() < 20_000, "{command} {shown:?}: {told}");
        }
        std::fs::write(file, before).unwrap();
    }
    let (code, told) = quorate(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{told}");
    assert!(!network.data(0).join("chain.redb").exists(), "nothing was begun");
}
