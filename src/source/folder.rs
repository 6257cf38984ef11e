//! Folders of pictures: TUM-style with `associations.txt`, or `rgb/` beside `depth/`.

use std::{
    collections::HashMap,
    fs,
    io::Read,
    path::{Component, Path, PathBuf},
};

use super::{
    FrameSource, SourceError, SourceOptions, SourceReport,
    pair::{PairOptions, Pairer, Stream},
};
use crate::frame::{
    DepthMap, FrameId, Intrinsics, Registration, RgbdFrame,
    convert::{color_from_encoded, depth_from_png},
};

/// Depth units per metre where nothing else is said, as the TUM data set has it.
const TUM_UNITS_PER_M: f64 = 5000.0;

/// Numbered pictures carry no time; they are taken to lie one second apart.
const NUMBERED_STEP_NS: i64 = 1_000_000_000;

/// The largest text file that is read, bytes.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// The largest picture file that is read, bytes.
const MAX_PICTURE_BYTES: u64 = 128 << 20;

/// The most pictures of one folder.
const MAX_PICTURES: usize = 1_000_000;

/// The middle depth of a room or a table; a first picture outside it has likely got the
/// wrong scale.
const USUAL_DEPTH_M: std::ops::Range<f32> = 0.3..10.0;

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
struct Entry {
    stamp_ns: i64,
    color: PathBuf,
    depth: Option<(Option<i64>, PathBuf)>,
}

/// Frames of a folder of pictures.
pub struct FolderSource {
    entries: std::vec::IntoIter<Entry>,
    units_per_m: f64,
    intrinsics: Option<[f64; 4]>,
    registration: Registration,
    report: SourceReport,
}

/// Whether a folder can be read here.
pub fn is_picture_folder(path: &Path) -> bool {
    path.join("associations.txt").is_file()
        || subfolder(path, &["rgb", "color", "colour"]).is_some()
        || pictures_in(path).is_ok_and(|pictures| !pictures.is_empty())
}

impl FolderSource {
    /// Finds the pictures of the folder at `path` and how they belong together.
    ///
    /// # Errors
    /// When there are none, or it cannot be told which depth belongs to which colour.
    pub fn open(path: &Path, options: &SourceOptions) -> Result<Self, SourceError> {
        let mut report = SourceReport::default();
        let list = path.join("associations.txt");
        let entries = if list.is_file() {
            associated(path, &list, &mut report)?
        } else {
            side_by_side(path, options, &mut report)?
        };
        if entries.is_empty() {
            let why: Vec<String> =
                report.lost.iter().map(|(why, n)| format!("{why}: {n}")).collect();
            let why = format!("no picture could be found ({})", why.join(", "));
            return Err(SourceError::Nothing { path: path.to_owned(), why });
        }
        let has_depth = entries.iter().any(|entry| entry.depth.is_some());
        let depth_folder = entries
            .iter()
            .find_map(|entry| entry.depth.as_ref()?.1.parent()?.file_name()?.to_str())
            .unwrap_or_default()
            .to_owned();
        let units_per_m = match (options.depth_scale, units_in_name(&depth_folder)) {
            (Some(units), _) => units,
            (None, Some(units)) => {
                report.notes.push(format!(
                    "depth has {units} units per metre: the folder is named {depth_folder:?}"
                ));
                units
            }
            (None, None) => {
                if has_depth {
                    report.notes.push(format!(
                        "depth is taken to have {TUM_UNITS_PER_M} units per metre as TUM has it; \
                         --depth-scale 1000 says millimetres"
                    ));
                }
                TUM_UNITS_PER_M
            }
        };
        let registration = match options.registered {
            Some(false) => Registration::Unregistered,
            _ => Registration::Registered,
        };
        report.registration = Some(match (has_depth, options.registered) {
            (false, _) => "there is no depth".to_owned(),
            (_, Some(true)) => "registered: the user says so".to_owned(),
            (_, Some(false)) => "not registered: the user says so".to_owned(),
            (_, None) => "taken as registered, as folders of this kind are".to_owned(),
        });
        let mut source = FolderSource {
            entries: entries.into_iter(),
            units_per_m,
            intrinsics: options.intrinsics,
            registration,
            report,
        };
        source.check_scale(options.depth_scale.is_none());
        Ok(source)
    }

