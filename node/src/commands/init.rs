//! `quorate init`: writes the files of a new network.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use quorate::Hash;
use quorate_ballot::{
    group::SecretScalar,
    random::{Draw as _, SystemDraw},
};
use quorate_kernel::{
    key::{DEVELOPMENT_NAMES, KeyError, NodeKey},
    signer::{GuardError, create_guard, guard_path},
};

use crate::{
    exit::{Exit, Failure},
    network::{self, Directory, Member, NetworkOptions, Plan},
    output,
    voting::{Role, SecretFile, Unlocked},
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate init --dir net
  quorate init --dir net --validators 4 --block-interval-ms 1000 --chain-name council

Writes genesis.toml, keys/NAME.key (mode 0600) with NAME.guard for those that vote, validator-N.toml, bootnode.toml, backend.toml \
and admin.token. To spread the network over machines, give each the genesis, its own TOML file, key and guard, and change the \
addresses.";

/// When the network of well-known development keys began.
const DEVELOPMENT_TIME: &str = "2026-01-01T00:00:00Z";

/// Options of `init`.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// Where to write; must not hold a network
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Use well-known development keys, as node-configs does; nodes with them listen on loopback only
    #[arg(long, conflicts_with = "chain_name")]
    pub development: bool,
    /// What the network is made from.
    #[command(flatten)]
    pub network: NetworkOptions,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &InitArgs) -> Result<(), Failure> {
    check(&args.network)?;
    let directory = Directory::lock(&args.dir)?;
    if args.development {
        write_development(&directory, &args.network)?;
    } else {
        write(&directory, &args.network)?;
    }
    output::line(&format!(
        "A network is written to {dir}\nRun it all: quorate devnet --dir {dir}\nRun one:    quorate run --config {dir}/validator-1.toml",
        dir = args.dir.display()
    ))
}

/// Wrong options are told before anything is written.
fn check(options: &NetworkOptions) -> Result<(), Failure> {
    options.choose()?;
    network::Ports::new(options.validator_count(), options.ports_from)?;
    Ok(())
}

/// Writes a network with new keys.
///
/// # Errors
///
/// [`Failure`], leaving nothing that the next start takes for a network.
pub fn write(directory: &Directory, options: &NetworkOptions) -> Result<(), Failure> {
    check(options)?;
    directory.write(true, |path| {
        let validators = (1..=options.validator_count()).map(|number| format!("validator-{number}"));
        let members = validators.map(|name| new_key(path, name, true)).collect::<Result<Vec<_>, _>>()?;
        for name in ["bootnode", "backend"] {
            new_key(path, name.to_owned(), false)?;
        }
        let mut plan = Plan::new(options, members, None)?;
        if plan.chosen.is_voting() && plan.election_admins.is_empty() {
            plan.election_admins.push(election_admin(path)?);
        }
        Ok(network::render(&plan))
    })
}

/// Where the key of an election admin is, in a network's folder.
pub const ELECTION_ADMIN: &str = "keys/election-admin.secret.json";

/// Makes the key of an election admin, for trials: its file has no passphrase.
fn election_admin(directory: &Path) -> Result<Hash, Failure> {
    let no_key = |_| Failure::failed("no key could be made: the operating system gives no random bytes");
    let secret = SystemDraw.secret().map_err(no_key)?;
    save_admin(directory, &secret)?;
    Ok(Hash::new(*secret.public().as_bytes()))
}

fn save_admin(directory: &Path, secret: &SecretScalar) -> Result<(), Failure> {
    let bytes = Unlocked::new(*secret.expose().as_bytes());
    let file = SecretFile::new(Role::Admin, &secret.public(), None, &bytes, None)?;
    file.save_new(&directory.join(ELECTION_ADMIN))
}

/// The well-known key of the election admin of `node-configs`, which everybody can compute.
fn development_admin() -> Result<SecretScalar, Failure> {
    let seed = Hash::of(&[b"quorate development key: election-admin"]);
    SecretScalar::decode(&canonical(*seed.as_bytes())).map_err(|error| Failure::failed(error.to_string()))
}

/// Below the group's order: the highest four bits are cleared.
fn canonical(mut bytes: [u8; 32]) -> [u8; 32] {
    let [.., last] = &mut bytes;
    *last &= 0x0f;
    bytes
}

/// The plan of the network with development keys, which `node-configs` is.
///
/// # Errors
///
/// A usage error for ports that do not fit, or more validators than there are development keys.
pub fn development_plan(options: &NetworkOptions) -> Result<Plan, Failure> {
    let mut options = NetworkOptions { chain_name: Some("quorate-development".into()), ..options.clone() };
    if options.choose()?.is_voting() && options.election_admin.is_empty() {
        options.election_admin.push(Hash::new(*development_admin()?.public().as_bytes()));
    }
    let names: Vec<String> = (1..=options.validator_count()).map(|number| format!("validator-{number}")).collect();
    if let Some(name) = names.iter().find(|name| !DEVELOPMENT_NAMES.contains(&name.as_str())) {
        return Err(Failure::usage(format!(
            "--validators {}: {name} has no development key",
            options.validator_count()
        )));
    }
    let members = names.into_iter().map(|name| Member { public_key: NodeKey::development(&name).public_key(), name });
    let plan = Plan::new(&options, members.collect(), Some(DEVELOPMENT_TIME))?;
    Ok(Plan { admin_token: false, ..plan })
}

fn write_development(directory: &Directory, options: &NetworkOptions) -> Result<(), Failure> {
    let plan = development_plan(options)?;
    directory.write(false, |path| {
        let validators = plan.validators.iter().map(|member| member.name.as_str());
        for name in validators.chain(["bootnode", "backend"]) {
            NodeKey::development(name).save_new(&key_path(path, name)).map_err(key_failure)?;
        }
        let admin = development_admin()?;
        if plan.election_admins.contains(&Hash::new(*admin.public().as_bytes())) {
            save_admin(path, &admin)?;
        }
        Ok(network::render(&plan))
    })
}

fn key_path(directory: &Path, name: &str) -> PathBuf {
    directory.join("keys").join(format!("{name}.key"))
}

fn new_key(directory: &Path, name: String, guarded: bool) -> Result<Member, Failure> {
    let key = make_key(&key_path(directory, &name), guarded)?;
    Ok(Member { name, public_key: key.public_key() })
}

/// Writes a new key to `path`, with its guard when it shall vote.
///
/// # Errors
///
/// [`Exit::KeyOrGuard`] or [`Exit::Disk`].
pub fn make_key(path: &Path, guarded: bool) -> Result<NodeKey, Failure> {
    let key = NodeKey::generate().map_err(|error| Failure::failed(format!("no key could be made: {error}")))?;
    key.save_new(path).map_err(key_failure)?;
    if guarded {
        create_guard(&guard_path(path), &key.public_key()).map_err(guard_failure)?;
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(|e| Failure::disk(parent.display(), &e))?;
    Ok(key)
}

/// The exit code of a key's error.
pub fn key_failure(error: KeyError) -> Failure {
    let exit = match &error {
        KeyError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Exit::KeyOrGuard,
        KeyError::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => Exit::Failed,
        KeyError::Io { .. } => Exit::Disk,
        _ => Exit::KeyOrGuard,
    };
    Failure::new(exit, error.to_string())
}

/// The exit code of a guard's error.
pub fn guard_failure(error: GuardError) -> Failure {
    let exit = match &error {
        GuardError::Locked { .. } => Exit::Locked,
        GuardError::Io { .. } => Exit::Disk,
        _ => Exit::KeyOrGuard,
    };
    Failure::new(exit, error.to_string())
}
