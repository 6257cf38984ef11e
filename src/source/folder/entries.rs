//! Which pictures of a folder belong together.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::Read,
    path::{Component, Path, PathBuf},
};

use crate::source::{
    SourceError, SourceOptions, SourceReport,
    pair::{PairOptions, Pairer, Stream},
};

/// Numbered pictures carry no time; they are taken to lie one second apart.
pub const NUMBERED_STEP_NS: i64 = 1_000_000_000;

/// The largest text file that is read, bytes.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// The most pictures of one folder.
const MAX_PICTURES: usize = 1_000_000;

/// A key that sorts `a_2` before `a_10`.
pub fn natural_key(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut key = String::new();
    let mut digits = String::new();
    for c in name.chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
        } else {
            if !digits.is_empty() {
                key.push_str(&format!("{:0>20}", std::mem::take(&mut digits)));
            }
            key.push(c);
        }
    }
    key
}

/// One moment of a folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// From the list or the name.
    pub stamp_ns: i64,
    /// The colour picture.
    pub color: PathBuf,
    /// The depth picture and its own stamp, where it has one.
    pub depth: Option<(Option<i64>, PathBuf)>,
}

/// `1305031229.528748` as nanoseconds, exactly; `None` for anything but plain seconds.
pub fn stamp_ns(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if seconds.is_empty() || !digits(seconds) || !digits(fraction) {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// A path of a list, as long as it stays inside the folder.
fn inside(folder: &Path, relative: &str) -> Option<PathBuf> {
    let path = Path::new(relative);
    let stays = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    (stays && !relative.is_empty()).then(|| folder.join(path))
}

/// `t path t path` lines: colour first as a rule, but a path that says "depth" is believed.
///
/// # Errors
/// When the list cannot be read.
pub fn associated(
    folder: &Path,
    list: &Path,
    report: &mut SourceReport,
) -> Result<Vec<Entry>, SourceError> {
    let io = |source| SourceError::Io { path: list.to_owned(), source };
    let mut bytes = Vec::new();
    fs::File::open(list).map_err(io)?.take(MAX_TEXT_BYTES).read_to_end(&mut bytes).map_err(io)?;
    let mut entries = Vec::new();
    for line in String::from_utf8_lossy(&bytes).lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (first, second) = match fields.as_slice() {
            [t1, p1, t2, p2] => ((stamp_ns(t1), *p1), (stamp_ns(t2), *p2)),
            _ => {
                report.lost.add("bad_line");
                continue;
            }
        };
        let depth_first = first.1.contains("depth") && !second.1.contains("depth");
        let (color, depth) = if depth_first { (second, first) } else { (first, second) };
        let (Some(stamp), Some(depth_stamp)) = (color.0, depth.0) else {
            report.lost.add("bad_line");
            continue;
        };
        let (Some(color), Some(depth)) = (inside(folder, color.1), inside(folder, depth.1)) else {
            report.lost.add("path_outside_folder");
            let note =
                format!("associations.txt names a path that leads out of the folder: {line:.200}");
            if report.notes.len() < 10 {
                report.notes.push(note);
            }
            continue;
        };
        if entries.len() == MAX_PICTURES {
            report.lost.add("too_many_pictures");
            break;
        }
        entries.push(Entry { stamp_ns: stamp, color, depth: Some((Some(depth_stamp), depth)) });
    }
    report.notes.push(format!("{} pairs of associations.txt", entries.len()));
    Ok(entries)
}

/// Where colour pictures lie beside a folder of depth.
pub const COLOR_FOLDERS: &[&str] = &["rgb", "color", "colour", "image"];

/// The first of these folders that is there.
pub fn subfolder(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    names.iter().map(|name| folder.join(name)).find(|path| path.is_dir())
}

/// `depth`, else the first folder whose name starts so.
fn depth_folder(folder: &Path) -> Option<PathBuf> {
    subfolder(folder, &["depth"]).or_else(|| {
        let mut found: Vec<PathBuf> = fs::read_dir(folder)
            .ok()?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                path.is_dir() && name.is_some_and(|name| name.starts_with("depth"))
            })
            .collect();
        found.sort();
        found.into_iter().next()
    })
}

/// PNG and JPEG files of a folder in the order of their numbers.
///
/// # Errors
/// When the folder cannot be read.
pub fn pictures_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut pictures: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            ["png", "jpg", "jpeg"].iter().any(|known| ending.eq_ignore_ascii_case(known))
        })
        .take(MAX_PICTURES)
        .collect();
    pictures.sort_by_cached_key(|path| natural_key(path));
    Ok(pictures)
}

/// What a picture and its depth have in common: the name without the word that says which of the
/// two it is, as in `frame-000007.color.png` and `frame-000007.depth.png` (7-Scenes).
fn shared_name(path: &Path) -> String {
    let name = stem(path).to_ascii_lowercase();
    let parts = ["depth", "colours", "colors", "colour", "color", "rgb", "image"]
        .iter()
        .find_map(|word| name.split_once(word));
    let Some((before, after)) = parts else { return name };
    let bare = |part: &str| part.trim_matches(['.', '_', '-']).to_owned();
    match (bare(before), bare(after)) {
        (before, after) if after.is_empty() => before,
        (before, after) if before.is_empty() => after,
        (before, after) => format!("{before}_{after}"),
    }
}

