//! What a valid configuration holds, in numbers.

use crate::model::Mesh;

/// "3 services, 12 endpoints, 2 files". An endpoint counts in every service that it belongs to, as for
/// its limit.
pub fn contents(mesh: &Mesh, files: usize) -> String {
    let counts = [
        count(mesh.services.len(), "service"),
        count(mesh.endpoints(), "endpoint"),
        count(files, "file"),
    ];
    counts.join(", ")
}

/// "1 error", "2 errors".
pub fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}
