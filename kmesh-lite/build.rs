//! Builds the eBPF programs and hands their object to `include_bytes!`.
//!
//! The eBPF crate is compiled by a nested cargo, because it needs another target, and a compiler
//! with a `core` for it. Two are looked for: a rustc whose sysroot holds a bpf `core` (Debian's
//! rustc-web with libstd-rust-web-dev-bpf), else rustup's nightly with rust-src. `KMESH_LITE_EBPF=skip`
//! embeds an empty object instead: enough for clippy and documentation, refused by `run`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const TARGET: &str = if cfg!(target_endian = "big") {
    "bpfeb-unknown-none"
} else {
    "bpfel-unknown-none"
};

/// Debug information and `--btf`: BTF-defined maps need them. v3: 32-bit and returning atomics
/// crash LLVM on the default processor.
const RUSTFLAGS: &[&str] = &["-Cdebuginfo=2", "-Clink-arg=--btf", "-Ctarget-cpu=v3"];

const ADVICE: &str = "\
the eBPF programs cannot be built; one of these is needed:
  Debian: apt-get install rustc-web libstd-rust-web-dev-bpf llvm-22-dev
          LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 --locked --no-default-features --features llvm-22
          (`make setup` does both)
  rustup: rustup toolchain install nightly --component rust-src
          cargo install bpf-linker
or set KMESH_LITE_EBPF=skip to build a kmesh-lite that can check files but not run";

fn main() -> ExitCode {
    for path in [
        "../ebpf/src",
        "../ebpf/common/src",
        "../ebpf/Cargo.toml",
        "../ebpf/Cargo.lock",
    ] {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rerun-if-env-changed=KMESH_LITE_EBPF");
    println!("cargo:rerun-if-env-changed=PATH");
    println!("cargo:rustc-env=KMESH_LITE_COMMIT={}", commit());

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let object = out.join("programs.o");
    let outcome = if env::var("KMESH_LITE_EBPF").is_ok_and(|value| value == "skip") {
        std::fs::write(&object, b"").map_err(|error| error.to_string())
    } else {
        build(&out, &object)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

enum Compiler {
    /// A stable rustc with a prebuilt `core` for the target.
    Prebuilt(PathBuf),
    /// rustup's nightly, which builds `core` from rust-src.
    Nightly,
}

fn build(out: &Path, object: &Path) -> Result<(), String> {
    let compiler = compiler().ok_or_else(|| ADVICE.to_owned())?;
    if !runs(Command::new("bpf-linker").arg("--version")) {
        return Err(format!("bpf-linker is not on PATH\n{ADVICE}"));
    }
    let mut cargo = match &compiler {
        Compiler::Prebuilt(rustc) => {
            let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
            cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
            cargo
        }
        Compiler::Nightly => {
            let mut cargo = Command::new("rustup");
            cargo.args(["run", "nightly", "cargo"]).env_remove("RUSTC");
            cargo
        }
    };
    // What the outer cargo set is about the host.
    for (name, _) in env::vars() {
        if name.starts_with("CARGO_") && name != "CARGO_HOME" && name != "CARGO_NET_OFFLINE" {
            cargo.env_remove(name);
        }
    }
    for name in [
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "RUSTDOC",
        "RUSTUP_TOOLCHAIN",
    ] {
        cargo.env_remove(name);
    }
    let target = out.join("ebpf");
    cargo
        .args(["build", "--release", "--locked", "--features", "programs"])
        .args(["--bin", "kmesh-lite-ebpf", "--target", TARGET])
        .arg("--manifest-path")
        .arg(
            Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"))
                .join("../ebpf/Cargo.toml"),
        )
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags().join("\u{1f}"));
    if matches!(compiler, Compiler::Nightly) {
        cargo.args(["-Z", "build-std=core"]);
    }
    let status = cargo
        .status()
        .map_err(|error| format!("cargo for the eBPF crate: {error}"))?;
    if !status.success() {
        return Err(format!(
            "the eBPF programs did not build ({status}); the compiler's messages are above"
        ));
    }
    let built = target.join(TARGET).join("release/kmesh-lite-ebpf");
    std::fs::copy(&built, object).map_err(|error| format!("{}: {error}", built.display()))?;
    Ok(())
}

/// [`RUSTFLAGS`], and names for the places of this machine: the programs carry the paths of their
/// sources, and their package is not to.
fn rustflags() -> Vec<String> {
    let mut flags: Vec<String> = RUSTFLAGS.iter().map(ToString::to_string).collect();
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let sources = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let sources = sources.and_then(|folder| folder.parent().map(Path::to_owned));
    for (place, name) in [(cargo, "/cargo"), (sources, "/kmesh-lite")] {
        if let Some(place) = place {
            flags.push(format!("--remap-path-prefix={}={name}", place.display()));
        }
    }
    flags
}

/// The compiler in use if it has a `core` for the target, else Debian's, else rustup's nightly.
fn compiler() -> Option<Compiler> {
    let current = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    for rustc in [PathBuf::from(current), PathBuf::from("/usr/bin/rustc")] {
        if sysroot(&mut Command::new(&rustc)).is_some_and(|root| has_core(&root)) {
            return Some(Compiler::Prebuilt(rustc));
        }
    }
    let nightly = sysroot(Command::new("rustup").args(["run", "nightly", "rustc"]))?;
    nightly
        .join("lib/rustlib/src/rust/library/core")
        .is_dir()
        .then_some(Compiler::Nightly)
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let output = rustc
        .args(["--print", "sysroot"])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}

fn has_core(sysroot: &Path) -> bool {
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    std::fs::read_dir(libraries).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

fn runs(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Short commit id for `--version`; "unknown" outside a checkout.
fn commit() -> String {
    // In a worktree they are not below the root. A file that is not there would have us built each time.
    for path in ["HEAD", "refs/heads"] {
        if let Some(path) = git(&["rev-parse", "--git-path", path]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}

/// What git says, if there is one and it says something.
fn git(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    let output = command
        .args(arguments)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