/// Whether a picture says that it is depth: it is never taken for a colour picture then.
fn is_named_depth(path: &Path) -> bool {
    let png = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
    png && stem(path).to_ascii_lowercase().contains("depth")
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The stamp that a picture's name gives: seconds with a fraction, or a number in it.
fn named_stamp_ns(path: &Path, place: usize) -> i64 {
    let name = shared_name(path);
    if name.contains('.')
        && let Some(stamp) = stamp_ns(&name)
    {
        return stamp;
    }
    let tail = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number = name.get(tail..).and_then(|digits| digits.parse::<i64>().ok());
    number
        .filter(|number| *number < 1 << 32)
        .unwrap_or(place as i64)
        .saturating_mul(NUMBERED_STEP_NS)
}

/// `rgb/` beside `depth*/`, both in one folder by their names, or pictures alone.
///
/// # Errors
/// When a folder cannot be read, or nothing tells which pictures belong together.
pub fn side_by_side(
    folder: &Path,
    options: &SourceOptions,
    report: &mut SourceReport,
) -> Result<Vec<Entry>, SourceError> {
    let io = |source| SourceError::Io { path: folder.to_owned(), source };
    let color_folder = subfolder(folder, COLOR_FOLDERS);
    let all = pictures_in(color_folder.as_deref().unwrap_or(folder)).map_err(io)?;
    let (colors, depths) = match (depth_folder(folder), color_folder) {
        (Some(depth), _) => (all, pictures_in(&depth).map_err(io)?),
        (None, Some(_)) => (all, Vec::new()),
        (None, None) => all.into_iter().partition(|path| !is_named_depth(path)),
    };
    let alone = |(place, color): (usize, &PathBuf)| Entry {
        stamp_ns: named_stamp_ns(color, place),
        color: color.clone(),
        depth: None,
    };
    if depths.is_empty() {
        report.notes.push(format!("{} colour pictures without depth", colors.len()));
        return Ok(colors.iter().enumerate().map(alone).collect());
    }
    let with_fraction = |paths: &[PathBuf]| {
        paths.iter().all(|path| stem(path).contains('.') && stamp_ns(&stem(path)).is_some())
    };
    let by_name: HashMap<String, &PathBuf> =
        depths.iter().map(|path| (shared_name(path), path)).collect();
    let depth_of = |color: &PathBuf| by_name.get(&shared_name(color)).copied();
    let same_name = colors.iter().filter(|color| depth_of(color).is_some()).count();
    let pair = |place: usize, color: &PathBuf, depth: &PathBuf| Entry {
        stamp_ns: named_stamp_ns(color, place),
        color: color.clone(),
        depth: Some((None, depth.clone())),
    };
    if same_name > 0 && 2 * same_name >= colors.len() {
        report.notes.push(format!("{same_name} pairs of pictures with the same name"));
        report.unpaired.add_n("no_depth_of_that_name", (colors.len() - same_name) as u64);
        let names: HashSet<String> = colors.iter().map(|color| shared_name(color)).collect();
        let unseen = depths.iter().filter(|path| {
            let name = shared_name(path);
            !names.contains(&name) || by_name.get(&name) != Some(path)
        });
        report.unpaired.add_n("no_colour_of_that_name", unseen.count() as u64);
        return Ok(colors
            .iter()
            .enumerate()
            .filter_map(|(place, color)| Some(pair(place, color, depth_of(color)?)))
            .collect());
    }
    if with_fraction(&colors) && with_fraction(&depths) {
        return Ok(by_nearest_stamp(&colors, &depths, options, report));
    }
    if colors.len() == depths.len() {
        report.notes.push(format!("{} pairs by order of names", colors.len()));
        let pairs = colors.iter().zip(&depths).enumerate();
        return Ok(pairs.map(|(place, (color, depth))| pair(place, color, depth)).collect());
    }
    Err(SourceError::Nothing {
        path: folder.to_owned(),
        why: format!(
            "{} colour and {} depth pictures have neither the same names, nor stamps as names, \
             nor the same number; write associations.txt with lines \"t rgb/… t depth/…\"",
            colors.len(),
            depths.len()
        ),
    })
}

fn by_nearest_stamp(
    colors: &[PathBuf],
    depths: &[PathBuf],
    options: &SourceOptions,
    report: &mut SourceReport,
) -> Vec<Entry> {
    let stamped = |stream, paths: &[PathBuf]| -> Vec<(i64, Stream, PathBuf)> {
        paths.iter().map(|path| (named_stamp_ns(path, 0), stream, path.clone())).collect()
    };
    let mut all = stamped(Stream::Color, colors);
    all.extend(stamped(Stream::Depth, depths));
    all.sort_by_key(|(stamp, ..)| *stamp);
    let defaults = PairOptions::default();
    let tolerance_ns = options.tolerance_ns.unwrap_or(defaults.tolerance_ns);
    let mut pairer = Pairer::new(PairOptions { tolerance_ns, disorder_ns: 0, ..defaults });
    let mut entries = Vec::new();
    for (stamp, stream, path) in all {
        pairer.push(stream, stamp, 0, path);
        entries.extend(std::iter::from_fn(|| pairer.pop()));
    }
    pairer.finish();
    entries.extend(std::iter::from_fn(|| pairer.pop()));
    report.unpaired.merge(pairer.unpaired());
    report.notes.push(format!("{} pairs by the nearest stamps in file names", entries.len()));
    entries
        .into_iter()
        .map(|pair| Entry {
            stamp_ns: pair.stamp_ns,
            color: pair.color,
            depth: pair.depth.map(|(stamp_ns, depth)| (Some(stamp_ns), depth)),
        })
        .collect()
}
