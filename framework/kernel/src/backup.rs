//! A consistent copy of a running node's store.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use quorate::{
    Settings,
    node::{Reply, Response},
    plugin::StoragePlugin,
    storage::Batch,
};

use crate::{layout, shared::Shared};

/// Pairs copied in one batch.
const PAIRS_PER_BATCH: usize = 1024;

/// Makes copies, one at a time.
pub(crate) struct Backup {
    pub(crate) plugin: Arc<dyn StoragePlugin>,
    pub(crate) settings: Settings,
    pub(crate) running: Arc<AtomicBool>,
}

impl Backup {
    pub(crate) fn start(&self, shared: Arc<Shared>, directory: String, reply: Reply) {
        if self.running.swap(true, Ordering::AcqRel) {
            reply(Response::Unavailable("a backup is being made".into()));
            return;
        }
        let (plugin, settings, running) = (Arc::clone(&self.plugin), self.settings.clone(), Arc::clone(&self.running));
        tokio::task::spawn_blocking(move || {
            let result = copy(&shared, plugin.as_ref(), &settings, Path::new(&directory));
            running.store(false, Ordering::Release);
            reply(match result {
                Ok(height) => {
                    tracing::info!(%height, directory, "backup made");
                    Response::BackedUp(height)
                }
                Err(why) => Response::Unavailable(why),
            });
        });
    }
}

fn copy(
    shared: &Shared,
    plugin: &dyn StoragePlugin,
    settings: &Settings,
    directory: &Path,
) -> Result<quorate::Height, String> {
    if !directory.is_absolute() || directory.exists() {
        return Err(format!("{}: must be an absolute path that does not exist", directory.display()));
    }
    std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let view = shared.view();
    let target = plugin.open(settings, directory).map_err(|error| error.to_string())?;
    let mut from: Vec<u8> = vec![0];
    let mut last_batch = Batch::new();
    loop {
        let pairs = view.snapshot.scan(&from, &[0xff], PAIRS_PER_BATCH).map_err(|error| error.to_string())?;
        let Some((last, _)) = pairs.last() else { break };
        from = last.to_vec();
        from.push(0);
        let mut batch = Batch::new();
        for (key, value) in pairs {
            // What makes it a chain comes last: a copy that was cut short is none.
            if key.as_ref() == layout::CHAIN || key.as_ref() == layout::TIP {
                last_batch.put(key, value);
            } else {
                batch.put(key, value);
            }
        }
        target.commit(batch).map_err(|error| error.to_string())?;
    }
    target.commit(last_batch).map_err(|error| error.to_string())?;
    Ok(view.tip.height)
}
