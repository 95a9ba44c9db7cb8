//! What comes of what the agent finds.

use super::*;
use crate::api::{Duties, Finding, HealthReport};

impl Fixture {
    fn duties(&self) -> Duties {
        self.ask(|reply| Request::Duties { known: None, reply })
            .unwrap()
    }

    fn find(&self, revision: u64, target: u32, healthy: bool) -> Result<(), Failure> {
        let finding = Finding {
            target,
            healthy,
            reason: "seen".to_owned(),
        };
        let report = HealthReport {
            revision,
            findings: vec![finding],
        };
        self.ask(|reply| Request::Health { report, reply })
    }

    /// How many passes there were, and how many endpoints were down in the last one.
    fn passed(&self) -> (usize, usize) {
        let inside = self.kernel.inside();
        let standings = inside.facts.standings.values();
        (inside.passes, standings.map(|it| it.len()).sum())
    }
}

#[test]
fn findings_are_passed_on_until_they_are_taken_back() {
    let fixture = Fixture::start(Some("a is checked\nb is checked\nc"));
    let duties = fixture.duties();
    assert_eq!((duties.checks.len(), duties.targets.len()), (1, 1));
    let find = |healthy| fixture.find(duties.revision, 0, healthy).unwrap();
    let (passes, down) = fixture.passed();
    assert_eq!(down, 0);
    find(true);
    assert_eq!(
        fixture.passed(),
        (passes, 0),
        "it counted as healthy before"
    );
    find(false);
    assert_eq!(fixture.passed(), (passes + 1, 2));
    assert_eq!(fixture.kernel.inside().extent, Some(Extent::Changes));
    assert_eq!(fixture.duties().targets[0].healthy, Some(false));
    find(false);
    assert_eq!(fixture.passed(), (passes + 1, 2), "nothing new");
    fixture.reload().unwrap();
    assert_eq!(fixture.passed(), (passes + 2, 2), "a reload knows it");
    find(true);
    assert_eq!(fixture.passed(), (passes + 3, 0));
}

#[test]
fn a_stranger_in_place_of_the_agent_can_do_no_more_than_that() {
    let fixture = Fixture::start(Some("a is checked\nb"));
    let duties = fixture.duties();
    let before = fixture.passed();
    let stale = fixture.find(duties.revision + 1, 0, false).unwrap_err();
    assert_eq!(stale.kind, FailureKind::Conflict);
    for target in [1, 2, u32::MAX] {
        fixture.find(duties.revision, target, false).unwrap();
    }
    assert_eq!(fixture.passed(), before);
}
