//! `quorate enrol`: who may vote. Voters make credentials, registrars enter them, a quorum of registrars signs the list.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use quorate_ballot::{
    codec::Reader,
    credential::{self, Code},
    group::Element,
    random::{SystemDraw, random_bytes},
    record::{Body, Draft, ENTRIES_MAX, Entry, ListSignature, list_message, pseudonym},
    schnorr::{self, Signature},
    transcript::Tag,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    exit::Failure,
    output,
    rpc::block_on,
    voting::{Elections, Hex, PassphraseArgs, Role, SecretFile, SubmitArgs, Unlocked, read_file, write_file},
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Example. The voter:
  quorate enrol request 0xDRAFT --identity 'ada@example.org' --out ada
A registrar, who knows that it is Ada who sends ada.request.json:
  quorate enrol add --roll roll.json ada.request.json
  quorate enrol publish --roll roll.json --secret registrar-1.secret.json
Each registrar, after looking at the roll:
  quorate enrol sign --roll roll.json --secret registrar-2.secret.json --out signature-2.json
Then one of them:
  quorate enrol seal --roll roll.json --signature signature-1.json --signature signature-2.json";

const REQUEST_KIND: &str = "enrolment/1";
const ROLL_KIND: &str = "roll/1";
const SIGNATURE_KIND: &str = "list-signature/1";

/// Options of `enrol`.
#[derive(Debug, Clone, Args)]
pub struct EnrolArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: EnrolCommand,
}

/// What to do about the list of voters.
#[derive(Debug, Clone, Subcommand)]
pub enum EnrolCommand {
    /// As a voter: make a credential, and the request that the registrar gets
    #[command(after_help = "Example:\n  quorate enrol request 0xDRAFT --identity 'ada@example.org' --out ada")]
    Request(RequestArgs),
    /// As a registrar: enter requests into the roll, after making sure who sends them
    #[command(after_help = "Example:\n  quorate enrol add --roll roll.json ada.request.json grace.request.json")]
    Add(AddArgs),
    /// As a registrar: put the roll's credentials on the ledger
    #[command(after_help = "Example:\n  quorate enrol publish --roll roll.json --secret registrar-1.secret.json")]
    Publish(PublishArgs),
    /// As a registrar: sign the list
    #[command(
        after_help = "Example:\n  quorate enrol sign --roll roll.json --secret registrar-1.secret.json --out signature-1.json"
    )]
    Sign(SignArgs),
    /// Seal the list with a quorum of signatures: nobody enters or leaves it any more
    #[command(
        after_help = "Example:\n  quorate enrol seal --roll roll.json --signature signature-1.json --signature signature-2.json"
    )]
    Seal(SealArgs),
}