    /// Looks at the first depth picture: a wrong scale makes depth that no camera gives.
    fn check_scale(&mut self, assumed: bool) {
        let depth = self.entries.as_slice().iter().find_map(|entry| entry.depth.as_ref());
        let Some(Ok(depth_m)) = depth.map(|(_, path)| self.depth(path)) else { return };
        let mut valid: Vec<f32> = depth_m.iter().copied().filter(|z_m| z_m.is_finite()).collect();
        let middle = valid.len() / 2;
        if valid.is_empty() {
            return;
        }
        let (_, median, _) = valid.select_nth_unstable_by(middle, f32::total_cmp);
        if assumed && !USUAL_DEPTH_M.contains(median) {
            self.report.notes.push(format!(
                "the first picture's middle depth is {median:.2} m: is {} units per metre right \
                 (--depth-scale)?",
                self.units_per_m
            ));
        }
    }

    fn depth(&self, path: &Path) -> Result<DepthMap, &'static str> {
        let bytes = read_picture(path)?;
        depth_from_png(&bytes, self.units_per_m).map_err(|error| {
            tracing::debug!(%error, path = %path.display(), "depth picture");
            error.name()
        })
    }

    fn frame(&mut self, entry: &Entry) -> Result<RgbdFrame, &'static str> {
        let bytes = read_picture(&entry.color)?;
        let color = color_from_encoded(&bytes).map_err(|error| {
            tracing::debug!(%error, path = %entry.color.display(), "colour picture");
            error.name()
        })?;
        self.report.color_read += 1;
        let mut depth_m = None;
        if let Some((_, path)) = &entry.depth {
            match self.depth(path) {
                Ok(depth) => {
                    self.report.depth_read += 1;
                    depth_m = Some(depth);
                }
                // It is still a colour picture.
                Err(why) => self.report.lost.add(why),
            }
        }
        let (width, height) = color.dimensions();
        let same_size =
            depth_m.as_ref().is_none_or(|d| d.dim() == (height as usize, width as usize));
        if !same_size && self.registration == Registration::Registered {
            let dim = depth_m.as_ref().map(|d| d.dim()).unwrap_or_default();
            self.report.registration = Some(format!(
                "not registered: colour is {width}x{height}, depth {}x{}",
                dim.1, dim.0
            ));
        }
        let intrinsics = self
            .intrinsics
            .and_then(|[fx, fy, cx, cy]| Intrinsics::new(width, height, fx, fy, cx, cy).ok());
        self.report.intrinsics = self.report.intrinsics.or(intrinsics);
        Ok(RgbdFrame {
            id: FrameId::from_stamp(entry.stamp_ns),
            stamp_ns: entry.stamp_ns,
            depth_stamp_ns: entry.depth.as_ref().filter(|_| depth_m.is_some()).and_then(|d| d.0),
            color,
            depth_m,
            intrinsics,
            registration: if same_size { self.registration } else { Registration::Unregistered },
        })
    }
}

impl FrameSource for FolderSource {
    fn next_frame(&mut self) -> Result<Option<RgbdFrame>, SourceError> {
        while let Some(entry) = self.entries.next() {
            match self.frame(&entry) {
                Ok(frame) => {
                    self.report.frames += 1;
                    let stamp = frame.stamp_ns;
                    let (first, last) = self.report.stamps_ns.unwrap_or((stamp, stamp));
                    self.report.stamps_ns = Some((first.min(stamp), last.max(stamp)));
                    return Ok(Some(frame));
                }
                Err(why) => self.report.lost.add(why),
            }
        }
        Ok(None)
    }

    fn report(&self) -> &SourceReport {
        &self.report
    }
}

fn read_picture(path: &Path) -> Result<Vec<u8>, &'static str> {
    let file = fs::File::open(path).map_err(|_| "file_missing")?;
    let len = file.metadata().map_err(|_| "file_unreadable")?.len();
    if len > MAX_PICTURE_BYTES {
        return Err("picture_too_large");
    }
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(MAX_PICTURE_BYTES).read_to_end(&mut bytes).map_err(|_| "file_unreadable")?;
    Ok(bytes)
}

