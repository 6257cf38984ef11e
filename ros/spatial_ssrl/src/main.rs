//! `ros2 run spatial_ssrl spatial_ssrl_node --ros-args …`: the same as `spatial-ssrl node`.

use std::process::ExitCode;

/// As in the command `spatial-ssrl`: glibc's heap cannot give large maps back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let own = std::env::args_os().take(1);
    let given = std::env::args_os().skip(1);
    spatial_ssrl::cli::main_with(own.chain(["node".into()]).chain(given).collect())
}
