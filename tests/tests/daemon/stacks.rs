//! What tests with application stacks begin with: a daemon, and where the echoes of applications go.
use anyhow::Result;
use client::control::stack::{StackList, StackRow};
use octroi_tests::lab::{App, Config, Daemon, Pair, PairOptions, Reading, Served, Wrapper, app::know_taps};

/// A daemon without targets on a pair whose taps can be answered.
pub(crate) fn served(config: &Config) -> Result<Served> {
    served_on(PairOptions::default(), config)
}

/// The same on a pair that is made so.
pub(crate) fn served_on(options: PairOptions, config: &Config) -> Result<Served> {
    let pair = Pair::new(options)?;
    know_taps(&pair)?;
    Ok(Served { daemon: Daemon::start(&pair.served, config)?, pair })
}

/// An application of root's.
pub(crate) fn app(served: &Served) -> Result<App> {
    App::start(served.daemon.home(), &served.pair.served, &Wrapper::default())
}

/// The moves of `count` packets that an application echoed.
pub(crate) fn echoed_by_app(count: u64) -> Vec<(&'static str, u64)> {
    ["xdp.rx", "xdp.redirect", "rx", "rx_from_meta", "delivered", "submitted", "transmitted"]
        .map(|name| (name, count))
        .into()
}

/// Every tuple there is.
pub(crate) fn tuples(daemon: &mut Daemon) -> Result<Vec<StackRow>> {
    let pages = daemon.control().pages_of(|after| StackList { all: true, after, ..StackList::default() })?;
    Ok(pages.into_iter().flat_map(|page| page.rows).collect())
}

/// How many frames XDP took for somebody, and to whose loss if nobody was there.
pub(crate) fn claimed(reading: &Reading) -> (u64, u64) {
    (reading.sum("xdp.redirect"), reading.sum("xdp.drop_no_socket"))
}
