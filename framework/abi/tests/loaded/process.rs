//! What is seen only in a process of its own: the log, and valgrind.

use std::sync::{Arc, Mutex};

use crate::{
    consensus::{engine, step, timer},
    support::{consensus, context, faulty, under_valgrind},
};

/// Lines of a log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// In a process of its own, as a library asks once for the level which the node logs.
#[test]
fn what_a_plugin_logs_is_in_the_nodes_log_with_its_name() {
    if std::env::var_os("QUORATE_TEST_LOGS").is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::what_a_plugin_logs_is_in_the_nodes_log_with_its_name", "--nocapture"])
            .env("QUORATE_TEST_LOGS", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let plugin = consensus(&faulty(), "faulty");
    plugin.check(&context(3, "", "fault = \"panics in step\"")).unwrap();
    let mut engine = engine("panics in step");
    step(engine.as_mut(), timer());
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let line = |part: &str| text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {text}"));
    let checked = line("checked");
    assert!(checked.contains("WARN plugin: checked fault=\"panics in step\" seed=5"), "{checked}");
    assert!(checked.contains("plugin=\"faulty\" place=\"quorate_faulty::consensus\" library=\"libquorate_faulty.so\""));
    assert!(line("planted in step (").contains("ERROR plugin: "), "{text}");
    assert!(line("a plugin failed").contains("plugin=\"faulty\""), "{text}");
    assert!(!text.contains("stepped"), "the node does not log what is that detailed: {text}");
}

/// Tests that make, use and end objects of every slot, and those in which they panic.
const LIVES: [&str; 10] = [
    "consensus::events_go_in_and_actions_come_out",
    "consensus::a_panic_in_a_step_halts_the_consensus_with_a_sentence_and_nothing_else",
    "consensus::proofs_are_judged_by_the_library_and_a_failed_judge_judges_nothing",
    "storage::a_loaded_store_keeps_the_contract",
    "storage::a_stores_errors_are_its_own_and_its_panics_poison_it",
    "application::a_loaded_application_does_what_a_linked_one_does",
    "application::an_application_that_fails_stops_the_node_rather_than_judge",
    "transport::the_node_signs_and_answers_for_it",
    "transport::how_it_ends_is_told_with_its_name",
    "transport::it_says_where_it_listens_and_why_it_can_not",
];

/// Nothing is read or written that should not be, and nothing is freed on the wrong side.
#[test]
fn a_plugins_whole_life_is_clean_under_valgrind() {
    under_valgrind(&LIVES, &[]);
}
