//! Packages carry man pages and completions, which say the same as the program. This program writes
//! them from the arguments and the JSON Schema. usage: kmesh-lite-manual FOLDER
//!
//! The date in the pages is that of SOURCE_DATE_EPOCH, or today's.

use kmesh_lite::cli::completion_script;
use kmesh_lite_manual::{Page, file, verbs};
use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

fn main() {
    // A folder of the name of an option is nobody's wish.
    let folder = env::args_os()
        .nth(1)
        .filter(|it| !it.as_encoded_bytes().starts_with(b"-"));
    let Some(folder) = folder.map(PathBuf::from) else {
        eprintln!("usage: kmesh-lite-manual FOLDER");
        process::exit(2);
    };
    if let Err(error) = write(&folder) {
        eprintln!("error: cannot write below {}: {error}", folder.display());
        process::exit(1);
    }
}

fn write(folder: &Path) -> io::Result<()> {
    let man = folder.join("man");
    fs::create_dir_all(&man)?;
    let date = date();
    let pages = [
        Page::new("kmesh-lite", 8, &date, verbs::page()),
        Page::new("mesh.toml", 5, &date, file::page()),
    ];
    for page in pages {
        fs::write(man.join(page.file_name()), page.text())?;
    }
    let completions = folder.join("completions");
    fs::create_dir_all(&completions)?;
    for (shell, name) in [
        ("bash", "kmesh-lite.bash"),
        ("zsh", "_kmesh-lite"),
        ("fish", "kmesh-lite.fish"),
    ] {
        fs::write(completions.join(name), completion_script(shell)?)?;
    }
    Ok(())
}

fn date() -> String {
    let seconds = env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.parse().ok());
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.unwrap_or_else(jiff::Timestamp::now)
        .strftime("%Y-%m-%d")
        .to_string()
}
