//! The plugin `cache`: what was answered is given again for as long as it holds.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::chain::Visit;
use super::message::{Query, Reply, is_under};
use super::plugins::Cache;
use crate::probe::{RecordType, ResponseCode};

/// Answers without a record hold for so long.
const LEAST: Duration = Duration::from_secs(5);

/// Where answers of a kind are kept: the server and the plugin.
pub(super) type Place = ((usize, usize), RecordType);

/// An answer that is kept.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    reply: Arc<Reply>,
    stored: Instant,
    holds: Duration,
}

impl Kept {
    /// The answer as of now: its records hold for what is left.
    fn aged(&self) -> Arc<Reply> {
        let left = self.holds.saturating_sub(self.stored.elapsed()).as_secs();
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let mut reply = Reply::clone(&self.reply);
        for record in reply.answers.iter_mut().chain(&mut reply.extra).chain(&mut reply.authority) {
            record.ttl = left;
        }
        Arc::new(reply)
    }
}

/// Answers from the cache, or from the plugins behind it.
pub(super) fn answer(
    visit: &mut Visit<'_>,
    options: &Cache,
    place: (usize, usize),
    query: Query<'_>,
) -> Option<Arc<Reply>> {
    let next = (place.0, place.1 + 1);
    let under = |zones: &[String]| zones.iter().any(|zone| is_under(query.name, zone));
    if !under(&options.zones) || (under(&options.without.0) && under(&options.without.1)) {
        return visit.pass(next.0, next.1, query);
    }
    let place = (place, query.kind);
    let Some(kept) = visit.world.dns.kept(visit.life, place, query.name) else {
        let reply = visit.pass(next.0, next.1, query);
        keep(visit, options, place, query.name, reply.as_ref());
        return reply;
    };
    let age = kept.stored.elapsed();
    if age < kept.holds {
        return Some(kept.aged());
    }
    let kept = kept.clone();
    let stale = options.stale.filter(|(most, _)| age.saturating_sub(kept.holds) < *most);
    let fresh = match stale {
        // The client has the old answer at once; the new one comes behind its back.
        Some((_, false)) => visit.aside(|visit| visit.pass(next.0, next.1, query)),
        _ => visit.pass(next.0, next.1, query),
    };
    match stale {
        None => {
            keep(visit, options, place, query.name, fresh.as_ref());
            fresh
        }
        Some((_, verify)) => {
            let sound = |reply: &&Arc<Reply>| matches!(reply.code, ResponseCode::NoError | ResponseCode::NXDomain);
            let good = fresh.as_ref().filter(sound);
            keep(visit, options, place, query.name, good);
            if verify && good.is_some() { fresh } else { Some(kept.aged()) }
        }
    }
}

fn keep(visit: &mut Visit<'_>, options: &Cache, place: Place, name: &str, reply: Option<&Arc<Reply>>) {
    let Some(reply) = reply.filter(|reply| !reply.truncated) else { return };
    let records = reply.answers.iter().chain(&reply.authority).chain(&reply.extra);
    let least = records.map(|record| Duration::from_secs(record.ttl.into())).min().unwrap_or(LEAST);
    let under = |zones: &[String]| zones.iter().any(|zone| is_under(name, zone));
    let clamp = |(from, to): (Duration, Duration)| least.max(from).min(to);
    let (holds, without) = match reply.code {
        ResponseCode::NoError if reply.has(place.1) || !reply.answers.is_empty() => {
            (clamp(options.success), under(&options.without.0))
        }
        ResponseCode::NoError | ResponseCode::NXDomain => (clamp(options.denial), under(&options.without.1)),
        ResponseCode::ServFail => (options.servfail, under(&options.without.1)),
        _ => return,
    };
    if !without && !holds.is_zero() {
        let kept = Kept { reply: Arc::clone(reply), stored: Instant::now(), holds };
        visit.world.dns.keep(visit.life, place, name, kept);
    }
}
