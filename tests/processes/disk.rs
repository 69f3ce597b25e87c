//! A disk that is full or fails: a definite end, and nothing that was acknowledged is lost.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

use crate::support::{Load, Network, Random, Writer, eventually, is_final, rpc, status, submit};

/// The node whose disk fails, and those whose does not.
const VICTIM: usize = 1;
const OTHERS: [usize; 2] = [0, 2];

/// A shared object that makes system calls on files fail: `$FAULT` names call and error, `$FAULT_FILE` the file's name, and they fail
/// while `$FAULT_WHEN` exists.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(const char *call, int fd)
{
    const char *fault = getenv("FAULT"), *file = getenv("FAULT_FILE"), *when = getenv("FAULT_WHEN");
    if (!fault || !file || !when || strcmp(fault, call) != 0 || access(when, F_OK) != 0)
        return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < 0)
        return 0;
    path[len] = 0;
    return strstr(path, file) != NULL;
}

int fsync(int fd)
{
    if (fails("sync", fd)) { errno = EIO; return -1; }
    return syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    if (fails("sync", fd)) { errno = EIO; return -1; }
    return syscall(SYS_fdatasync, fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at)
{
    if (fails("write", fd)) { errno = ENOSPC; return -1; }
    return syscall(SYS_pwrite64, fd, bytes, len, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) { return pwrite64(fd, bytes, len, at); }
"#;

/// The shim, built; `None`, and a word about it, where there is no C compiler.
fn shim(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
    std::fs::write(&source, SHIM).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
    match built {
        Ok(status) if status.success() => Some(library),
        other => {
            println!("skipped: a C compiler is needed to make system calls fail: {other:?}");
            None
        }
    }
}

/// Receipts which the victim gave, so that they can be compared with what it says after its return.
fn told(network: &Network, ids: &[String]) -> Vec<(String, Value)> {
    let told = |id: &String| Some((id.clone(), is_final(network.rpc(VICTIM), id)?["block_hash"].clone()));
    ids.iter().filter_map(told).collect()
}

fn assert_stopped_for_its_disk(network: &mut Network, words: &str) {
    let ended = network.ended(VICTIM);
    let log = network.log(VICTIM);
    assert_eq!(ended.code(), Some(74), "{ended}: {log}");
    let errors: Vec<&str> = log.lines().filter(|line| line.starts_with("error:")).collect();
    assert!(errors.len() == 1 && errors[0].starts_with("error: stopped, ") && errors[0].contains(words), "{errors:?}");
    assert!(!log.contains("panicked"), "{log}");
}

/// The others go on; the victim returns to a sound disk and has all that it had said.
fn assert_returns(mut network: Network, said: &[(String, Value)]) {
    let id = submit(network.rpc(OTHERS[0]), &Writer::new(&network.genesis(), 110).next());
    network.final_everywhere(&OTHERS, &id);
    network.restart(VICTIM);
    for (id, block) in said {
        let receipt = is_final(network.rpc(VICTIM), id).map(|receipt| receipt["block_hash"].clone());
        assert_eq!(receipt.as_ref(), Some(block), "what it had said is there as soon as it answers");
    }
    network.final_everywhere(&[VICTIM], &id);
    network.assert_same_blocks(&[0, 1, 2]);
    for at in 0..3 {
        assert_eq!(status(network.rpc(at)).unwrap()["evidence"], 0);
    }
    network.stop_and_verify(&[0, 1, 2]);
}

#[test]
fn a_file_that_may_not_grow_stops_the_node_with_a_sentence_and_loses_nothing() {
    let mut network = Network::init(3, &["--delta-ms", "50", "--block-interval-ms", "0"]);
    // Larger blocks fill the file sooner; the guard, which has up to three of them, shall stay below the store.
    let genesis = std::fs::read_to_string(network.genesis()).unwrap();
    let larger = genesis.replace("block_transactions_max = 32", "block_transactions_max = 128");
    assert_ne!(genesis, larger);
    std::fs::write(network.genesis(), larger).unwrap();
    network.start_bootnode();
    for at in 0..3 {
        network.restart(at);
    }
    let mut writer = Writer::new(&network.genesis(), 100);
    let mut ids: Vec<String> = vec![submit(network.rpc(0), &writer.next())];
    network.final_everywhere(&[0, 1, 2], &ids[0]);

    // The largest file that it may write is a MiB, which its journal comes to and its guard does not; the signal that comes with it must not end it
    // wordlessly.
    let limit = Rlimit { current: Some(1 << 20), maximum: getrlimit(Resource::Fsize).maximum };
    let pid = Pid::from_raw(i32::try_from(network.nodes[VICTIM].pid).unwrap());
    prlimit(pid, Resource::Fsize, limit).unwrap();
    let mut said = told(&network, &ids);
    let mut at = ids.len();
    eventually("the store wants to grow", || {
        for _ in 0..64 {
            let answer = rpc(network.rpc(OTHERS[0]), "quorate_submit", json!([writer.next_with(&[7; 1024])]))?;
            ids.extend(answer["result"].as_str().map(str::to_owned));
        }
        // Each is asked about once; most are final by then.
        said.extend(told(&network, &ids[at..]));
        at = ids.len().saturating_sub(128);
        (!network.lives(VICTIM)).then_some(())
    });
    assert!(!said.is_empty());
    assert_stopped_for_its_disk(&mut network, "said to be final: ");
    assert_returns(network, &said);
}

/// Starts a network whose victim has the shim, lets `fault` begin under load, and gives what it had said by then. `storage` are settings
/// of the victim's store.
fn with_fault(fault: &str, file: &str, storage: &str) -> Option<(Network, Vec<(String, Value)>)> {
    let mut network = Network::init(3, &["--delta-ms", "50", "--block-interval-ms", "0"]);
    let config = std::fs::read_to_string(&network.nodes[VICTIM].config).unwrap();
    let section = "[storage]\n";
    assert_eq!(config.matches(section).count(), 1);
    std::fs::write(&network.nodes[VICTIM].config, config.replace(section, &format!("{section}{storage}\n"))).unwrap();
    let library = shim(network.directory.path())?;
    let when = network.directory.path().join("fails");
    network.start_bootnode();
    for at in OTHERS {
        network.spawn(at);
    }
    network.spawn_with(VICTIM, |command| {
        command.env("LD_PRELOAD", library).env("FAULT", fault).env("FAULT_FILE", file).env("FAULT_WHEN", &when);
        command.stdin(Stdio::null());
    });
    for at in 0..3 {
        network.answers(at);
    }
    let mut writer = Writer::new(&network.genesis(), 100);
    let ids: Vec<String> = (0..3).map(|_| submit(network.rpc(VICTIM), &writer.next())).collect();
    for id in &ids {
        network.final_everywhere(&[0, 1, 2], id);
    }
    let load = Load::start(&network, &OTHERS, 120, &mut Random::new());
    std::fs::write(&when, "").unwrap();
    eventually("the node stops", || (!network.lives(VICTIM)).then_some(()));
    let settled = load.stop();
    settled.check(&network, &OTHERS);
    let said = ids.iter().map(|id| {
        let receipt = is_final(network.rpc(OTHERS[0]), id).unwrap();
        (id.clone(), receipt["block_hash"].clone())
    });
    let said = said.collect();
    std::fs::remove_file(&when).unwrap();
    Some((network, said))
}

#[test]
fn a_full_disk_stops_the_node_with_a_sentence_and_loses_nothing() {
    let Some((mut network, said)) = with_fault("write", "chain.journal", "") else { return };
    assert_stopped_for_its_disk(&mut network, "said to be final: ");
    assert_returns(network, &said);
}

/// The smallest journal, so that the tree is made durable again and again.
#[test]
fn a_full_disk_under_the_tree_stops_the_node_with_a_sentence_and_loses_nothing() {
    let Some((mut network, said)) = with_fault("write", "chain.redb", "journal_bytes = 65536") else { return };
    assert_stopped_for_its_disk(&mut network, "said to be final: ");
    assert_returns(network, &said);
}

#[test]
fn a_failing_fsync_of_the_store_stops_the_node_with_a_sentence_and_loses_nothing() {
    for (file, storage) in [("chain.journal", ""), ("chain.redb", "journal_bytes = 65536")] {
        let Some((mut network, said)) = with_fault("sync", file, storage) else { return };
        assert_stopped_for_its_disk(&mut network, "said to be final: ");
        assert_returns(network, &said);
    }
}

/// A guard that can't be written signs nothing more; a validator which can't sign says so by ending, instead of looking healthy.
#[test]
fn a_failing_fsync_of_the_guard_stops_the_node_with_a_sentence_and_signs_nothing_more() {
    let Some((mut network, said)) = with_fault("sync", "validator-2.guard", "") else { return };
    assert_stopped_for_its_disk(&mut network, "validator-2.guard");
    assert_returns(network, &said);
}
