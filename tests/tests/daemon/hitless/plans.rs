//! What passes did, and what plans would do.

use kmesh_lite_tests::daemon::Daemon;
use serde_json::Value;
use std::fs;

/// How many operations the last pass took.
pub fn operations(daemon: &Daemon) -> u64 {
    let status = daemon.json(&["status"]);
    status["last_pass"]["operations"]
        .as_u64()
        .expect("a number")
}

/// How many operations it would take to follow another text.
pub fn operations_to(daemon: &Daemon, text: &str) -> usize {
    let plan = plan_to(daemon, text);
    plan["operations"].as_array().expect("operations").len()
}

/// Whether the plan to another text says that it is one for larger tables.
pub fn replaces(daemon: &Daemon, text: &str) -> bool {
    let summary = plan_to(daemon, text)["summary"].to_string();
    summary.contains("the tables are replaced by larger ones")
}

fn plan_to(daemon: &Daemon, text: &str) -> Value {
    let file = daemon.path("other.toml");
    fs::write(&file, text).expect("a file");
    daemon.json(&["plan", file.to_str().expect("a path")])
}
