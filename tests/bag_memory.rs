//! Memory does not grow with the bag, nor with its chunks.

#[path = "common/bags.rs"]
mod bags;
mod common;

use bags::{large_raw_bag, peak_rss_bytes};
use spatial_ssrl::source::{SourceOptions, open};

#[test]
fn a_bag_of_half_a_gigabyte_in_one_chunk_is_read_in_a_tenth_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one_chunk.mcap");
    large_raw_bag(&path, 320);
    let before = peak_rss_bytes();
    let mut source = open(path.to_str().unwrap(), &SourceOptions::default()).unwrap();
    let mut frames = 0;
    while let Some(frame) = source.next_frame().unwrap() {
        assert_eq!(frame.usable_depth_m().unwrap().dim(), (480, 640));
        frames += 1;
    }
    assert_eq!(frames, 320);
    assert!(source.report().lost.is_empty(), "{:?}", source.report().lost);
    let grown = peak_rss_bytes() - before;
    println!("peak grew by {} MiB for 492 MB of messages", grown >> 20);
    assert!(grown < 49 << 20, "{} MiB", grown >> 20);
}
