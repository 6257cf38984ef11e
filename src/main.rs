//! The `spatial-ssrl` command; everything is in [`spatial_ssrl::cli`].

use std::process::ExitCode;

/// Features that are kept for weeks lie between feature maps that live for milliseconds.
/// glibc's heap cannot give such maps back and grew to 5 GiB where 200 MiB were in use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    spatial_ssrl::cli::main()
}
