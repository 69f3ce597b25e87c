//! The text from which an election is drafted: TOML, written by an election officer.

use std::{collections::BTreeMap, path::Path};

use quorate_ballot::{
    contest::Contest,
    group::Element,
    random::random_bytes,
    record::{ContestText, Draft, Officers},
};
use serde::Deserialize;

use crate::{exit::Failure, voting::files::Hex};

/// A draft to begin with.
pub const EXAMPLE: &str = "\
# An election. Change it, then: quorate election draft --spec election.toml --secret admin.secret.json
title = \"Council 2026\"

# When ballots count, first and last moment included.
opens = 2026-12-01T08:00:00Z
closes = 2026-12-08T18:00:00Z

# With fewer ballots nothing is decrypted: few ballots would show how people voted.
ballots_min = 10

# Who enters voters; so many must sign the list. The keys are in the registrars' files (`quorate election key`).
registrars_needed = 1
registrars = [\"0x0000000000000000000000000000000000000000000000000000000000000000\"]

# Who hold the key together; so many of them decrypt, fewer can not.
trustees_needed = 2
trustees = [
    \"0x0000000000000000000000000000000000000000000000000000000000000000\",
    \"0x0000000000000000000000000000000000000000000000000000000000000000\",
    \"0x0000000000000000000000000000000000000000000000000000000000000000\",
]

# What is asked, in order: choose from `least` to `most` options. Who may vote blank needs an option for it, or least = 0.
[[contest]]
title = \"Chair\"
least = 1
most = 1
options = [\"Ada Lovelace\", \"Grace Hopper\", \"none of them\"]
";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    title: String,
    opens: toml::value::Datetime,
    closes: toml::value::Datetime,
    ballots_min: u32,
    registrars: Vec<Hex<32>>,
    registrars_needed: u16,
    trustees: Vec<Hex<32>>,
    trustees_needed: u16,
    contest: Vec<ContestSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContestSpec {
    title: String,
    least: u16,
    most: u16,
    options: Vec<String>,
}

/// Makes a draft of a specification, for the chain and admin.
///
/// # Errors
///
/// [`Failure`] with the key that is wrong.
pub fn draft_of(path: &Path, chain_id: &[u8; 32], admin: Element) -> Result<Draft, Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| Failure::reading(&name, &error))?;
    let spec: Spec = toml::from_str(&text).map_err(|error| Failure::failed(format!("{name}: {error}")))?;
    let wrong = |what: String| Failure::failed(format!("{name}: {what}"));
    let keys = |key: &str, list: &[Hex<32>]| {
        let decode = |one: &Hex<32>| {
            Element::decode(&one.0)
                .map_err(|problem| wrong(format!("{key}: {one} {problem}; copy the public key from its owner's file")))
        };
        list.iter().map(decode).collect::<Result<Vec<Element>, Failure>>()
    };
    // Ascending, as the format wants them; their numbers follow from it.
    let registrars: BTreeMap<[u8; 32], Element> =
        keys("registrars", &spec.registrars)?.into_iter().map(|key| (*key.as_bytes(), key)).collect();
    let contest = |one: ContestSpec| {
        let options = u16::try_from(one.options.len()).unwrap_or(u16::MAX);
        let contest = Contest::new(options, one.least, one.most);
        let contest = contest.map_err(|error| wrong(format!("contest `{}`: {error}", one.title)))?;
        Ok(ContestText { contest, title: one.title, options: one.options })
    };
    let draft = Draft {
        chain_id: *chain_id,
        title: spec.title,
        contests: spec.contest.into_iter().map(contest).collect::<Result<_, Failure>>()?,
        opens_ms: moment(&spec.opens).ok_or_else(|| wrong(no_moment("opens")))?,
        closes_ms: moment(&spec.closes).ok_or_else(|| wrong(no_moment("closes")))?,
        admin,
        registrars: Officers { keys: registrars.into_values().collect(), needed: spec.registrars_needed },
        trustees: Officers { keys: keys("trustees", &spec.trustees)?, needed: spec.trustees_needed },
        ballots_min: spec.ballots_min,
        nonce: random_bytes().map_err(|error| Failure::failed(error.to_string()))?,
    };
    // All rules of the format at once: what is refused here would be refused by every validator.
    Draft::decode(&draft.encode()).map_err(|error| wrong(error.to_string()))?;
    Ok(draft)
}

fn no_moment(key: &str) -> String {
    format!("{key} must be a moment with date, time and offset, such as 2026-12-01T08:00:00Z")
}

/// Milliseconds since 1970 of a moment with an offset, from then on (days from civil: Howard Hinnant, "chrono-compatible low-level date
/// algorithms").
fn moment(at: &toml::value::Datetime) -> Option<u64> {
    use toml::value::Offset;
    let (date, time) = (at.date?, at.time?);
    let offset = match at.offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let (month, day) = (i64::from(date.month), i64::from(date.day));
    let year = i64::from(date.year) - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    let minutes = days * 1440 + i64::from(time.hour) * 60 + i64::from(time.minute) - offset;
    let seconds = minutes * 60 + i64::from(time.second.unwrap_or(0));
    let ms = seconds * 1000 + i64::from(time.nanosecond.unwrap_or(0) / 1_000_000);
    u64::try_from(ms).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_from_1970() {
        let at = |text: &str| moment(&text.parse().unwrap());
        assert_eq!(at("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(at("2026-11-26T12:00:00.250Z"), Some(1_795_694_400_250));
        assert_eq!(at("2026-11-26T13:30:00+01:30"), at("2026-11-26T12:00:00Z"));
        assert_eq!(
            at("2024-02-29T23:59:59Z").map(|ms| quorate::Timestamp(ms).utc()),
            Some("2024-02-29T23:59:59Z".into())
        );
        assert_eq!(at("2026-11-26T12:00:00"), None, "without an offset nobody knows when that is");
        assert_eq!(at("1969-12-31T23:59:59Z"), None);
    }
}
