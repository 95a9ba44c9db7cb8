use super::*;
use crate::api::CommandProbe;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn run(program: &Path, arguments: &[&str]) -> Probe {
    Probe::Command(CommandProbe {
        program: program.to_owned(),
        arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
    })
}

fn shell(text: &str) -> Probe {
    run(Path::new("/bin/sh"), &["-c", text])
}

async fn ask(text: &str) -> Outcome {
    probe("192.0.2.7:8080".parse().unwrap(), shell(text)).await
}

/// Waits for the number of a process in a file.
async fn written(path: &Path) -> Pid {
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if let Some(pid) = text.strip_suffix('\n') {
            return Pid::from_raw(pid.parse().unwrap());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for a process to be over. Who has to reap it may not have done so.
async fn over(pid: Pid) {
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if kill(pid, None).is_err() || stat.contains(") Z ") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_status_is_the_verdict_and_the_first_line_says_why() {
    assert_eq!(ask("exit 0").await, up("exit status 0"));
    let outcome = ask("echo; echo replica is 90 s behind >&2; echo more; exit 3").await;
    assert_eq!(outcome, down("exit status 3: replica is 90 s behind"));
    assert_eq!(ask("kill -9 $$").await, down("ended by signal 9 SIGKILL"));
}

#[tokio::test]
async fn the_environment_is_the_target_and_nothing_of_ours() {
    let outcome = ask("echo $KMESH_LITE_ADDRESS $KMESH_LITE_PORT $(pwd)").await;
    assert_eq!(outcome, up("exit status 0: 192.0.2.7 8080 /"));
    let outcome = ask("env | sed 's/=.*//' | sort | tr '\\n' ' '").await;
    let expected = "exit status 0: KMESH_LITE_ADDRESS KMESH_LITE_PORT KMESH_LITE_PROBE PATH PWD";
    assert!(outcome.reason.starts_with(expected), "{outcome:?}");
    // Nor is there a shell that reads the arguments.
    let outcome = probe(NOWHERE, run(Path::new("/bin/echo"), &["$HOME;", "a  b"])).await;
    assert_eq!(outcome, up("exit status 0: $HOME; a  b"));
}

#[tokio::test]
async fn programs_that_cannot_be_run() {
    let folder = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    let missing = probe(NOWHERE, run(Path::new("/nowhere/check"), &[])).await;
    assert_eq!(missing, down("/nowhere/check does not exist"));
    let denied = script("denied", "#!/bin/sh\n", 0o644);
    let outcome = probe(NOWHERE, run(&denied, &[])).await;
    assert!(
        outcome.reason.starts_with("the agent may not run "),
        "{outcome:?}"
    );
    let orphan = script("orphan", "#!/nowhere/sh\n", 0o755);
    let outcome = probe(NOWHERE, run(&orphan, &[])).await;
    assert!(
        outcome.reason.starts_with("the interpreter of "),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_all_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let text = format!(
        "trap '' TERM; sleep 3600 & echo $! > {}; echo waiting; wait",
        file.display()
    );
    let outcome = probe_within(2_000, NOWHERE, shell(&text)).await;
    assert_eq!(outcome, down("no end within 2 s: waiting"));
    over(written(&file).await).await;
}

#[tokio::test]
async fn what_a_command_leaves_in_the_background_is_killed_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let text = format!("sleep 3600 & echo $! > {}", file.display());
    assert_eq!(ask(&text).await, up("exit status 0"));
    over(written(&file).await).await;
}

#[tokio::test]
async fn a_probe_that_is_given_up_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let text = format!("echo $$ > {}; sleep 3600", file.display());
    let task = tokio::spawn(async move { ask(&text).await });
    let pid = written(&file).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    over(pid).await;
}

#[tokio::test]
async fn megabytes_of_output_hold_up_nobody_and_are_not_kept() {
    let outcome = ask("head -c 20000000 /dev/zero | tr '\\0' x; exit 1").await;
    assert_eq!(outcome.reason.len(), 200);
    assert!(
        outcome.reason.starts_with("exit status 1: xxx"),
        "{outcome:?}"
    );
    let outcome = probe_within(SHORT, NOWHERE, shell("while :; do echo more; done")).await;
    assert_eq!(outcome, down("no end within 300 ms: more"));
}
