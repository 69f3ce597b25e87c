//! The files which people write.

use quorate::{Genesis, Settings, diagnostics::Diagnostic, settings::ERRORS_MAX};
use serde::Deserialize;

use super::{Outcome, Taken, must, vectors};

/// Every error is shown, in words and with a place that exists.
fn check_errors(text: &str, errors: &[Diagnostic]) -> Result<(), String> {
    must(!errors.is_empty(), "refused without an error")?;
    must(errors.len() <= ERRORS_MAX + 3, "more errors than the bound")?;
    for error in errors {
        must(!error.message.is_empty() && !error.to_string().is_empty(), "an error without words")?;
        let lines = text.matches('\n').count() + 1;
        must(error.line <= lines, "an error on a line that is not there")?;
    }
    Ok(())
}

pub(super) fn genesis_seeds() -> Vec<Vec<u8>> {
    let vectors = vectors();
    let text = vectors.pointer("/genesis/text").and_then(|text| text.as_str()).unwrap_or_default();
    vec![text.as_bytes().to_vec()]
}

pub(super) fn genesis(bytes: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(bytes);
    let genesis = match Genesis::parse("genesis.toml", &text) {
        Ok(genesis) => genesis,
        Err(errors) => {
            check_errors(&text, &errors)?;
            return Ok(Taken::No);
        }
    };
    let chain_id = genesis.chain_id();
    let same = |text: &str| Genesis::parse("other.toml", text).is_ok_and(|other| other.chain_id() == chain_id);
    must(same(genesis.text()), "read again it is another chain")?;
    must(same(&format!("# a comment\n{text}")), "a comment makes another chain")?;
    for settings in [genesis.consensus_settings(), genesis.application_settings()] {
        let table = settings.parse::<toml::Table>();
        must(table.is_ok_and(|table| !table.contains_key("plugin")), "a plugin's table can't be read")?;
    }
    Ok(Taken::Yes)
}

#[expect(dead_code, reason = "what was read is not used")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    listen: std::net::SocketAddr,
    #[serde(default)]
    peers: Vec<Peer>,
    mode: Option<Mode>,
    #[serde(default)]
    limit: u16,
}

#[expect(dead_code, reason = "what was read is not used")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    name: String,
    key: quorate::PublicKey,
}

#[expect(dead_code, reason = "what was read is not used")]
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Fast,
    Safe { after_ms: u64 },
}

pub(super) fn settings_seeds() -> Vec<Vec<u8>> {
    let key = format!("0x{}", "ab".repeat(32));
    let good = format!(
        "[node]\nname = \"n\"\n[transport]\nplugin = \"http\"\nlisten = \"127.0.0.1:1\"\nlimit = 7\nmode = {{ safe = {{ after_ms = 5 }} }}\n[[transport.peers]]\nname = \"a\"\nkey = \"{key}\"\n"
    );
    let dotted = "transport.plugin = \"http\"\ntransport.listen = '[::1]:80'\ntransport.mode = \"fast\"\n";
    let bad = "[transport]\nlisten = 1\nlisen = 2\npeers = [{ name = 3 }, 4]\nmode = \"fsat\"\nlimit = 70000\n";
    let array = "[[transport]]\nlisten = \"127.0.0.1:1\"\n[[transport]]\n";
    [good.as_str(), dotted, bad, array].iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub(super) fn settings(bytes: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(bytes);
    let mut outcome = Taken::No;
    for path in [&["transport"][..], &["transport", "0"], &[]] {
        let settings = Settings::new("node.toml", &text, path, &["plugin"]);
        match settings.parse::<Example>() {
            Ok(_) => outcome = Taken::Yes,
            Err(errors) => check_errors(&text, &errors)?,
        }
        check_errors(&text, &[settings.error("listen", "it is in use")])?;
    }
    Ok(outcome)
}
