//! `check` as people and programs call it.

use crate::PROGRAM;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const WEB: &str = "[services.web]\nvips = ['10.96.0.10']\nports = [80]\nendpoints = ['app']\n";
const APP: &str = "[endpoints.app]\naddress = '10.0.0.1'\n";

/// A main file that needs its drop-in, `mesh.d/10-app.toml`.
fn split() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mesh.d")).unwrap();
    fs::write(folder.path().join("mesh.toml"), WEB).unwrap();
    fs::write(folder.path().join("mesh.d/10-app.toml"), APP).unwrap();
    folder
}

fn check(folder: &Path, args: &[&str]) -> Output {
    run(folder, &[&["check"], args].concat(), "")
}

fn run(folder: &Path, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(PROGRAM)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whoever does not read its input closes it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        text(&output.stdout),
        text(&output.stderr),
        output.status.code(),
    )
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn a_valid_file_is_said_to_be_so_with_counts() {
    let folder = split();
    let (out, _, code) = said(&check(folder.path(), &["mesh.toml"]));
    assert_eq!(out, "mesh.toml is valid: 1 service, 1 endpoint, 2 files\n");
    assert_eq!(code, Some(0));
}

#[test]
fn a_drop_in_is_judged_in_the_light_of_the_rest() {
    let folder = split();
    let there = folder.path();
    fs::create_dir(there.join("new")).unwrap();
    let candidate = there.join("new/10-app.toml");

    // In place of the one of its name, which defines the same entry.
    fs::write(&candidate, APP.replace("10.0.0.1", "10.0.0.2")).unwrap();
    let (out, err, code) = said(&check(there, &["mesh.toml", "--with", "new/10-app.toml"]));
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.ends_with("is valid: 1 service, 1 endpoint, 2 files\n"),
        "{out}"
    );

    // It takes away what the main file needs.
    fs::write(&candidate, "").unwrap();
    let (_, err, code) = said(&check(there, &["mesh.toml", "--with", "new/10-app.toml"]));
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("unknown endpoint `app`"), "{err}");

    // Problems name the file that can be mended.
    fs::write(&candidate, format!("{APP}wieght = 1\n")).unwrap();
    let (_, err, _) = said(&check(there, &["mesh.toml", "--with", "new/10-app.toml"]));
    assert!(err.contains("new/10-app.toml:3:1"), "{err}");

    // Ansible gives it another name until it is valid.
    let temporary = there.join("new/source");
    fs::write(&temporary, APP).unwrap();
    let (_, err, code) = said(&check(there, &["mesh.toml", "--with", "new/source"]));
    assert_eq!(code, Some(3), "beside the one that is there: {err}");
    let args = ["mesh.toml", "--with", "new/source", "--as", "10-app.toml"];
    let (_, err, code) = said(&check(there, &args));
    assert_eq!(code, Some(0), "{err}");

    // One that is broken now is no obstacle to the one that mends it.
    fs::write(there.join("mesh.d/10-app.toml"), "[").unwrap();
    assert_eq!(check(there, &args).status.code(), Some(0));
    let (_, err, code) = said(&check(there, &["mesh.toml", "--with", "new/gone"]));
    assert!(
        err.contains("this file does not exist") && code == Some(3),
        "{err}"
    );
}

#[test]
fn standard_input_is_a_file_alone() {
    let folder = split();
    let whole = format!("{WEB}{APP}");
    let (out, err, code) = said(&run(folder.path(), &["check", "-"], &whole));
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.ends_with("is valid: 1 service, 1 endpoint, 1 file\n"),
        "{out}"
    );
    let (_, err, code) = said(&run(folder.path(), &["check", "-"], WEB));
    assert!(
        err.contains("unknown endpoint `app`") && code == Some(3),
        "{err}"
    );
    assert!(err.contains("<standard input>:4:"), "{err}");
}

#[test]
fn json_is_whole_in_every_failure() {
    let folder = split();
    let there = folder.path();
    fs::create_dir(there.join("folder.toml")).unwrap();
    fs::write(there.join("bad.toml"), "[services.web").unwrap();
    fs::create_dir(there.join("alone")).unwrap();
    for file in ["alone/gone.toml", "folder.toml", "bad.toml"] {
        let output = check(there, &[file, "--json"]);
        let checked = json(&output);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert_eq!(checked["valid"], false, "{checked:#}");
        assert_eq!(checked["services"], Value::Null, "{checked:#}");
        let first = &checked["problems"][0];
        assert!(
            first["file"].as_str().unwrap().ends_with(file),
            "{checked:#}"
        );
    }
    let valid = json(&check(there, &["mesh.toml", "--json"]));
    assert_eq!(
        (&valid["services"], &valid["endpoints"]),
        (&1.into(), &1.into())
    );

    for verb in [
        &["status"][..],
        &["explain", "10.96.0.10:80"],
        &["dump"],
        &["plan"],
        &["reload"],
    ] {
        let args = [verb, &["--json", "--socket", "nobody.sock"]].concat();
        let output = run(there, &args, "");
        assert_eq!(json(&output)["kind"], "unavailable", "{output:?}");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
}

#[test]
fn a_text_is_said_once_and_a_file_name_commands_no_terminal() {
    let folder = split();
    let name = "mesh.d/20-\u{1b}]0;owned\u{7}.toml";
    fs::write(folder.path().join(name), "x = 1\n").unwrap();
    let output = Command::new(PROGRAM)
        .args(["check", "mesh.toml"])
        .current_dir(folder.path())
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    let (_, err, _) = said(&output);
    assert_eq!(err.matches("1 error").count(), 1, "{err}");
    assert!(err.contains(r"20-\u{1b}]0;owned\u{7}.toml"), "{err:?}");
    assert!(
        !err.contains("\u{1b}]") && !err.contains('\u{7}'),
        "{err:?}"
    );
}
