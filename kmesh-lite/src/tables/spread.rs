//! Which endpoints of a service take connections, and what share each has, for how they stand.

use super::endpoint::Placing;
use crate::model::{Facts, Membership, Mesh, Name, OnAllDown, Policy, Service, Standing, priority};
use kmesh_lite_common::{Family, PRIORITIES};

/// The endpoints of one family by priority.
pub type ByPriority = [Vec<Placing>; PRIORITIES];

/// Of the weights in a range that has endpoints of several priorities.
const PARTS: f64 = 1e6;

/// Takes the endpoints that take no connections out of `members` and gives them. Those that are left share
/// connections by their weights, which are changed where a priority takes only a part of them: then the endpoints of
/// all priorities that take a part stand at the first of these.
pub fn spread(members: &mut ByPriority, service: &Service) -> Vec<Placing> {
    let allowed = allowed(service);
    let mut members_allowed = members[..allowed].iter().flatten();
    if service.on_all_down == OnAllDown::UseAll && members_allowed.all(|it| !it.takes_connections())
    {
        for it in members[..allowed].iter_mut().flatten() {
            it.use_anyway();
        }
    }
    let capacity: Vec<_> = members.iter().map(|it| capacity(it)).collect();
    let mut down = Vec::new();
    for of_priority in members.iter_mut() {
        down.extend(of_priority.extract_if(.., |it| !it.takes_connections()));
    }
    if let Some(percent) = service.overprovision
        && service.policy == Policy::Failover
    {
        let loads = loads(&capacity, f64::from(percent) / 100.0);
        join(members, &loads);
    }
    down
}

/// How many priorities a policy allows, from the nearest on.
fn allowed(service: &Service) -> usize {
    match service.policy {
        Policy::Failover => PRIORITIES,
        _ => 1,
    }
}

/// Whether endpoints of a service are used although they are down, because all of its endpoints for a family of clients
/// are: what [`spread`] does then.
pub fn uses_all(mesh: &Mesh, name: &Name, service: &Service, facts: &Facts) -> bool {
    if service.on_all_down != OnAllDown::UseAll {
        return false;
    }
    // Without standings nothing is down.
    let Some(standings) = facts.standings.get(name) else {
        return false;
    };
    let uses_all = |family| {
        let of_family = service.endpoints.iter();
        let of_family = of_family.filter(|it| Family::from(it.address) == family);
        let within = of_family.filter(|it| {
            let nearest = service.policy == Policy::Random;
            nearest || priority(&service.prefer, &mesh.node, &it.place) < allowed(service)
        });
        let mut any = false;
        for endpoint in within {
            let standing = standings.get(&Membership::from(endpoint)).copied();
            let standing = standing.unwrap_or_default();
            match standing.down {
                _ if standing.weight.unwrap_or(endpoint.weight) == 0 => {}
                None => return false,
                Some(down) => any |= !down.is_meant(),
            }
        }
        any
    };
    uses_all(Family::V4) || uses_all(Family::V6)
}

/// The share of the weights of a priority that is usable; none where it has no weight.
fn capacity(members: &[Placing]) -> Option<f64> {
    let all: f64 = members.iter().map(|it| f64::from(it.weight)).sum();
    let usable = members.iter().filter(|it| it.takes_connections());
    let usable: f64 = usable.map(shared).sum();
    (all > 0.0).then(|| usable / all)
}

fn shared(it: &Placing) -> f64 {
    f64::from(it.weight) * f64::from(it.share) / f64::from(Standing::WHOLE)
}

/// What share of all connections each priority takes, as Envoy spreads them
/// (its documentation, "Priority levels"): the nearest one as much as it can, `factor` times its usable capacity, and
/// the next ones the rest. Where all of them cannot take everything, each takes in proportion.
fn loads(capacity: &[Option<f64>], factor: f64) -> Vec<f64> {
    let able = capacity.iter();
    let able: Vec<_> = able
        .map(|it| (it.unwrap_or(0.0) * factor).min(1.0))
        .collect();
    let total = able.iter().sum::<f64>();
    if total <= 0.0 {
        return vec![0.0; able.len()];
    }
    let scale = total.min(1.0);
    let mut rest: f64 = 1.0;
    let load = able.iter().map(|able| {
        let load = (able / scale).min(rest);
        rest -= load;
        // What is left then is no connection, but what sums in binary fractions leave.
        if rest < 1e-9 {
            rest = 0.0;
        }
        load
    });
    load.collect()
}

/// Puts the endpoints of all priorities that take a part to the first of these.
fn join(members: &mut ByPriority, loads: &[f64]) {
    // However little: nearer endpoints would take everything if they were left where they are.
    let taking = |load: f64| load > 0.0;
    let mut used = (0..PRIORITIES).filter(|at| taking(loads[*at]) && !members[*at].is_empty());
    let (Some(first), Some(_)) = (used.next(), used.next()) else {
        return;
    };
    let count: usize = members.iter().map(Vec::len).sum();
    // So many that the smallest share is some parts as well.
    let parts = PARTS.max(count as f64 * 1e3);
    let mut joined = Vec::new();
    for (of_priority, load) in members.iter_mut().zip(loads) {
        if !taking(*load) {
            continue;
        }
        let total: f64 = of_priority.iter().map(shared).sum();
        joined.extend(of_priority.drain(..).map(|mut it| {
            let part = parts * load * shared(&it) / total;
            it.weight = (part.round() as u32).max(1);
            it.share = Standing::WHOLE;
            it
        }));
    }
    members[first] = joined;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: &[f64], expected: &[f64]) {
        let differs = |(a, b): (&f64, &f64)| (a - b).abs() > 0.005;
        assert!(
            !found.iter().zip(expected).any(differs),
            "{found:?}, not {expected:?}"
        );
    }

    /// The tables in Envoy's documentation.
    #[test]
    fn priorities_take_what_they_can_and_leave_the_rest_to_the_next() {
        let cases: [(&[f64], &[f64]); 7] = [
            (&[1.0, 1.0], &[1.0, 0.0]),
            (&[0.72, 1.0], &[1.0, 0.0]),
            (&[0.71, 1.0], &[0.99, 0.01]),
            (&[0.5, 0.6], &[0.7, 0.3]),
            (&[0.5, 0.3, 1.0], &[0.7, 0.3, 0.0]),
            (&[0.25, 0.25], &[0.5, 0.5]),
            (&[0.0, 0.25], &[0.0, 1.0]),
        ];
        for (capacity, expected) in cases {
            let capacity: Vec<_> = capacity.iter().copied().map(Some).collect();
            near(&loads(&capacity, 1.4), expected);
        }
        near(&loads(&[None, Some(0.5)], 1.4), &[0.0, 1.0]);
        near(&loads(&[None, Some(0.0)], 1.4), &[0.0, 0.0]);
    }
}