/// Options of `enrol request`.
#[derive(Debug, Clone, Args)]
pub struct RequestArgs {
    /// The election's draft
    #[arg(value_name = "DRAFT")]
    pub draft: Hex<32>,
    /// Who you are, as the registrar knows you; only the registrar learns it
    #[arg(long, value_name = "TEXT")]
    pub identity: String,
    /// Write NAME.secret.json and NAME.request.json
    #[arg(long, value_name = "NAME")]
    pub out: PathBuf,
    /// Use the code that you have already, from this file, instead of making one
    #[arg(long, value_name = "FILE")]
    pub code_file: Option<PathBuf>,
    /// Protect the secret by nothing but the file's mode: for trials
    #[arg(long)]
    pub no_passphrase: bool,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Options of `enrol add`.
#[derive(Debug, Clone, Args)]
pub struct AddArgs {
    /// The roll, which is made when it is not there. It says who is who: keep it secret
    #[arg(long, value_name = "FILE")]
    pub roll: PathBuf,
    /// The voters' requests
    #[arg(value_name = "REQUEST", required = true)]
    pub requests: Vec<PathBuf>,
}

/// Options of `enrol publish`.
#[derive(Debug, Clone, Args)]
pub struct PublishArgs {
    /// The roll
    #[arg(long, value_name = "FILE")]
    pub roll: PathBuf,
    /// The registrar's secret
    #[arg(long, value_name = "FILE")]
    pub secret: PathBuf,
    /// A node's RPC address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8001")]
    pub rpc: String,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `enrol sign`.
#[derive(Debug, Clone, Args)]
pub struct SignArgs {
    /// The roll
    #[arg(long, value_name = "FILE")]
    pub roll: PathBuf,
    /// The registrar's secret
    #[arg(long, value_name = "FILE")]
    pub secret: PathBuf,
    /// Where to write the signature
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Options of `enrol seal`.
#[derive(Debug, Clone, Args)]
pub struct SealArgs {
    /// The roll
    #[arg(long, value_name = "FILE")]
    pub roll: PathBuf,
    /// The registrars' signatures
    #[arg(long = "signature", value_name = "FILE", required = true)]
    pub signatures: Vec<PathBuf>,
    /// Whose published entries are sealed [default: the first that fit the roll]
    #[arg(long, value_name = "NUMBER")]
    pub published_by: Option<u16>,
    /// To whom it goes.
    #[command(flatten)]
    pub submit: SubmitArgs,
}

/// A voter's request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    quorate: String,
    draft: Hex<32>,
    identity: String,
    salt: Hex<32>,
    key: Hex<32>,
    proof: Hex<64>,
}

/// Who is who.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Roll {
    quorate: String,
    draft: Hex<32>,
    voters: Vec<Voter>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Voter {
    key: Hex<32>,
    identity: String,
    salt: Hex<32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureFile {
    quorate: String,
    draft: Hex<32>,
    registrar_key: Hex<32>,
    credentials: u32,
    root: Hex<32>,
    signature: Hex<64>,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &EnrolArgs) -> Result<(), Failure> {
    match &args.command {
        EnrolCommand::Request(args) => request(args),
        EnrolCommand::Add(args) => add(args),
        EnrolCommand::Publish(args) => block_on(publish(args)),
        EnrolCommand::Sign(args) => sign(args),
        EnrolCommand::Seal(args) => block_on(seal(args)),
    }
}

fn failed(error: impl ToString) -> Failure {
    Failure::failed(error.to_string())
}

fn named(out: &Path, ending: &str) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn request(args: &RequestArgs) -> Result<(), Failure> {
    let (secret_path, request_path) = (named(&args.out, ".secret.json"), named(&args.out, ".request.json"));
    let passphrase = if args.no_passphrase { None } else { Some(args.passphrase.fresh(&secret_path)?) };
    let code = match &args.code_file {
        None => Code::generate().map_err(failed)?,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::reading(path.display(), &error))?;
            text.trim().parse().map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?
        }
    };
    let secret = code.secret(&args.draft.0).map_err(failed)?;
    let salt: [u8; 32] = random_bytes().map_err(failed)?;
    let stands_for = pseudonym(&args.identity, &salt);
    let proof = credential::prove_possession(&args.draft.0, &stands_for, &secret, &mut SystemDraw).map_err(failed)?;
    let bytes = Unlocked::new(*secret.expose().as_bytes());
    let public = secret.public();
    let passphrase = passphrase.as_ref().map(|text| text.as_str());
    SecretFile::new(Role::Voter, &public, Some(args.draft.0), &bytes, passphrase)?.save_new(&secret_path)?;
    let request = Request {
        quorate: REQUEST_KIND.into(),
        draft: args.draft.clone(),
        identity: args.identity.clone(),
        salt: Hex(salt),
        key: Hex(*public.as_bytes()),
        proof: Hex(proof.to_bytes()),
    };
    write_file(&request_path, &request)?;
    let mut text = format!(
        "Your secret is in {}. Give {} to the registrar, who makes sure that it is you who sends it.",
        secret_path.display(),
        request_path.display()
    );
    if args.code_file.is_none() {
        text.push_str(&format!(
            "\nYour code, shown this once: {}\nWrite it down: with it you can make the file again (--code-file). Whoever has it can vote in your place.",
            *code.reveal()
        ));
    }
    output::line(&text)
}

impl Roll {
    fn load(path: &Path) -> Result<Self, Failure> {
        read_file(path, ROLL_KIND)
    }

