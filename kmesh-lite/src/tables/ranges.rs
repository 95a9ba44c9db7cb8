//! Space in the endpoint table.

use kmesh_lite_common::Endpoint;
use std::collections::BTreeMap;

/// Places ranges of rows beside those in use. Rows in use are never handed out: a program may be
/// reading them.
pub struct Ranges<'a> {
    actual: &'a BTreeMap<u32, Vec<Endpoint>>,
    /// Free stretches before the end of what is in use: first index and length, in order.
    gaps: Vec<(u32, u32)>,
    end: u32,
    pub placed: BTreeMap<u32, Vec<Endpoint>>,
}

impl<'a> Ranges<'a> {
    pub fn new(actual: &'a BTreeMap<u32, Vec<Endpoint>>) -> Self {
        let (mut gaps, mut end) = (Vec::new(), 0);
        for (&first, rows) in actual {
            if first > end {
                gaps.push((end, first - end));
            }
            end = end.max(first + rows.len() as u32);
        }
        Self {
            actual,
            gaps,
            end,
            placed: BTreeMap::new(),
        }
    }

    /// The index of the first row: where `old` is if the same rows are there, else the first
    /// stretch that is long enough.
    pub fn place(&mut self, rows: Vec<Endpoint>, old: Option<u32>) -> u32 {
        let unchanged = |first: &u32| self.actual.get(first).is_some_and(|actual| *actual == rows);
        let first = match old.filter(unchanged) {
            Some(first) => first,
            None => self.free(rows.len() as u32),
        };
        self.placed.insert(first, rows);
        first
    }

    fn free(&mut self, length: u32) -> u32 {
        if let Some(at) = self.gaps.iter().position(|(_, gap)| *gap >= length) {
            let (first, gap) = &mut self.gaps[at];
            let place = *first;
            *first += length;
            *gap -= length;
            if *gap == 0 {
                self.gaps.remove(at);
            }
            return place;
        }
        let place = self.end;
        self.end += length;
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kmesh_lite_common::{Address, BackendId, EndpointId, Member};

    fn rows(length: usize, weight: u32) -> Vec<Endpoint> {
        let nobody = Member::new(
            BackendId::from_index(0).unwrap(),
            Address::from_v4_word(0),
            EndpointId::from_index(0).unwrap(),
            None,
            false,
        );
        vec![
            Endpoint {
                own: nobody,
                alias: nobody,
                keep: 0,
                weight
            };
            length
        ]
    }

    #[test]
    fn equal_rows_stay_and_others_go_where_nobody_reads() {
        let actual = BTreeMap::from([(2, rows(2, 1)), (6, rows(1, 1))]);
        let mut ranges = Ranges::new(&actual);
        assert_eq!(ranges.place(rows(2, 1), Some(2)), 2);
        assert_eq!(ranges.place(rows(2, 9), Some(2)), 0);
        assert_eq!(ranges.place(rows(3, 9), None), 7);
        assert_eq!(ranges.place(rows(2, 9), None), 4);
        assert_eq!(ranges.place(rows(1, 9), None), 10);
    }
}