/// `1305031229.528748` as nanoseconds, exactly; `None` for anything but plain seconds.
fn stamp_ns(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if seconds.is_empty() || !digits(seconds) || !digits(fraction) {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// Units per metre of a folder named `depth_0.1mm` or `depth_mm`.
fn units_in_name(folder: &str) -> Option<f64> {
    let unit = folder.split('_').skip(1).find_map(|part| part.strip_suffix("mm"))?;
    let mm: f64 = if unit.is_empty() { 1.0 } else { unit.parse().ok()? };
    (mm > 0.0 && mm.is_finite()).then(|| 1000.0 / mm)
}

/// A path of a list, as long as it stays inside the folder.
fn inside(folder: &Path, relative: &str) -> Option<PathBuf> {
    let path = Path::new(relative);
    let stays = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    (stays && !relative.is_empty()).then(|| folder.join(path))
}

/// `t path t path` lines: colour first as a rule, but a path that says "depth" is believed.
fn associated(
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

fn subfolder(folder: &Path, names: &[&str]) -> Option<PathBuf> {
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

fn pictures_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
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

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The stamp that a picture's name gives: seconds with a fraction, or a number in it.
fn named_stamp_ns(path: &Path, place: usize) -> i64 {
    let stem = stem(path);
    if stem.contains('.')
        && let Some(stamp) = stamp_ns(&stem)
    {
        return stamp;
    }
    let tail = stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number = stem.get(tail..).and_then(|digits| digits.parse::<i64>().ok());
    number
        .filter(|number| *number < 1 << 32)
        .unwrap_or(place as i64)
        .saturating_mul(NUMBERED_STEP_NS)
}

/// `rgb/` beside `depth*/`, or pictures alone.
fn side_by_side(
    folder: &Path,
    options: &SourceOptions,
    report: &mut SourceReport,
) -> Result<Vec<Entry>, SourceError> {
    let io = |source| SourceError::Io { path: folder.to_owned(), source };
    let color_folder = subfolder(folder, &["rgb", "color", "colour"]);
    let colors = pictures_in(color_folder.as_deref().unwrap_or(folder)).map_err(io)?;
    let depths = match depth_folder(folder) {
        Some(depth) => pictures_in(&depth).map_err(io)?,
        None => Vec::new(),
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
    let by_stem: HashMap<String, &PathBuf> = depths.iter().map(|path| (stem(path), path)).collect();
    let same_stem = colors.iter().filter(|color| by_stem.contains_key(&stem(color))).count();
    let pair = |place: usize, color: &PathBuf, depth: &PathBuf| Entry {
        stamp_ns: named_stamp_ns(color, place),
        color: color.clone(),
        depth: Some((None, depth.clone())),
    };
    if same_stem > 0 && 2 * same_stem >= colors.len() {
        report.notes.push(format!("{same_stem} pairs of pictures with the same name"));
        report.unpaired.add_n("no_depth_of_that_name", (colors.len() - same_stem) as u64);
        let depth_of = |color: &PathBuf| by_stem.get(&stem(color)).copied();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_read_to_the_nanosecond() {
        assert_eq!(stamp_ns("1305031229.528748"), Some(1_305_031_229_528_748_000));
        assert_eq!(stamp_ns("7"), Some(7_000_000_000));
        assert_eq!(stamp_ns("1.0000000019"), Some(1_000_000_001));
        for bad in ["", ".5", "-1.0", "1e9", "a", "99999999999999999999"] {
            assert_eq!(stamp_ns(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_unit_in_a_folders_name_is_understood() {
        assert_eq!(units_in_name("depth_0.1mm"), Some(10_000.0));
        assert_eq!(units_in_name("depth_mm"), Some(1000.0));
        assert_eq!(units_in_name("depth"), None);
        assert_eq!(units_in_name("depth_0mm"), None);
    }

    #[test]
    fn names_sort_by_their_numbers() {
        let mut names = ["b_10.db3", "b_2.db3", "b_0.db3"].map(PathBuf::from);
        names.sort_by_cached_key(|path| natural_key(path));
        assert_eq!(names, ["b_0.db3", "b_2.db3", "b_10.db3"].map(PathBuf::from));
    }

    /// A folder with tiny pictures of the given names.
    fn folder(colors: &[&str], depths: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("rgb")).unwrap();
        fs::create_dir(dir.path().join("depth")).unwrap();
        for name in colors {
            let picture = image::RgbImage::from_pixel(4, 3, image::Rgb([1, 2, 3]));
            picture.save(dir.path().join("rgb").join(name)).unwrap();
        }
        for name in depths {
            let depth = image::ImageBuffer::from_pixel(4, 3, image::Luma([5000_u16]));
            depth.save(dir.path().join("depth").join(name)).unwrap();
        }
        dir
    }

    fn all(dir: &Path, options: &SourceOptions) -> (Vec<RgbdFrame>, SourceReport) {
        let mut source = FolderSource::open(dir, options).unwrap();
        let mut frames = Vec::new();
        while let Some(frame) = source.next_frame().unwrap() {
            frames.push(frame);
        }
        (frames, source.report().clone())
    }

    #[test]
    fn associations_are_read_in_either_order_and_cannot_lead_out() {
        let dir = folder(&["1.0.png", "2.0.png"], &["1.1.png", "2.1.png"]);
        let list = "# colour depth\n1.0 rgb/1.0.png 1.1 depth/1.1.png\n\n\
                    2.1 depth/2.1.png 2.0 rgb/2.0.png\n\
                    3.0 ../rgb/1.0.png 3.0 depth/1.1.png\n\
                    4.0 /etc/passwd 4.0 depth/1.1.png\n\
                    5.0 rgb/none.png 5.0 depth/1.1.png\n\
                    nonsense\n";
        fs::write(dir.path().join("associations.txt"), list).unwrap();
        let options =
            SourceOptions { intrinsics: Some([5.0, 5.0, 1.5, 1.0]), ..SourceOptions::default() };
        let (frames, report) = all(dir.path(), &options);
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[1].stamp_ns, 2_000_000_000);
        assert_eq!(frames[1].depth_stamp_ns, Some(2_100_000_000));
        assert_eq!(frames[1].depth_m.as_ref().unwrap()[[0, 0]], 1.0);
        assert_eq!(frames[1].intrinsics.unwrap().fx, 5.0);
        assert_eq!(report.lost.get("path_outside_folder"), 2);
        assert_eq!(report.lost.get("bad_line"), 1);
        assert_eq!(report.lost.get("file_missing"), 1);
    }

    #[test]
    fn without_a_list_names_then_stamps_then_order_decide() {
        let options = SourceOptions { depth_scale: Some(1000.0), ..SourceOptions::default() };
        let said = |report: &SourceReport, text: &str| {
            assert!(report.notes.iter().any(|note| note.contains(text)), "{:?}", report.notes);
        };
        let same = folder(&["0001.png", "0002.png", "0003.png"], &["0001.png", "0003.png"]);
        let (frames, report) = all(same.path(), &options);
        assert_eq!(
            frames.iter().map(|f| f.stamp_ns / NUMBERED_STEP_NS).collect::<Vec<_>>(),
            [1, 3]
        );
        assert_eq!(frames[0].depth_m.as_ref().unwrap()[[0, 0]], 5.0);
        assert_eq!(report.unpaired.get("no_depth_of_that_name"), 1);
        said(&report, "same name");

        let stamps = folder(&["1.000.png", "1.033.png"], &["1.005.png", "1.500.png"]);
        let (frames, report) = all(stamps.path(), &options);
        assert_eq!(frames.len(), 1);
        assert_eq!(report.unpaired.total(), 2);
        said(&report, "nearest stamps");

        let order = folder(&["a1.png", "a2.png"], &["b10.png", "b9.png"]);
        let (frames, report) = all(order.path(), &options);
        assert_eq!(frames.len(), 2);
        said(&report, "order of names");

        let hopeless = folder(&["a1.png", "a2.png"], &["b1.png"]);
        assert!(FolderSource::open(hopeless.path(), &options).is_err());

        let alone = folder(&["a1.png"], &[]);
        assert!(all(alone.path(), &options).0[0].depth_m.is_none());
    }
}
