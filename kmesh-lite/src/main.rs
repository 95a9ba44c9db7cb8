use std::process::ExitCode;

fn main() -> ExitCode {
    kmesh_lite::cli::main()
}
