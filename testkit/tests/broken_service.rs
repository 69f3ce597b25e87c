//! Each rule of the Service slot catches a service that breaks it: a bootnode's registry, with one mistake at a time.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod broken;

use std::{
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use broken::{assert_all_proven, catches, try_all};
use quorate::{
    Service, Settings,
    plugin::{Descriptor, ServicePlugin, SetupError},
    service::{ServiceCommand, ServiceContext, ServiceError, ServiceEvent},
    transport::Io,
};
use quorate_discovery_bootnode::RegistryServicePlugin;
use quorate_testkit::conformance;
use tokio::{io::AsyncReadExt, sync::mpsc};

/// One mistake of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    NamedBadly,
    BadExample,
    TakesAnyKey,
    SaysPortZero,
    AnotherPort,
    Everywhere,
    LeavesBlocks,
    FallsToStrangers,
    StopsSlowly,
    OneStop,
    LeavesListeners,
}

const BUGS: &[(Bug, &str)] = &[
    (Bug::NamedBadly, "the descriptor says who it is"),
    (Bug::BadExample, "the example of its settings parses"),
    (Bug::TakesAnyKey, "an unknown key is refused with its place"),
    (Bug::SaysPortZero, "it says where it listens"),
    (Bug::AnotherPort, "an address in use is an error"),
    (Bug::Everywhere, "a development key stays on loopback"),
    (Bug::LeavesBlocks, "it takes every block"),
    (Bug::FallsToStrangers, "strangers do not end it"),
    (Bug::StopsSlowly, "it stops within two seconds"),
    (Bug::OneStop, "two services share nothing"),
    (Bug::LeavesListeners, "made and dropped a hundred times leaves nothing"),
];

const LISTEN: &str = "listen = \"{listen}\"\n";

#[test]
fn every_rule_catches_a_service_that_breaks_it() {
    try_all(BUGS, |bug, rule| catches(&conformance::service(&WrongPlugin(bug), LISTEN).suite(), rule));
    assert_all_proven("service", BUGS.iter().map(|(_, rule)| *rule));
}

struct WrongPlugin(Bug);

impl ServicePlugin for WrongPlugin {
    fn descriptor(&self) -> Descriptor {
        let mut descriptor = RegistryServicePlugin::default().descriptor();
        if self.0 == Bug::NamedBadly {
            descriptor.version = "1.0";
        }
        if self.0 == Bug::BadExample {
            descriptor.example = "listen = \"127.0.0.1:1\"\n";
        }
        descriptor
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        match RegistryServicePlugin::default().check(settings) {
            Err(SetupError::Settings(mut errors)) if self.0 == Bug::TakesAnyKey => {
                errors.iter_mut().for_each(|error| error.line = 9);
                Err(errors.into())
            }
            checked => checked,
        }
    }

    fn build(&self, settings: &Settings, mut context: ServiceContext) -> Result<Box<dyn Service>, SetupError> {
        let registry = RegistryServicePlugin::default();
        if self.0 == Bug::Everywhere {
            context.loopback_only = false;
        }
        let inner = match registry.build(settings, context.clone()) {
            Err(SetupError::Listen { .. }) if self.0 == Bug::AnotherPort => {
                registry.build(&Settings::from_text(&LISTEN.replace("{listen}", "127.0.0.1:0")), context)?
            }
            built => built?,
        };
        if self.0 == Bug::LeavesListeners {
            std::mem::forget(TcpListener::bind("127.0.0.1:0"));
        }
        let open = (self.0 == Bug::FallsToStrangers).then(|| TcpListener::bind("127.0.0.1:0").unwrap());
        Ok(Box::new(Wrong { bug: self.0, inner, open }))
    }
}

static STOPPED: AtomicBool = AtomicBool::new(false);

struct Wrong {
    bug: Bug,
    inner: Box<dyn Service>,
    open: Option<TcpListener>,
}

#[quorate::async_trait]
impl Service for Wrong {
    fn listening(&self) -> Vec<SocketAddr> {
        let mut listening = self.inner.listening();
        if self.bug == Bug::SaysPortZero {
            listening.iter_mut().for_each(|address| address.set_port(0));
        }
        match &self.open {
            Some(open) => vec![open.local_addr().unwrap()],
            None => listening,
        }
    }

    async fn run(self: Box<Self>, io: Io<ServiceCommand, ServiceEvent>) -> Result<(), ServiceError> {
        let Self { bug, inner, open } = *self;
        let Io { commands, events } = io;
        let (to_inner, for_inner) = mpsc::channel(1);
        let ended = tokio::select! {
            ended = inner.run(Io { commands: for_inner, events }) => ended,
            () = forward(bug, commands, to_inner) => Ok(()),
            () = stranger(open) => Err(ServiceError("somebody said something".into())),
        };
        if bug == Bug::StopsSlowly {
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
        ended
    }
}

/// Commands on their way from the kernel; returns to stop.
async fn forward(bug: Bug, mut from: mpsc::Receiver<ServiceCommand>, to: mpsc::Sender<ServiceCommand>) {
    loop {
        let command = tokio::select! {
            command = from.recv() => command,
            () = tokio::time::sleep(Duration::from_millis(10)), if bug == Bug::OneStop => {
                if STOPPED.load(SeqCst) {
                    return;
                }
                continue;
            }
        };
        match command {
            None | Some(ServiceCommand::Stop) => {
                if bug == Bug::OneStop {
                    STOPPED.store(true, SeqCst);
                }
                return;
            }
            Some(ServiceCommand::Committed(_)) if bug == Bug::LeavesBlocks => return std::future::pending().await,
            Some(command) => drop(to.send(command).await),
        }
    }
}

/// Returns when anybody says something here.
async fn stranger(open: Option<TcpListener>) {
    let Some(open) = open else { return std::future::pending().await };
    open.set_nonblocking(true).unwrap();
    let open = tokio::net::TcpListener::from_std(open).unwrap();
    while let Ok((mut stream, _)) = open.accept().await {
        if stream.read(&mut [0; 16]).await.is_ok_and(|len| len > 0) {
            return;
        }
    }
}
