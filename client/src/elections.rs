//! Results of elections, as validators tell them.

use quorate::Hash;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    client::Client,
    error::{Asked, ClientError},
};

/// What validators say of an election.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ElectionResults {
    /// The application's answer, with `state`, `ballots` and, once decided, `result`.
    pub election: Value,
    /// Who gave this answer.
    pub agreed_by: Vec<String>,
    /// Who gave another.
    pub differing: Vec<String>,
    /// Who gave none, and why.
    pub failed: Vec<Asked>,
    /// Whether more than half of all known validators gave this answer. It is still what they say: a node that follows the chain computes it, and an export
    /// of the chain proves it to anybody.
    pub is_majority: bool,
}

/// What must be equal: counts may grow between two questions, a decided result does not change.
fn essence(answer: &Value) -> Value {
    let field = |key: &str| answer.get(key).cloned().unwrap_or_default();
    match answer.get("result") {
        Some(result) if !result.is_null() => json!([field("eid"), field("th"), result]),
        _ => json!([field("eid"), field("draft"), field("title"), field("contests")]),
    }
}

fn is_decided(answer: &Value) -> bool {
    answer.get("result").is_some_and(|result| !result.is_null())
}

impl Client {
    /// Asks all validators about an election, and gives the answer that most of them give; differing ones are reported in
    /// [`Client::disagreements`].
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] when those who answer know no such election; [`ClientError::Unavailable`] when nobody answers.
    pub async fn election_results(&self, election: &Hash) -> Result<ElectionResults, ClientError> {
        let mut questions = tokio::task::JoinSet::new();
        for validator in self.candidates() {
            let (client, params) = (self.clone(), json!(["election", { "id": election }]));
            questions.spawn(async move {
                let within = client.settings().attempt_timeout;
                let answer = validator.call(&client.0.http, client.settings(), "quorate_query", params, within).await;
                (validator, answer)
            });
        }
        let (mut answers, mut failed, mut refused) = (Vec::new(), Vec::new(), None);
        while let Some(joined) = questions.join_next().await {
            match joined {
                Ok((validator, Ok(Ok(answer)))) => answers.push((validator.name().to_owned(), answer)),
                Ok((validator, Ok(Err(error)))) => {
                    refused.get_or_insert((validator.name().to_owned(), error.message.clone()));
                    failed.push((validator.as_ref(), error.message).into());
                }
                Ok((validator, Err(no_answer))) => failed.push((validator.as_ref(), no_answer.why).into()),
                Err(_) => {}
            }
        }
        let support = |answer: &Value| answers.iter().filter(|(_, other)| essence(other) == essence(answer)).count();
        // The furthest of the answers that most give.
        let progress = |answer: &Value| answer.get("ballots").and_then(Value::as_u64).unwrap_or(0);
        let best = answers.iter().max_by_key(|(_, answer)| (support(answer), progress(answer))).cloned();
        let Some((_, best)) = best else {
            return Err(match refused {
                Some((validator, message)) => ClientError::Refused { validator, message },
                None => self.unavailable(failed),
            });
        };
        let (mut agreed_by, mut differing, mut contrary) = (Vec::new(), Vec::new(), Vec::new());
        for (validator, answer) in answers {
            if essence(&answer) == essence(&best) {
                agreed_by.push(validator);
                continue;
            }
            // Whoever is a block behind knows no result yet: that is no contradiction.
            if is_decided(&answer) == is_decided(&best) {
                contrary.push(validator.clone());
            }
            differing.push(validator);
        }
        if let (Some(one), Some(other)) = (agreed_by.first(), contrary.first()) {
            self.answers_differ(&format!("election {election}"), one, other);
        }
        let is_majority = agreed_by.len() * 2 > self.validators().len();
        Ok(ElectionResults { election: best, agreed_by, differing, failed, is_majority })
    }
}
