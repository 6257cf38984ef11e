//! The `spatial-ssrl` command; everything is in [`spatial_ssrl::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    spatial_ssrl::cli::main()
}
