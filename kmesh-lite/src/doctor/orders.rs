//! What the operator wants of endpoints that are not there.

use super::{Check, Finding};
use crate::api::{EndpointOrder, Status};
use crate::control::ClientError;

/// None where the operator wants nothing, or nobody tells.
pub fn judge(status: &Result<Status, ClientError>) -> Option<Check> {
    let orders = &status.as_ref().ok()?.orders;
    (!orders.is_empty()).then(|| found(orders).named("orders"))
}

fn found(orders: &[EndpointOrder]) -> Finding {
    let name = |it: &EndpointOrder| format!("{}/{}", it.service, it.endpoint);
    let left = orders.iter().filter(|it| !it.present);
    match *left.map(name).collect::<Vec<_>>() {
        [] => Finding::fine(match orders.len() {
            1 => "the operator wants something of 1 endpoint; `status` shows it".to_owned(),
            n => format!("the operator wants something of {n} endpoints; `status` shows it"),
        }),
        [ref one, ref more @ ..] => Finding::warning(
            format!(
                "the operator wants something of {one}{}, which the file does not have; it counts as soon as the file has \
                 it again",
                match more.len() {
                    0 => String::new(),
                    n => format!(" and {n} more"),
                }
            ),
            "`kmesh-lite ready SERVICE/ENDPOINT` takes a state back, and `kmesh-lite weight SERVICE/ENDPOINT` a weight",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::OrderStatus;
    use crate::doctor::Verdict;

    #[test]
    fn an_order_of_an_endpoint_that_the_file_does_not_have_is_a_warning() {
        let judged = |present: &[bool]| {
            let order = |(at, present): (usize, &bool)| EndpointOrder {
                service: "web".to_owned(),
                endpoint: format!("10.0.0.{at}"),
                present: *present,
                order: OrderStatus::default(),
            };
            let status = Status {
                orders: present.iter().enumerate().map(order).collect(),
                ..crate::doctor::daemon::tests::running(crate::api::State::Routing).unwrap()
            };
            judge(&Ok(status))
        };
        assert_eq!(judged(&[]), None);
        assert_eq!(judged(&[true, true]).unwrap().verdict, Verdict::Fine);
        let check = judged(&[true, false, false]).unwrap();
        assert_eq!(check.verdict, Verdict::Warning);
        assert!(
            check.found.contains("web/10.0.0.1 and 1 more"),
            "{}",
            check.found
        );
    }
}