    /// The list, in its order.
    fn entries(&self) -> Result<Vec<Entry>, Failure> {
        let entry = |voter: &Voter| {
            let key = Element::decode(&voter.key.0)
                .map_err(|problem| Failure::failed(format!("the key of {} {problem}", voter.identity)))?;
            Ok(Entry { key, pseudonym: pseudonym(&voter.identity, &voter.salt.0) })
        };
        let mut entries = self.voters.iter().map(entry).collect::<Result<Vec<Entry>, Failure>>()?;
        entries.sort_by_key(|entry| *entry.key.as_bytes());
        Ok(entries)
    }
}

fn add(args: &AddArgs) -> Result<(), Failure> {
    let mut roll = args.roll.exists().then(|| Roll::load(&args.roll)).transpose()?;
    for path in &args.requests {
        let request: Request = read_file(path, REQUEST_KIND)?;
        let wrong = |what: &str| Failure::failed(format!("{}: {what}; nothing was entered", path.display()));
        let key = Element::decode(&request.key.0).map_err(|problem| wrong(&format!("the key {problem}")))?;
        let entry = Entry { key, pseudonym: pseudonym(&request.identity, &request.salt.0) };
        let mut reader = Reader::new(&request.proof.0);
        let proof = Signature::read(&mut reader, "proof R", "proof z").map_err(|error| wrong(&error.to_string()))?;
        if !credential::has_possession(&request.draft.0, &entry, &proof) {
            return Err(wrong("whoever made it does not have the credential's secret, or it was changed on its way"));
        }
        let roll = roll.get_or_insert_with(|| Roll {
            quorate: ROLL_KIND.into(),
            draft: request.draft.clone(),
            voters: Vec::new(),
        });
        if roll.draft != request.draft {
            return Err(wrong(&format!("it is for the draft {}, the roll for {}", request.draft, roll.draft)));
        }
        if let Some(there) = roll.voters.iter().find(|voter| voter.identity == request.identity) {
            return Err(wrong(&format!("{} is in the roll already, with the key {}", request.identity, there.key)));
        }
        if let Some(there) = roll.voters.iter().find(|voter| voter.key == request.key) {
            return Err(wrong(&format!("its key is in the roll already, as that of {}", there.identity)));
        }
        roll.voters.push(Voter { key: request.key, identity: request.identity, salt: request.salt });
    }
    let Some(roll) = roll else { return Ok(()) };
    crate::voting::write_secret_file(&args.roll, &roll, true)?;
    output::line(&format!("{} has {} voters", args.roll.display(), roll.voters.len()))
}

/// The number of a registrar's key in a draft.
fn number_of(draft: &Draft, key: &[u8; 32]) -> Result<u16, Failure> {
    let found = (1u16..).zip(&draft.registrars.keys).find(|(_, one)| one.as_bytes() == key);
    found
        .map(|(number, _)| number)
        .ok_or_else(|| Failure::failed(format!("{} is none of the draft's registrars", Hex(*key))))
}

async fn publish(args: &PublishArgs) -> Result<(), Failure> {
    let roll = Roll::load(&args.roll)?;
    let elections = Elections::at(&args.rpc)?;
    let (id, draft) = elections.draft(&roll.draft).await?;
    let file = SecretFile::load(&args.secret, &[Role::Registrar])?;
    let registrar = number_of(&draft, &file.public_key.0)?;
    let secret = file.unlock_key(&args.secret, &args.passphrase)?;
    let entries = roll.entries()?;
    let mut first = 0u32;
    for part in entries.chunks(ENTRIES_MAX) {
        let body = Body::Entries { draft: id, registrar, first, entries: part.to_vec() };
        elections.submit(&body.sign(&secret, &mut SystemDraw).map_err(failed)?).await?;
        first = first.saturating_add(u32::try_from(part.len()).unwrap_or(u32::MAX));
    }
    let root = Hex(credential::list_root(&id, &entries));
    if args.json {
        return output::json(
            &json!({ "draft": roll.draft, "registrar": registrar, "credentials": first, "root": root }),
        );
    }
    output::line(&format!("Registrar {registrar} has entered {first} credentials; the list's root is {root}"))
}

fn sign(args: &SignArgs) -> Result<(), Failure> {
    let roll = Roll::load(&args.roll)?;
    let file = SecretFile::load(&args.secret, &[Role::Registrar])?;
    let secret = file.unlock_key(&args.secret, &args.passphrase)?;
    let entries = roll.entries()?;
    let credentials = u32::try_from(entries.len()).map_err(failed)?;
    let root = credential::list_root(&roll.draft.0, &entries);
    let message = list_message(&roll.draft.0, credentials, &root);
    let signature = schnorr::sign(Tag::RoleSig, &secret, &message, &mut SystemDraw).map_err(failed)?;
    let signed = SignatureFile {
        quorate: SIGNATURE_KIND.into(),
        draft: roll.draft,
        registrar_key: file.public_key,
        credentials,
        root: Hex(root),
        signature: Hex(signature.to_bytes()),
    };
    write_file(&args.out, &signed)?;
    output::line(&format!("{credentials} credentials with the root {} signed: {}", signed.root, args.out.display()))
}

async fn seal(args: &SealArgs) -> Result<(), Failure> {
    let roll = Roll::load(&args.roll)?;
    let elections = args.submit.elections()?;
    let (id, draft) = elections.draft(&roll.draft).await?;
    let entries = roll.entries()?;
    let count = u32::try_from(entries.len()).map_err(failed)?;
    let root = credential::list_root(&id, &entries);
    let mut signatures = Vec::with_capacity(args.signatures.len());
    for path in &args.signatures {
        let file: SignatureFile = read_file(path, SIGNATURE_KIND)?;
        if (file.draft.0, file.credentials, file.root.0) != (id, count, root) {
            let (name, other) = (path.display(), file.root);
            return Err(Failure::failed(format!(
                "{name} signs another list ({} credentials, root {other}) than the roll's ({count}, {}): have it signed again",
                file.credentials,
                Hex(root)
            )));
        }
        let mut reader = Reader::new(&file.signature.0);
        let signature = Signature::read(&mut reader, "signature R", "signature z").map_err(failed)?;
        signatures.push(ListSignature { registrar: number_of(&draft, &file.registrar_key.0)?, signature });
    }
    signatures.sort_by_key(|one| one.registrar);
    signatures.dedup_by_key(|one| one.registrar);
    let registrar = match args.published_by {
        Some(number) => number,
        None => published_by(&elections, (&roll.draft, &draft), count).await?,
    };
    let body = Body::List { draft: id, registrar, count, root, signatures };
    let sent = args.submit.send(&body.unsigned()).await?;
    let fields = json!({ "draft": roll.draft, "credentials": count, "root": Hex(root) });
    sent.tell(args.submit.json, &format!("List of {count} credentials"), &fields)
}

/// The first registrar who has entered so many credentials.
async fn published_by(elections: &Elections, (id, draft): (&Hex<32>, &Draft), count: u32) -> Result<u16, Failure> {
    for registrar in 1..=draft.registrars.count() {
        let page = elections.query("entries", json!({ "id": id, "registrar": registrar, "limit": 1 })).await?;
        if page.get("credentials").and_then(serde_json::Value::as_u64) == Some(count.into()) {
            return Ok(registrar);
        }
    }
    Err(Failure::failed(format!("no registrar has entered {count} credentials; do `quorate enrol publish` first")))
}
