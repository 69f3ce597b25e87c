//! Commits and reads per second, opening, and memory: `cargo bench -p quorate-storage-redb`.
//!
//! A commit is what a block is to the store: the block as one value, one index row and one state row for each transaction, and a few
//! rows beside. `QUORATE_BENCH_DIRECTORY` says on which disk; otherwise it is where temporary files are. `QUORATE_BENCH_SETTINGS` are
//! those of the store. `QUORATE_BENCH_STORED=1000000,10000000` measures instead how a store with so many transactions differs from an
//! empty one (10 million take about 8 GB, and minutes).

#![expect(clippy::unwrap_used, reason = "a measurement that fails may panic")]

use std::{
    env, fs,
    io::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use quorate::{
    Settings, Storage,
    plugin::StoragePlugin,
    storage::{Batch, Snapshot},
};
use quorate_storage_redb::{FILE, RedbPlugin};

/// How long one figure is measured.
const LASTS: Duration = Duration::from_secs(3);

/// Bytes of a transaction.
const TRANSACTION_BYTES: usize = 250;

fn open(directory: &Path, settings: &str) -> Arc<dyn Storage> {
    RedbPlugin.open(&Settings::from_text(settings), directory).unwrap()
}

/// The rows of block `height`. Keys of index and state are spread like hashes.
fn block(height: u64, transactions: u64) -> Batch {
    let mut batch = Batch::new();
    let fill = u8::try_from(height % 251).unwrap();
    batch.put(
        [&b"b"[..], &height.to_be_bytes()].concat(),
        vec![fill; 400 + 254 * usize::try_from(transactions).unwrap()],
    );
    for at in 0..transactions {
        let spread = (height * transactions + at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        batch.put([&b"i"[..], &spread, &[fill; 24]].concat(), [height.to_be_bytes(), at.to_be_bytes()].concat());
        batch.put([&b"s"[..], &spread, &[fill; 24]].concat(), vec![fill; TRANSACTION_BYTES / 2]);
    }
    batch.put(&b"tip"[..], height.to_be_bytes().to_vec());
    batch.put(&b"saved"[..], vec![fill; 200]);
    batch
}

/// Resident memory of this process in KiB, as the system says.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn per_second(count: u64, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

/// Commits blocks behind `height` until time is up; gives the last height.
fn commits(store: &dyn Storage, transactions: u64, from: u64) -> u64 {
    let (start, mut height) = (Instant::now(), from);
    let mut longest = Duration::ZERO;
    while start.elapsed() < LASTS {
        height += 1;
        let batch = block(height, transactions);
        let one = Instant::now();
        store.commit(batch).unwrap();
        longest = longest.max(one.elapsed());
    }
    let rate = per_second(height - from, start.elapsed());
    println!(
        "{transactions:>5} transactions a block: {rate:>7.0} commits/s, {:>8.0} transactions/s, longest {longest:.1?}",
        rate * per_second(transactions, Duration::from_secs(1))
    );
    height
}

fn reads(what: &str, store: &dyn Storage, mut read: impl FnMut(&dyn Snapshot, u64)) {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < LASTS / 3 {
        let view = store.snapshot().unwrap();
        for _ in 0..100 {
            read(&*view, count);
            count += 1;
        }
    }
    println!("{what}: {:.0} /s", per_second(count, start.elapsed()));
}

/// How fast the disk is: a commit needs at least two of these.
fn synced_writes(base: &Path) -> f64 {
    let mut file = tempfile::tempfile_in(base).unwrap();
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < LASTS / 3 {
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    per_second(count, start.elapsed())
}

/// Transactions in a block of a store that is filled.
const FILLED: u64 = 10_000;

/// Commits, reads and opening again, at several sizes of one store that is filled further and further.
fn stored(base: &Path, settings: &str, sizes: &[u64]) {
    let directory = tempfile::tempdir_in(base).unwrap();
    let mut store = open(directory.path(), settings);
    // Those of the blocks that filled it, and those which the commits that were measured added.
    let (mut height, mut added) = (0, 0);
    for &size in sizes {
        let (start, from) = (Instant::now(), height);
        while height * FILLED < size {
            height += 1;
            store.commit(block(height, FILLED)).unwrap();
        }
        let bytes = fs::metadata(directory.path().join(FILE)).unwrap().len();
        let rate = per_second((height - from) * FILLED, start.elapsed());
        println!("{} transactions stored, {} MiB, filled with {rate:.0} /s", height * FILLED + added, bytes >> 20);
        reads("      reads of a state row", &*store, |view, count| {
            let at = count.wrapping_mul(7_919_777) % (height * FILLED);
            let spread = (FILLED + at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            let fill = u8::try_from((1 + at / FILLED) % 251).unwrap();
            assert!(view.get(&[&b"s"[..], &spread, &[fill; 24]].concat()).unwrap().is_some());
        });
        reads("      scans of ten index rows", &*store, |view, count| {
            let spread = count.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            assert!(view.scan(&[&b"i"[..], &spread].concat(), b"j", 10).unwrap().len() <= 10);
        });
        // Heights far above, whose keys are spread as the others' are.
        let mut high = 1 << 40;
        for transactions in [1, 32, 1000] {
            print!("      ");
            let before = high;
            high = commits(&*store, transactions, before);
            added += (high - before) * transactions;
        }
        drop(store);
        let start = Instant::now();
        store = open(directory.path(), settings);
        println!("      opened again in {:.1?}, {} KiB resident", start.elapsed(), resident_kib());
    }
}

fn main() {
    let base = env::var_os("QUORATE_BENCH_DIRECTORY").map_or_else(env::temp_dir, Into::into);
    let settings = env::var("QUORATE_BENCH_SETTINGS").unwrap_or_default();
    println!("at start: {} KiB resident", resident_kib());
    println!("4 KiB written and synced, without a store: {:.0} /s", synced_writes(&base));
    if let Ok(sizes) = env::var("QUORATE_BENCH_STORED") {
        let sizes: Vec<u64> = sizes.split(',').map(|size| size.parse().unwrap()).collect();
        return stored(&base, &settings, &sizes);
    }
    for transactions in [1, 32, 1000] {
        let directory = tempfile::tempdir_in(&base).unwrap();
        let store = open(directory.path(), &settings);
        let height = commits(&*store, transactions, 0);
        reads("      reads of a state row", &*store, |view, count| {
            let at = count.wrapping_mul(7919) % (height * transactions);
            let spread = (transactions + at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            let fill = u8::try_from((1 + at / transactions) % 251).unwrap();
            assert!(view.get(&[&b"s"[..], &spread, &[fill; 24]].concat()).unwrap().is_some());
        });
        reads("      reads of a block", &*store, |view, count| {
            let height = 1 + count.wrapping_mul(7919) % height;
            assert!(view.get(&[&b"b"[..], &height.to_be_bytes()].concat()).unwrap().is_some());
        });
        let bytes = fs::metadata(directory.path().join(FILE)).unwrap().len();
        println!("      {height} blocks, {} KiB on disk, {} KiB resident", bytes >> 10, resident_kib());
        drop(store);
        for (how, settings) in [("verified", "check_bytes_max = 68719476736"), ("unverified", "check_bytes_max = 0")] {
            let start = Instant::now();
            drop(open(directory.path(), settings));
            println!("      opened {how} and closed in {:.1?}", start.elapsed());
        }
    }
}
