//! Results: rows, a table on the terminal, and JSON.

use crate::machine::Machine;
use crate::rounds::Values;
use serde_json::{Value, json};
use std::io;
use std::path::Path;

/// What a row should reach.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// For information.
    None,
    /// The ratio, at most.
    Ratio(f64),
    /// A ratio of 1.00 or less, as far as the rounds can tell: the first quartile is not above it.
    Same,
    /// The same of rates, of which more is better: the third quartile is not below it.
    SameRate,
    /// The ratio of rates, at least.
    Rate(f64),
    /// The value, at most.
    Value(f64),
    /// The value, at least.
    AtLeast(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Nanoseconds,
    Milliseconds,
    /// A number without a unit.
    Times,
    MegabytesPerSecond,
    Megabytes,
    PerSecond,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub what: String,
    pub unit: Unit,
    pub value: f64,
    /// Against the case it is compared to: median, and first and third quartile, of the rounds.
    pub ratio: Option<[f64; 3]>,
    pub goal: Goal,
}

impl Row {
    /// A case compared to another one of the same rounds.
    pub fn compared(
        name: &str,
        what: impl Into<String>,
        unit: Unit,
        values: &Values,
        base: &Values,
        goal: Goal,
    ) -> Self {
        let ratios = values.ratios(base);
        Self {
            ratio: Some([0.5, 0.25, 0.75].map(|part| ratios.quantile(part))),
            ..Self::alone(name, what, unit, values.median(), goal)
        }
    }

    /// A value that is compared to nothing.
    pub fn alone(name: &str, what: impl Into<String>, unit: Unit, value: f64, goal: Goal) -> Self {
        Self {
            name: name.to_owned(),
            what: what.into(),
            unit,
            value,
            ratio: None,
            goal,
        }
    }

    /// Whether the goal is reached; none without one.
    fn met(&self) -> Option<bool> {
        let ratio = self.ratio.map(|[median, ..]| median);
        match self.goal {
            Goal::None => None,
            // Two decimals are what rounds can tell apart at best.
            Goal::Ratio(goal) => ratio.map(|ratio| ratio < goal + 0.005),
            Goal::Same => self.ratio.map(|[_, low, _]| low <= 1.0),
            Goal::SameRate => self.ratio.map(|[_, _, high]| high >= 1.0),
            Goal::Rate(goal) => ratio.map(|ratio| ratio >= goal - 0.005),
            Goal::Value(goal) => Some(self.value <= goal),
            Goal::AtLeast(goal) => Some(self.value >= goal),
        }
    }

    fn goal(&self) -> String {
        match self.goal {
            Goal::None => String::new(),
            Goal::Ratio(goal) => format!("<= {goal:.2}"),
            Goal::Same | Goal::SameRate => "1.00".to_owned(),
            Goal::Rate(goal) => format!(">= {goal:.2}"),
            Goal::Value(goal) => format!("<= {}", self.unit.show(goal)),
            Goal::AtLeast(goal) => format!(">= {}", self.unit.show(goal)),
        }
    }

    fn verdict(&self) -> &'static str {
        match self.met() {
            None => "",
            Some(true) => "met",
            Some(false) => "NOT MET",
        }
    }

    fn cells(&self) -> [String; 6] {
        let [ratio, spread] = match self.ratio {
            Some([median, low, high]) => [format!("{median:.3}"), format!("{low:.3}-{high:.3}")],
            None => Default::default(),
        };
        let name = format!("{}: {}", self.name, self.what);
        let value = self.unit.show(self.value);
        [
            name,
            value,
            ratio,
            spread,
            self.goal(),
            self.verdict().to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let ratio = self
            .ratio
            .map(|[median, low, high]| json!({ "median": median, "p25": low, "p75": high }));
        let goal = match self.goal {
            Goal::None => Value::Null,
            Goal::Ratio(goal) => json!({ "ratio_at_most": goal }),
            Goal::Same => json!({ "ratio_p25_at_most": 1.0 }),
            Goal::SameRate => json!({ "ratio_p75_at_least": 1.0 }),
            Goal::Rate(goal) => json!({ "ratio_at_least": goal }),
            Goal::Value(goal) => json!({ "value_at_most": goal }),
            Goal::AtLeast(goal) => json!({ "value_at_least": goal }),
        };
        json!({
            "name": self.name,
            "what": self.what,
            "value": self.value,
            "unit": self.unit.symbol(),
            "ratio": ratio,
            "goal": goal,
            "met": self.met(),
        })
    }
}

impl Unit {
    fn symbol(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Milliseconds => "ms",
            Self::Times => "times",
            Self::MegabytesPerSecond => "MB/s",
            Self::Megabytes => "MB",
            Self::PerSecond => "/s",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Milliseconds if value < 10.0 => format!("{value:.2} ms"),
            Self::Times => format!("{value:.2}"),
            _ => format!("{value:.0} {}", self.symbol()),
        }
    }
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    /// What was not measured, and why.
    skipped: Vec<String>,
}

impl Report {
    /// Adds rows, and prints them: the whole takes minutes.
    pub fn add(&mut self, rows: Vec<Row>) {
        for row in &rows {
            print_cells(&row.cells());
        }
        self.rows.extend(rows);
    }

    pub fn skip(&mut self, what: &str, reason: impl std::fmt::Display) {
        let line = format!("{what}: not measured: {reason}");
        println!("{line}");
        self.skipped.push(line);
    }

    /// A heading for the rows that follow.
    pub fn begin(&self, title: &str) {
        println!("\n{title}");
        print_cells(&["", "median", "ratio", "p25-p75", "goal", ""].map(str::to_owned));
    }

    /// A last line, so that nobody has to search for what failed.
    pub fn conclude(&self) {
        let judged: Vec<_> = self.rows.iter().filter_map(Row::met).collect();
        let met = judged.iter().filter(|met| **met).count();
        println!("\n{met} of {} goals met", judged.len());
        for row in self.rows.iter().filter(|row| row.met() == Some(false)) {
            println!("  not met: {}: {}", row.name, row.what);
        }
    }

    pub fn write(&self, machine: &Machine, path: &Path) -> io::Result<()> {
        let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
        let report = json!({
            "machine": machine.json(),
            "rows": rows,
            "skipped": self.skipped,
        });
        std::fs::write(path, format!("{report:#}\n"))
    }
}

fn print_cells([name, value, ratio, spread, goal, met]: &[String; 6]) {
    println!("  {name:<62} {value:>10} {ratio:>7} {spread:>13} {goal:>10}  {met}");
}
