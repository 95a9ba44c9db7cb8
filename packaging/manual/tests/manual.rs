//! The program writes pages that man(1) can read and that leave nothing out.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers as well"
)]

use kmesh_lite_manual::{file, verbs};
use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};
use tempfile::TempDir;

fn written() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_kmesh-lite-manual"))
        .arg(folder.path())
        .env("SOURCE_DATE_EPOCH", "86400")
        .status();
    assert!(status.unwrap().success());
    folder
}

fn run(program: &str, arguments: &[&str], page: &Path) -> Output {
    let output = Command::new(program).args(arguments).arg(page).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}; `make setup` installs it"))
}

/// The page as a reader sees it, without hyphenation and line breaks.
fn read(page: &Path) -> String {
    let output = run("mandoc", &["-Tutf8", "-Owidth=1000"], page);
    let text = String::from_utf8(output.stdout).unwrap();
    // A bold letter is a letter over itself.
    let mut plain = String::new();
    for character in text.chars() {
        match character {
            '\u{8}' => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('\u{2010}', "-")
}

#[test]
fn man_has_nothing_to_complain_about() {
    let folder = written();
    for name in ["kmesh-lite.8", "mesh.toml.5"] {
        let page = folder.path().join("man").join(name);
        let lint = run("mandoc", &["-Tlint", "-Wwarning"], &page);
        let said = String::from_utf8_lossy(&lint.stdout);
        assert!(lint.status.success() && said.is_empty(), "{said}");
        let groff = run("man", &["--warnings", "-E", "UTF-8", "-l", "-Z"], &page);
        let said = String::from_utf8_lossy(&groff.stderr);
        assert!(groff.status.success() && said.is_empty(), "{said}");
        let text = fs::read_to_string(&page).unwrap();
        assert!(
            text.contains("1970-01-02"),
            "{name} has the date it was told"
        );
    }
}

#[test]
fn the_order_of_evaluation_can_be_read_off_a_table() {
    let folder = written();
    let page = read(&folder.path().join("man/mesh.toml.5"));
    for row in [
        "who is judged clients from",
        "1 a deny policy matches refused, by its name 2 none is an allow policy allowed 3 an allow policy matches allowed",
    ] {
        assert!(page.contains(row), "{row}\n{page}");
    }
}

#[test]
fn every_verb_and_option_is_in_the_page() {
    let folder = written();
    let page = read(&folder.path().join("man/kmesh-lite.8"));
    let mut command = kmesh_lite::cli::command();
    command.build();
    let mut seen = 0;
    for verb in verbs::verbs(&command) {
        let name = verbs::name(verb);
        let about = verb.get_about().unwrap().to_string();
        let heading = format!("kmesh-lite {name} {about}.");
        assert!(page.contains(&heading), "{heading}\n{page}");
        for argument in verbs::arguments(verb) {
            if let Some(long) = argument.get_long() {
                assert!(page.contains(&format!("--{long}")), "{name} --{long}");
            }
            let help = argument.get_help().unwrap_or_default().to_string();
            let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(page.contains(&help), "{name}: {help}");
        }
        seen += 1;
    }
    assert!(seen >= 10);
}

#[test]
fn every_table_and_key_is_in_the_page() {
    let folder = written();
    let page = read(&folder.path().join("man/mesh.toml.5"));
    let schema = kmesh_lite::config::schema();
    let tables = file::tables(&schema);
    for table in &tables {
        let (_, section) = page
            .split_once(&format!(" {} ", table.heading))
            .unwrap_or_else(|| panic!("no {}", table.heading));
        for (key, property) in file::properties(table.definition) {
            let said = property["description"].as_str().unwrap().replace('`', "");
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                section.contains(&format!(" {key} ")),
                "{} {key}",
                table.heading
            );
            assert!(
                section.contains(&said),
                "{} {key}: {said}\n{section}",
                table.heading
            );
        }
    }
    // The page has a table that is added to the schema.
    let definitions = schema["$defs"].as_object().unwrap().values();
    let expected = definitions.filter(|definition| definition["properties"].is_object());
    assert_eq!(tables.len(), expected.count());
    // The page has every word.
    for definition in schema["$defs"].as_object().unwrap().values() {
        for choice in definition["oneOf"].as_array().into_iter().flatten() {
            let said = choice["description"].as_str().unwrap().replace('`', "");
            assert!(page.contains(&said), "{said}");
        }
    }
}

#[test]
fn completions_ask_the_program() {
    let folder = written();
    for name in ["kmesh-lite.bash", "_kmesh-lite", "kmesh-lite.fish"] {
        let script = fs::read_to_string(folder.path().join("completions").join(name)).unwrap();
        assert!(script.contains("KMESH_LITE_COMPLETE"), "{name}: {script}");
    }
}
