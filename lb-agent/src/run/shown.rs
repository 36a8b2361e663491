//! What the server of metrics shows: registries and the page, and what fills them.

use std::sync::Arc;

use tokio::sync::watch;

use super::{metrics::Metrics, observer::Scraped};
use crate::{
    maps::dir::BpfDir,
    names::NameFiles,
    observe::{
        health::Health, kernel::Kernel, metrics::Registries, service_metrics::ServiceCounters,
    },
    page::{Page, Parts},
    settings::Config,
};

pub(super) struct Shown {
    pub(super) registries: Registries,
    pub(super) page: Page,
    pub(super) metrics: Metrics,
    pub(super) scraped: Scraped,
}

impl Shown {
    /// Nothing has happened yet.
    pub(super) fn new(config: &Config, dir: &BpfDir, health: &Arc<Health>) -> Self {
        let kernel = Arc::new(Kernel::new(dir.clone()));
        let mut registries = Registries::new(Box::new(Arc::clone(&kernel)));
        let services = ServiceCounters::new(dir.clone(), config.service_metrics).map(Arc::new);
        if let Some(services) = &services {
            registries
                .lb()
                .register_collector(Box::new(Arc::clone(services)));
        }
        let metrics = Metrics::new(&mut registries);
        let (problems, of_page) = watch::channel(Arc::default());
        let page = Page::new(Parts {
            dir: dir.clone(),
            names: NameFiles::of(&config.state_dir, &config.bpf_dir),
            kernel: Arc::clone(&kernel),
            health: Arc::clone(health),
            audits: metrics.observer.audits.clone(),
            problems: of_page,
            node: config.node_name.clone(),
        });
        Self {
            registries,
            page,
            metrics,
            scraped: Scraped {
                kernel,
                services,
                problems,
            },
        }
    }
}
